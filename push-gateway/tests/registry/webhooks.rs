//! Webhooks: signed, told again until they are taken, and never to where they may not go. Signatures are verified by the
//! library of Standard Webhooks.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};

use crate::python::python;
use crate::service::{Service, services};

/// What a receiver was told, and what it answers.
#[derive(Clone, Default)]
struct Receiver {
    told: Arc<Mutex<Vec<Value>>>,
    answers: Arc<Mutex<Vec<u16>>>,
}

impl Receiver {
    /// A receiver that gives these answers, the last one first, and then takes everything.
    async fn start(answers: &[u16]) -> (Self, String) {
        let receiver = Self { answers: Arc::new(Mutex::new(answers.to_vec())), ..Self::default() };
        let router = Router::new().route("/hook", post(hear)).with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, url)
    }

    fn told(&self) -> Vec<Value> {
        self.told.lock().unwrap().clone()
    }
}

async fn hear(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    receiver.told.lock().unwrap().push(json!({
        "headers": {
            "webhook-id": header("webhook-id"),
            "webhook-timestamp": header("webhook-timestamp"),
            "webhook-signature": header("webhook-signature"),
        },
        "body": String::from_utf8(body.to_vec()).unwrap(),
    }));
    let answer = receiver.answers.lock().unwrap().pop().unwrap_or(204);
    StatusCode::from_u16(answer).unwrap()
}

const PRIVATE: (&str, &str) = ("push.webhooks.allow_private", "true");

async fn send(service: &Service) -> Value {
    service.send(json!({"to": {"user": "anna"}, "push": {"kind": "alert", "title": "Hello"}})).await
}

#[tokio::test]
async fn events_are_signed_as_the_library_of_standard_webhooks_wants() {
    for service in services(&[PRIVATE]).await {
        let (receiver, url) = Receiver::start(&[]).await;
        service.phone("anna", "phone", "ab", json!({})).await;
        // Before there is a webhook, nothing is written for it.
        send(&service).await;
        let (status, made) = service.call("PUT", "/v1/webhooks/crm", json!({"url": url})).await;
        assert_eq!(status, 201, "{made}");
        let first = made["secret"].as_str().unwrap().to_owned();
        assert_eq!(service.good("GET", "/v1/webhooks/crm", Value::Null).await.get("secret"), None);
        let sent = send(&service).await;
        service.until(async || receiver.told().len() == 1).await;
        let rotated = service.good("PUT", "/v1/webhooks/crm", json!({"url": url, "rotate_secret": true})).await;
        let second = rotated["secret"].as_str().unwrap().to_owned();
        assert!(rotated["old_secret_until_ms"].is_i64(), "{rotated}");
        let receipt = json!({"notification": sent["id"], "event": "opened"});
        service.good("POST", "/v1/receipts", receipt).await;
        service.until(async || receiver.told().len() == 2).await;
        let test = service.good("POST", "/v1/webhooks/crm/test", Value::Null).await;
        assert_eq!((&test["taken"], &test["status"]), (&json!(true), &json!(204)), "{test}");

        let told = receiver.told();
        let outcome: Value = serde_json::from_str(told[0]["body"].as_str().unwrap()).unwrap();
        assert_eq!(outcome["type"], "push.accepted");
        assert_eq!(outcome["data"]["notification"], sent["id"]);
        assert_eq!(outcome["data"]["target"], sent["targets"][0]["id"]);
        let opened: Value = serde_json::from_str(told[1]["body"].as_str().unwrap()).unwrap();
        assert_eq!((&opened["type"], &opened["data"]["receipt"]), (&json!("push.opened"), &json!("opened")));
        // The first message by the first secret; after the rotation each by both.
        let asked = json!([
            {"secret": first, "message": told[0], "good": true},
            {"secret": second, "message": told[0], "good": false},
            {"secret": first, "message": told[1], "good": true},
            {"secret": second, "message": told[1], "good": true},
            {"secret": second, "message": told[2], "good": true},
        ]);
        if let Some(answers) = python("standard_webhooks.py", &asked).await {
            assert_eq!(answers, json!([true, true, true, true, true]));
        }
        let metrics = service.metrics().await;
        assert!(
            metrics.contains("tidings_push_webhook_deliveries_total{webhook=\"crm\",result=\"taken\"} 2"),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn what_was_not_taken_is_told_again_with_the_same_name_also_after_a_crash() {
    for mut service in services(&[PRIVATE]).await {
        let (receiver, url) = Receiver::start(&[503]).await;
        service.phone("anna", "phone", "ab", json!({})).await;
        let body = json!({"url": url, "events": ["push.*"]});
        service.good("PUT", "/v1/webhooks/crm", body).await;
        send(&service).await;
        service.until(async || receiver.told().len() == 1).await;
        service
            .until(async || service.good("GET", "/v1/webhooks/crm", Value::Null).await["failing_since_ms"].is_i64())
            .await;
        let shown = service.good("GET", "/v1/webhooks/crm", Value::Null).await;
        assert_eq!(shown["waiting"], 1);
        assert!(shown["last_error"].as_str().unwrap().contains("503"), "{shown}");
        service.crash_and_start().await;
        service.until(async || receiver.told().len() == 2).await;
        let told = receiver.told();
        assert_eq!(told[0]["headers"]["webhook-id"], told[1]["headers"]["webhook-id"]);
        assert_eq!(told[0]["body"], told[1]["body"]);
        service
            .until(async || {
                let shown = service.good("GET", "/v1/webhooks/crm", Value::Null).await;
                shown["waiting"] == 0 && shown.get("failing_since_ms").is_none()
            })
            .await;
    }
}

#[tokio::test]
async fn one_that_is_gone_is_disabled_and_the_others_go_on() {
    for service in services(&[PRIVATE]).await {
        let (gone, gone_url) = Receiver::start(&[410]).await;
        let (good, good_url) = Receiver::start(&[]).await;
        service.phone("anna", "phone", "ab", json!({})).await;
        service.good("PUT", "/v1/webhooks/gone", json!({"url": gone_url})).await;
        service.good("PUT", "/v1/webhooks/dead", json!({"url": good_url, "events": ["push.dead"]})).await;
        service.good("PUT", "/v1/webhooks/good", json!({"url": good_url, "events": ["push.accepted"]})).await;
        send(&service).await;
        service
            .until(async || service.good("GET", "/v1/webhooks/gone", Value::Null).await["disabled_reason"] == "gone")
            .await;
        send(&service).await;
        service.until(async || good.told().len() == 2).await;
        assert_eq!(gone.told().len(), 1);
        assert!(service.metrics().await.contains("tidings_push_webhook_disabled{webhook=\"gone\"} 1"));
        service.good("PUT", "/v1/webhooks/gone", json!({"url": gone_url})).await;
        send(&service).await;
        service.until(async || gone.told().len() >= 2).await;
        let listed = service.good("GET", "/v1/webhooks", Value::Null).await;
        assert_eq!(listed["webhooks"].as_array().unwrap().len(), 3);
        service.good("DELETE", "/v1/webhooks/gone", Value::Null).await;
        service.refused("GET", "/v1/webhooks/gone", Value::Null, "webhook_unknown").await;
    }
}

#[tokio::test]
async fn where_events_may_not_go_they_do_not_go() {
    for service in services(&[]).await {
        for (part, body) in [
            ("https://", json!({"url": "http://example.org/hook"})),
            ("public", json!({"url": "https://127.0.0.1/hook"})),
            ("public", json!({"url": "https://169.254.169.254/latest"})),
            ("public", json!({"url": "https://[::ffff:10.0.0.1]/"})),
            ("password", json!({"url": "https://a:b@example.org"})),
            ("push.accepted", json!({"url": "https://example.org", "events": ["push.acepted"]})),
            ("whsec_", json!({"url": "https://example.org", "secret": "hunter2"})),
        ] {
            let message = service.refused("PUT", "/v1/webhooks/x", body, "webhook_invalid").await;
            assert!(message.contains(part), "{message}");
        }
        // A name is only known to lead inside when it is looked up.
        let (receiver, url) = Receiver::start(&[]).await;
        let port = url.split(':').next_back().unwrap();
        let inside = format!("https://localtest.invalid:{port}");
        service.good("PUT", "/v1/webhooks/inside", json!({"url": inside})).await;
        let test = service.good("POST", "/v1/webhooks/inside/test", Value::Null).await;
        assert_eq!(test["taken"], false, "{test}");
        assert!(receiver.told().is_empty());
    }
}
