//! The stream of outcomes: nothing is left out over a reconnect, and a hole is never silent.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::service::{Service, services};

struct Stream {
    bytes: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Stream {
    async fn open(service: &Service, query: &str, last: Option<&str>) -> Self {
        let url = format!("{}/v1/notifications/stream{query}", service.url);
        let client = reqwest::Client::builder().build().unwrap();
        let request = client.get(url).bearer_auth("service-key");
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Self { bytes: answer.bytes_stream().boxed(), text: String::new() }
    }

    /// The next event: its id, its name and its data.
    async fn next(&mut self) -> (String, String, Value) {
        loop {
            if let Some((event, rest)) = self.text.clone().split_once("\n\n") {
                self.text = rest.to_owned();
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if let (Some(id), Some(name), Some(data)) = (field("id:"), field("event:"), field("data:")) {
                    return (id.to_owned(), name.to_owned(), serde_json::from_str(data).unwrap());
                }
                continue;
            }
            let next = tokio::time::timeout(Duration::from_secs(20), self.bytes.next()).await.unwrap();
            self.text.push_str(std::str::from_utf8(&next.unwrap().unwrap()).unwrap());
        }
    }
}

async fn send(service: &Service) -> String {
    let sent = service.send(json!({"to": {"user": "anna"}, "push": {"kind": "wake"}})).await;
    sent["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_reader_that_comes_back_has_missed_nothing() {
    for mut service in services(&[]).await {
        service.phone("anna", "phone", "ab", json!({})).await;
        send(&service).await;
        let mut stream = Stream::open(&service, "", None).await;
        let first = send(&service).await;
        let (id, name, outcome) = stream.next().await;
        assert_eq!((name.as_str(), &outcome["notification"]), ("push.accepted", &json!(first)));
        drop(stream);
        let second = send(&service).await;
        service.crash_and_start().await;
        let third = send(&service).await;
        let mut stream = Stream::open(&service, "", Some(&id)).await;
        assert_eq!(stream.next().await.2["notification"], json!(second));
        let (last, _, outcome) = stream.next().await;
        assert_eq!(outcome["notification"], json!(third));
        // Only one notification's.
        let mut narrow = Stream::open(&service, &format!("?notification={third}&last_event_id={id}"), None).await;
        assert_eq!(narrow.next().await.0, last);
    }
}

#[tokio::test]
async fn a_hole_is_told() {
    for service in services(&[]).await {
        service.phone("anna", "phone", "ab", json!({})).await;
        let mut stream = Stream::open(&service, "", Some("4711")).await;
        let (_, name, data) = stream.next().await;
        assert_eq!((name.as_str(), &data["last_event_id"]), ("missed", &json!(4711)));
        let sent = send(&service).await;
        assert_eq!(stream.next().await.2["notification"], json!(sent));
        let path = "/v1/notifications/stream?last_event_id=yesterday";
        service.refused("GET", path, Value::Null, "last_event_id_invalid").await;
        assert_eq!(service.ask("wrong", "GET", "/v1/notifications/stream", &Value::Null).await.0, 401);
    }
}
