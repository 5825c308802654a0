//! The HTTP door behind a hostile network: a long-poll gets what is new, says 304 when there is nothing, and misses nothing.

use std::thread;
use std::time::Duration;

use serde_json::Value;
use tidings_tests::broker::Broker;
use tidings_tests::curl::{Answer, Request};
use tidings_tests::mosquitto;
use tidings_tests::packet::{Connection, Version};
use tidings_tests::wait::Deadline;

fn poll(broker: &Broker, cursor: Option<&str>, wait: &str) -> Answer {
    let url = broker.url(&format!("/v1/messages?client=phone&wait={wait}"));
    let mut request = Request::get(url).bearer(&broker.issuer.token("42"));
    if let Some(cursor) = cursor {
        request = request.header("If-None-Match", &format!("\"{cursor}\""));
    }
    request.send()
}

fn payloads(answer: &Answer) -> Vec<String> {
    let messages = answer.json()["messages"].as_array().cloned().expect("messages");
    messages.iter().map(|message| message["payload"].as_str().unwrap_or_default().to_owned()).collect()
}

fn cursor(answer: &Answer) -> String {
    let body = answer.json();
    let cursor = body["cursor"].as_str().expect("a cursor").to_owned();
    assert_eq!(answer.header("etag"), Some(format!("\"{cursor}\"").as_str()), "the ETag is the cursor");
    cursor
}

#[test]
fn a_poll_gets_everything_once_and_in_order() {
    let broker = Broker::start();
    let handler = broker.handler_login();
    for text in ["one", "two", "three"] {
        mosquitto::publish_well(&handler, "42/inbox", text);
    }
    mosquitto::publish_well(&handler, "43/inbox", "for somebody else");

    let first = poll(&broker, None, "0s").expect(200);
    assert_eq!(payloads(&first), ["one", "two", "three"]);
    assert_eq!(first.json()["recovered"], Value::Bool(true));
    let message = &first.json()["messages"][0];
    assert_eq!(message["topic"], "42/inbox");
    for field in ["message-id", "time", "cursor", "qos"] {
        assert!(!message[field].is_null(), "a message carries its {field}: {message}");
    }

    let known = cursor(&first);
    let nothing = poll(&broker, Some(&known), "0s").expect(304);
    assert!(nothing.body.is_empty(), "304 has no body");

    mosquitto::publish_well(&handler, "42/inbox", "four");
    let second = poll(&broker, Some(&known), "0s").expect(200);
    assert_eq!(payloads(&second), ["four"]);
    assert_ne!(cursor(&second), known);
}

#[test]
fn a_waiting_poll_is_answered_when_a_message_comes() {
    let broker = Broker::start();
    let handler = broker.handler_login();
    mosquitto::publish_well(&handler, "42/inbox", "before");
    let known = cursor(&poll(&broker, None, "0s").expect(200));
    let started = Deadline::after(Duration::from_secs(20));
    let answer = thread::scope(|scope| {
        let waiting = scope.spawn(|| poll(&broker, Some(&known), "25s"));
        // However the two meet, the poll must not sit out its time.
        mosquitto::publish_well(&handler, "42/inbox", "now");
        waiting.join().expect("the poll is answered")
    });
    assert_eq!(payloads(&answer.expect(200)), ["now"]);
    assert!(!started.passed(), "the answer came with the message, not at the end of the wait");
}

#[test]
fn a_wait_ends_with_304() {
    let broker = Broker::start();
    mosquitto::publish_well(&broker.handler_login(), "42/inbox", "before");
    let known = cursor(&poll(&broker, None, "0s").expect(200));
    let early = Deadline::after(Duration::from_millis(900));
    let _ = poll(&broker, Some(&known), "1s").expect(304);
    assert!(early.passed(), "304 comes at the end of the wait");
}

#[test]
fn a_cursor_of_another_log_says_that_recovery_is_not_whole() {
    let broker = Broker::start();
    mosquitto::publish_well(&broker.handler_login(), "42/inbox", "kept");
    let answer = poll(&broker, Some("00000000deadbeef-7"), "0s").expect(200);
    assert_eq!(answer.json()["recovered"], Value::Bool(false));
    assert_eq!(payloads(&answer), ["kept"]);
    // What was never an ETag of ours is a fault of the client, and is told with a code.
    assert_eq!(poll(&broker, Some("no cursor at all"), "0s").expect(400).code(), "cursor_invalid");
}

#[test]
fn binary_payloads_come_as_base64() {
    let broker = Broker::start();
    let mut handler = Connection::accepted(broker.mqtt, &broker.handler(Version::V5, "handler"));
    handler.publish("42/inbox", &[0xff, 0x00, 0xfe], 1);
    assert!(handler.puback() <= 0x10);
    let message = poll(&broker, None, "0s").expect(200).json()["messages"][0].clone();
    assert_eq!((message["payload_base64"].as_str(), message.get("payload")), (Some("/wD+"), None));
}

#[test]
fn the_limit_divides_a_long_answer() {
    let broker = Broker::start();
    let handler = broker.handler_login();
    for number in 0..5 {
        mosquitto::publish_well(&handler, "42/inbox", &number.to_string());
    }
    let page = |cursor: Option<&str>| {
        let mut request =
            Request::get(broker.url("/v1/messages?client=phone&limit=2")).bearer(&broker.issuer.token("42"));
        if let Some(cursor) = cursor {
            request = request.header("If-None-Match", &format!("\"{cursor}\""));
        }
        request.send().expect(200)
    };
    let first = page(None);
    let second = page(Some(&cursor(&first)));
    let third = page(Some(&cursor(&second)));
    assert_eq!([payloads(&first), payloads(&second), payloads(&third)].concat(), ["0", "1", "2", "3", "4"]);
}

#[test]
fn publishing_over_http_reaches_handlers_and_obeys_the_rules() {
    let broker = Broker::start();
    let mut handler =
        mosquitto::Subscriber::start(&broker.handler_login(), "request_contact", &["-F", "MESSAGE %t %P|%p"]);
    let token = broker.issuer.token("42");
    let publish = |topic: &str| Request::post(broker.url(&format!("/v1/publish/{topic}"))).bearer(&token).body("hello");
    let answer = publish("request_contact").send();
    assert!([200, 202].contains(&answer.status), "{answer}");
    assert!(answer.json()["message-id"].is_string(), "{answer}");
    let (_, message) = handler.message();
    assert!(message.ends_with("|hello") && message.contains("user:42"), "{message}");
    for foreign in ["43/inbox", "43_contact_requested", "42/inbox"] {
        let refused = publish(foreign).send().expect(403);
        assert!(!refused.code().is_empty(), "{refused}");
    }
}
