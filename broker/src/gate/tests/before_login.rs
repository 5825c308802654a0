//! What happens until a CONNECT is verified: versions, faults, log-ins, deadlines, bounds.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::harness::{House, KEY, sign};
use crate::gate::Limits;
use crate::gate::raw::{Connect, field, packet, variable};

#[tokio::test]
async fn a_connection_that_does_not_open_with_connect_is_closed_without_an_answer() {
    let house = House::open().await;
    let cases: [&[u8]; 6] = [
        &packet(0xC0, &[]),
        &packet(0x30, &field("topic")),
        b"GET / HTTP/1.1\r\n\r\n",
        &packet(0x11, &[0; 12]),
        &packet(0x10, b"\0\x04HTTP\x04\x02\0\0\0\0"),
        &packet(0xF0, &[0x18, 0]),
    ];
    for bytes in cases {
        assert_eq!(house.send(bytes).await.last_words().await, b"", "{bytes:x?}");
    }
}

#[tokio::test]
async fn other_versions_of_mqtt_are_told_so() {
    let house = House::open().await;
    let mut newer = house.send(&Connect::new(6, "c").bytes()).await;
    assert_eq!(newer.refused().await.0, 0x84);
    let mut older = Connect::new(2, "c");
    older.properties.clear();
    assert_eq!(house.send(&older.bytes()).await.last_words().await, [0x20, 2, 0, 1]);
}

#[tokio::test]
async fn a_fault_in_connect_is_told_in_mqtt_5_and_closes_in_3_1_1() {
    let house = House::open().await;
    let connect = |level| Connect::new(level, "c").login("handler", KEY);
    let told = async |connect: Connect| house.send(&connect.bytes()).await.refused().await.0;
    assert_eq!(told(connect(5).flags(0xC3)).await, 0x81);
    assert_eq!(told(connect(5).property(&[0x21, 0, 0])).await, 0x82);
    assert_eq!(told(connect(5).property(&[0x15, 0, 1, b'x'])).await, 0x8C);
    assert_eq!(house.send(&connect(4).flags(0xC3).bytes()).await.last_words().await, b"");
    assert_eq!(house.send(&connect(3).flags(0xC3).bytes()).await.last_words().await, b"");
}

#[tokio::test]
async fn in_3_1_1_an_empty_client_id_needs_clean_session() {
    let house = House::open().await;
    let refused = Connect::new(4, "").login("handler", KEY).flags(0xC0);
    assert_eq!(house.send(&refused.bytes()).await.last_words().await, [0x20, 2, 0, 2]);
    house.login(&Connect::new(4, "").login("handler", KEY)).await;
}

#[tokio::test]
async fn a_first_packet_above_the_limit_is_refused_from_its_header() {
    let house = House::open().await;
    // The limit is for what a stranger may make us keep: the header is enough to refuse.
    let mut bytes = vec![0x10];
    bytes.extend(variable(70_000));
    assert_eq!(house.send(&bytes).await.last_words().await, b"");
    bytes.extend(field("MQTT"));
    bytes.push(5);
    assert_eq!(house.send(&bytes).await.refused().await.0, 0x95);
}

#[tokio::test]
async fn every_bad_log_in_has_its_code_and_says_which_check_failed() {
    let house = House::open().await;
    let now = house.clock.now_s();
    let good = json!({});
    let none = format!("{}.{}.", "eyJhbGciOiJub25lIn0", "eyJzdWIiOiI2ODk0NiJ9");
    let cases: Vec<(&str, String, &str)> = vec![
        ("JWT", house.token_with(&json!({ "exp": now - 600 })), "expired"),
        ("JWT", house.token_with(&json!({ "nbf": now + 600 })), "not valid yet"),
        ("JWT", house.token_with(&json!({ "iss": "another app" })), "issuer"),
        ("JWT", house.token_with(&json!({ "aud": "others" })), "audience"),
        ("JWT", house.token_with(&json!({ "exp": null })), "exp"),
        ("JWT", house.token_with(&json!({ "sub": null })), "sub"),
        ("JWT", sign("another secret", &house.claims(&good)), "signature"),
        ("JWT", none, "algorithm none is not allowed"),
        ("JWT", "no token".into(), "not a JWT"),
        ("JWT", KEY.into(), "not a JWT"),
        ("jwt", house.token("68946"), "user name is JWT"),
        ("handler", house.token("68946"), "not a handler key"),
        ("handler", String::new(), "not a handler key"),
        ("admin", KEY.into(), "user name is JWT"),
    ];
    for (user, password, why) in cases {
        let connect = |level| Connect::new(level, "phone").login(user, &password);
        let (code, reason) = house.send(&connect(5).bytes()).await.refused().await;
        assert_eq!(code, 0x86, "{user} {reason}");
        assert!(reason.contains(why), "{user}: {reason}");
        let words = house.send(&connect(4).bytes()).await.last_words().await;
        assert_eq!(words, [0x20, 2, 0, 4], "{user} {why}");
    }
    let (code, reason) = house.send(&Connect::new(5, "phone").bytes()).await.refused().await;
    assert_eq!((code, reason.contains("log in with user name JWT")), (0x86, true));
}

#[tokio::test]
async fn a_token_and_a_handler_key_log_in_in_every_version() {
    let house = House::open().await;
    for level in [3, 4, 5] {
        house.login(&Connect::new(level, "phone").login("JWT", &house.token("68946"))).await;
        house.login(&Connect::new(level, "worker").login("handler", KEY)).await;
    }
}

#[tokio::test]
async fn a_silent_or_slow_connection_ends_at_the_deadline_and_blocks_nobody() {
    let limits = Limits { connect_deadline: Duration::from_millis(400), ..Limits::default() };
    let house = House::with(limits).await;
    let began = Instant::now();
    let mut silent = house.knock().await;
    let mut slow = house.knock().await;
    let connect = Connect::new(5, "c").login("handler", KEY).bytes();
    for byte in connect.iter().take(5) {
        slow.send(&[*byte]).await;
    }
    house.handler("quick").await;
    assert_eq!(silent.last_words().await, b"");
    assert_eq!(slow.last_words().await, b"");
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(house.metrics.unauthenticated.get(), 0);
}

#[tokio::test]
async fn strangers_are_bounded_per_address_and_log_ins_are_not() {
    let house = House::with(Limits { unauthenticated_per_address: 2, ..Limits::default() }).await;
    let first = house.knock().await;
    let mut second = house.knock().await;
    let mut third = house.knock().await;
    assert_eq!(third.last_words().await, b"", "the third has no place");
    second.send(&Connect::new(5, "c").login("handler", KEY).bytes()).await;
    assert!(second.packet().await.is_some());
    drop(first);
    // Who has logged in no longer counts, and neither does who has left.
    let mut clients = Vec::new();
    for number in 0..5 {
        clients.push(house.handler(&format!("worker-{number}")).await);
    }
}
