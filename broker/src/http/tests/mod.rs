//! The HTTP door as a client sees it: a real listener, a real engine, a log in memory.

mod presence;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tidings_shared::auth::{ServiceKeys, Verifier, VerifierConfig};
use tidings_shared::clock::Clock;
use tidings_shared::cursor::Cursor;
use tidings_shared::http::{client, serve};
use tidings_shared::lifecycle::Shutdown;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::admin::Admin;
use super::{Limits, Parts, router};
use crate::core;
use crate::engine::Settings;
use crate::gate::{Rates, Throttles};
use crate::log::{self, MemoryLog, MessageLog};
use crate::metrics::HttpMetrics;

const SECRET: &str = "a secret of the tests";
pub(super) const ADMIN: &str = "admin-key";
const KEY: &str = "handler-key";
const SERVICE_KEY: &str = "service-key";
const EPOCH: u64 = 7;

/// Longer than anything takes here, shorter than a person waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct House {
    address: SocketAddr,
    pub(super) client: Client,
    pub(super) clock: Clock,
    log: Arc<dyn MessageLog>,
    metrics: HttpMetrics,
    shutdown: Shutdown,
}

impl House {
    pub(super) async fn open() -> Self {
        Self::with(Limits::default(), log::Limits::default()).await
    }

    async fn with(limits: Limits, kept: log::Limits) -> Self {
        Self::with_admin(limits, kept, &[ADMIN]).await
    }

    pub(super) async fn without_admin() -> Self {
        Self::with_admin(Limits::default(), log::Limits::default(), &[]).await
    }

    async fn with_admin(limits: Limits, kept: log::Limits, keys: &[&str]) -> Self {
        let clock = Clock::system();
        let log: Arc<dyn MessageLog> = Arc::new(MemoryLog::new(clock.clone(), kept, EPOCH));
        let config = VerifierConfig { secret: Some(SECRET.into()), require_expiry: true, ..VerifierConfig::default() };
        let metrics = HttpMetrics::default();
        let shutdown = Shutdown::new();
        let routes = router(Parts {
            engine: core::start(Settings::default(), Arc::clone(&log), clock.clone(), 1).unwrap(),
            log: Arc::clone(&log),
            verifier: Verifier::new(config, clock.clone()).unwrap(),
            keys: ServiceKeys::new(vec![KEY.into()]),
            service_keys: ServiceKeys::new(vec![SERVICE_KEY.into()]),
            limits,
            clock: clock.clone(),
            metrics: metrics.clone(),
            throttles: Throttles::new(Rates::OFF, Default::default()),
            shutdown: shutdown.clone(),
            admin: Admin {
                keys: ServiceKeys::new(keys.iter().map(ToString::to_string).collect()),
                keep_ms: Some(86_400_000),
            },
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, routes, shutdown.clone()));
        Self { address, client: client(None).unwrap(), clock, log, metrics, shutdown }
    }

    pub(super) fn token(&self, user: &str) -> String {
        self.token_until(user, self.clock.now_s() + 600)
    }

    pub(super) fn token_until(&self, user: &str, exp: i64) -> String {
        self.sign(&json!({ "sub": user, "exp": exp }))
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        use jsonwebtoken::{EncodingKey, Header, encode};
        encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, user: &str, path: &str) -> RequestBuilder {
        self.client.get(self.url(path)).bearer_auth(self.token(user))
    }

    pub(super) fn post(&self, credential: &str, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client.post(self.url(path)).bearer_auth(credential).body(body)
    }

    /// A handler publishes for a user; returns the cursor.
    async fn publish(&self, topic: &str, payload: &str) -> String {
        let answer = self.post(KEY, &format!("/v1/publish/{topic}"), payload.to_owned()).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        json(answer).await["cursor"].as_str().unwrap().to_owned()
    }

    pub(super) async fn waiting(&self, count: i64) {
        let reached = async {
            while self.metrics.waiting.get() != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{} wait, not {count}", self.metrics.waiting.get()));
    }
}

pub(super) async fn json(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

pub(super) async fn refused(request: RequestBuilder, status: u16, code: &str) -> Value {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), status);
    let body = json(answer).await;
    assert_eq!(body["error"]["code"], code, "{body}");
    assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    body
}

fn payloads(body: &Value) -> Vec<&str> {
    body["messages"].as_array().unwrap().iter().map(|message| message["payload"].as_str().unwrap()).collect()
}

fn etag(answer: &Response) -> String {
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn messages_are_fetched_once_and_in_order() {
    let house = House::open().await;
    house.publish("68946_note", "one").await;
    house.publish("23412_note", "of somebody else").await;
    house.publish("68946/orders/7", "two").await;
    let answer = house.get("68946", "/v1/messages").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "private, no-cache");
    let tag = etag(&answer);
    let body = json(answer).await;
    assert_eq!(payloads(&body), ["one", "two"]);
    assert_eq!(body["recovered"], true);
    assert_eq!(format!("\"{}\"", body["cursor"].as_str().unwrap()), tag);
    let message = &body["messages"][0];
    assert_eq!((&message["topic"], &message["qos"]), (&json!("68946_note"), &json!(1)));
    assert!(message["message-id"].is_string() && message["time"].is_i64() && message["cursor"].is_string());

    let answer = house.get("68946", "/v1/messages?wait=10ms").header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(answer.status(), 304);
    assert_eq!(etag(&answer), tag);
    assert!(answer.bytes().await.unwrap().is_empty());

    house.publish("68946_note", "three").await;
    let answer = house.get("68946", "/v1/messages").header("if-none-match", format!("W/{tag}")).send().await.unwrap();
    assert_eq!(payloads(&json(answer).await), ["three"]);
}

#[tokio::test]
async fn a_poll_ends_when_a_message_comes() {
    let house = House::open().await;
    let first = json(house.get("68946", "/v1/messages?wait=0").send().await.unwrap()).await;
    assert_eq!(first["messages"], json!([]), "who has no cursor gets one");
    let tag = format!("\"{}\"", first["cursor"].as_str().unwrap());
    let poll = tokio::spawn(house.get("68946", "/v1/messages").header("if-none-match", &tag).send());
    house.waiting(1).await;
    house.publish("23412_note", "not for this one").await;
    house.publish("68946_note", "wake up").await;
    let answer = timeout(PATIENCE, poll).await.unwrap().unwrap().unwrap();
    assert_eq!(payloads(&json(answer).await), ["wake up"]);
    house.waiting(0).await;
}

#[tokio::test]
async fn recovery_is_whole_or_says_that_it_is_not() {
    let kept = log::Limits { per_user: 2, ..log::Limits::default() };
    let house = House::with(Limits::default(), kept).await;
    let first = house.publish("68946_note", "one").await;
    let second = house.publish("68946_note", "two").await;
    house.publish("68946_note", "three").await;
    house.publish("68946_note", "four").await;
    let ahead = Cursor { epoch: EPOCH, offset: house.log.head().0 + 1 }.to_string();
    let elsewhere = Cursor { epoch: EPOCH + 1, offset: 2 }.to_string();
    for (cursor, recovered) in [(&second, true), (&first, false), (&ahead, false), (&elsewhere, false)] {
        let poll = house.get("68946", "/v1/messages?wait=0").header("if-none-match", format!("\"{cursor}\""));
        let body = json(poll.send().await.unwrap()).await;
        assert_eq!(body["recovered"], recovered, "{cursor}");
        assert_eq!(payloads(&body), ["three", "four"], "{cursor}");
    }
    let poll = house.get("nobody", "/v1/messages?wait=0").header("if-none-match", format!("\"{elsewhere}\""));
    let body = json(poll.send().await.unwrap()).await;
    assert_eq!((&body["recovered"], &body["messages"]), (&json!(false), &json!([])));
}

#[tokio::test]
async fn long_lists_come_in_parts() {
    let house = House::with(Limits { answer: 1_000, ..Limits::default() }, log::Limits::default()).await;
    for n in 0..10 {
        house.publish("68946_note", &format!("{n}{}", "x".repeat(300))).await;
    }
    let mut tag = None;
    let mut seen = Vec::new();
    while seen.len() < 10 {
        let mut poll = house.get("68946", "/v1/messages?limit=4");
        if let Some(tag) = &tag {
            poll = poll.header("if-none-match", tag);
        }
        let answer = poll.send().await.unwrap();
        tag = Some(etag(&answer));
        let body = json(answer).await;
        let part: Vec<String> = payloads(&body).iter().map(|payload| payload[..1].to_owned()).collect();
        assert!((1..=4).contains(&part.len()), "{part:?}");
        seen.extend(part);
    }
    assert_eq!(seen, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let house = House::with(Limits { polls_per_user: 2, ..Limits::default() }, log::Limits::default()).await;
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(house.address).await.unwrap();
        let request =
            format!("GET /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", house.token("68946"));
        socket.write_all(request.as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    house.waiting(2).await;
    refused(house.get("68946", "/v1/messages"), 429, "too_many_polls").await;
    let other = house.get("23412", "/v1/messages?wait=0").send().await.unwrap();
    assert_eq!(other.status(), 200, "another user has places of their own");
    drop(sockets);
    house.waiting(0).await;
    assert_eq!(house.get("68946", "/v1/messages?wait=0").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_stop_ends_the_wait() {
    let house = House::open().await;
    let poll = tokio::spawn(house.get("68946", "/v1/messages").send());
    house.waiting(1).await;
    house.shutdown.begin();
    let answer = timeout(PATIENCE, poll).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
}

#[tokio::test]
async fn the_wait_is_bounded_by_the_limit_and_by_the_token() {
    let house =
        House::with(Limits { wait_max: Duration::from_millis(20), ..Limits::default() }, log::Limits::default()).await;
    let poll = timeout(PATIENCE, house.get("68946", "/v1/messages?wait=10m").send()).await.unwrap().unwrap();
    assert_eq!(poll.status(), 200);
    let house = House::open().await;
    let token = house.token_until("68946", house.clock.now_s() + 1);
    let poll = house.client.get(house.url("/v1/messages?wait=50s")).bearer_auth(token).send();
    assert_eq!(timeout(PATIENCE, poll).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn only_the_bearer_of_a_good_token_comes_in() {
    let house = House::open().await;
    for path in ["/v1/messages", "/v1/publish/ping"] {
        let request = || {
            if path.contains("publish") {
                house.client.post(house.url(path))
            } else {
                house.client.get(house.url(path))
            }
        };
        let answer = request().send().await.unwrap();
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers()["www-authenticate"], "Bearer", "no credential is no wrong one");
        let answer = request().bearer_auth("not.a.token").send().await.unwrap();
        assert_eq!(answer.headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
        refused(request(), 401, "token_missing").await;
        refused(request().bearer_auth("not.a.token"), 401, "token_malformed").await;
        let expired = house.token_until("68946", house.clock.now_s() - 60);
        refused(request().bearer_auth(expired), 401, "token_expired").await;
    }
    refused(house.client.get(house.url("/v1/messages")).bearer_auth(KEY), 401, "token_malformed").await;
}

#[tokio::test]
async fn a_device_publishes_commands_and_nothing_else() {
    let house = House::open().await;
    let device = house.token("68946");
    let answer = house.post(&device, "/v1/publish/request_contact", "{}").send().await.unwrap();
    assert_eq!(answer.status(), 202);
    for topic in ["68946_note", "23412_note", "23412/x"] {
        refused(house.post(&device, &format!("/v1/publish/{topic}"), "x"), 403, "topic_forbidden").await;
    }
    assert!(
        house
            .log
            .read(&log::Key::User("23412".to_owned().try_into().unwrap()), log::Offset::START, 10)
            .unwrap()
            .is_empty()
    );
    refused(house.post(KEY, "/v1/publish/$tidings%2Fevents%2Funacked", "x"), 403, "topic_forbidden").await;
}

#[tokio::test]
async fn topics_come_out_as_they_were_meant() {
    let house = House::open().await;
    // Percent-encoding belongs to the URL; the user 42_3 stands in topics as 42%5F3.
    house.publish("42%255F3_note", "under").await;
    house.publish("%C3%A9t%C3%A9/caf%C3%A9%20au%20lait", "unicode").await;
    let body = json(house.get("42_3", "/v1/messages").send().await.unwrap()).await;
    assert_eq!(body["messages"][0]["topic"], "42%5F3_note");
    let body = json(house.get("été", "/v1/messages").send().await.unwrap()).await;
    assert_eq!(body["messages"][0]["topic"], "été/café au lait");
    for topic in ["", "a%2B", "%23", "a%00", "%ff"] {
        refused(house.post(KEY, &format!("/v1/publish/{topic}"), "x"), 400, "topic_invalid").await;
    }
}

#[tokio::test]
async fn a_repeated_request_is_stored_once() {
    let house = House::open().await;
    for credential in [KEY.to_owned(), house.token("68946")] {
        let topic = if credential == KEY { "23412_note" } else { "request_contact" };
        let publish =
            || house.post(&credential, &format!("/v1/publish/{topic}"), "x").header("message-id", "order-7").send();
        let first = publish().await.unwrap();
        assert_eq!(first.status(), 202);
        let again = publish().await.unwrap();
        assert_eq!(again.status(), 200);
        assert_eq!(json(first).await, json(again).await);
    }
    assert_eq!(house.log.head(), log::Offset(2));
    let own = house.post(&house.token("23412"), "/v1/publish/request_contact", "y").header("message-id", "order-7");
    assert_eq!(own.send().await.unwrap().status(), 202, "another user's ids are their own");
    refused(house.post(KEY, "/v1/publish/x", "x").header("message-id", "a b"), 400, "message_id_invalid").await;
}

#[tokio::test]
async fn payloads_and_properties_survive() {
    let house = House::open().await;
    let binary = Bytes::from_static(b"\0\xff\xfe");
    let sent = house.post(KEY, "/v1/publish/68946_a", binary).header("content-type", "image/png").send().await.unwrap();
    assert_eq!(sent.status(), 202);
    house.post(KEY, "/v1/publish/68946_a?qos=0", "live only").send().await.unwrap();
    let sent = house.post(KEY, "/v1/publish/68946_a?expiry=1h", "{}").header("content-type", "application/json");
    assert_eq!(sent.send().await.unwrap().status(), 202);
    let body = json(house.get("68946", "/v1/messages").send().await.unwrap()).await;
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2, "QoS 0 is not stored");
    assert_eq!(messages[0]["payload_base64"], "AP/+");
    assert!(messages[0].get("payload").is_none());
    assert_eq!(messages[0]["content_type"], "image/png");
    assert_eq!(messages[1]["payload"], "{}");
    let expires = messages[1]["expires_at"].as_i64().unwrap();
    assert!((house.clock.now_ms()..=house.clock.now_ms() + 3_600_000).contains(&expires));
}

#[tokio::test]
async fn what_cannot_be_used_is_named() {
    let house = House::with(Limits { body: 10, ..Limits::default() }, log::Limits::default()).await;
    refused(house.post(KEY, "/v1/publish/a", "12345678901"), 413, "payload_too_large").await;
    for (path, name) in [("?qos=2", "qos"), ("?retain=maybe", "retain"), ("?expiry=soon", "expiry")] {
        let body = refused(house.post(KEY, &format!("/v1/publish/a{path}"), ""), 400, "query_invalid").await;
        assert!(body["error"]["message"].as_str().unwrap().contains(name), "{body}");
    }
    for (path, name) in [("?wait=long", "wait"), ("?limit=0", "limit"), ("?limit=-1", "limit")] {
        let body = refused(house.get("68946", &format!("/v1/messages{path}")), 400, "query_invalid").await;
        assert!(body["error"]["message"].as_str().unwrap().contains(name), "{body}");
    }
    refused(house.get("68946", "/v1/messages").header("if-none-match", "\"7\""), 400, "cursor_invalid").await;
    refused(house.get("68946", "/v1/messages").header("tidings-client", "x".repeat(300)), 400, "client_invalid").await;
    let delete = house.client.delete(house.url("/v1/messages")).bearer_auth(KEY);
    refused(delete, 405, "method_not_allowed").await;
}
