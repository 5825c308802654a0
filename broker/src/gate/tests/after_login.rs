//! A logged-in connection: faults, keep-alive, expiry, takeover of the wire's rules by the gate.

use std::time::Duration;

use rmqtt_codec::v5::Packet;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::harness::{House, KEY, LEEWAY_MS, PATIENCE};
use crate::gate::Limits;
use crate::gate::raw::{Connect, field, packet, properties, variable};

fn publish5(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x30, &[&field(topic)[..], &[0], payload].concat())
}

#[tokio::test]
async fn connack_says_what_the_server_offers() {
    let house = House::with(Limits { keep_alive: Some(Duration::from_secs(30)), ..Limits::default() }).await;
    let mut client = house.send(&Connect::new(5, "").login("handler", KEY).keep_alive(60).bytes()).await;
    let Some(Packet::ConnectAck(ack)) = client.packet().await else { panic!("no CONNACK") };
    assert!(ack.assigned_client_id.is_some_and(|id| id.starts_with("auto-")));
    assert_eq!(ack.server_keepalive_sec, Some(30));
    assert!(ack.receive_max.get() < 65_535);
    assert!(ack.topic_alias_max > 0);
    assert!(ack.retain_available && ack.wildcard_subscription_available);
    assert!(ack.subscription_identifiers_available && ack.shared_subscription_available);
    // An id of one's own is not told back, and neither is a keep alive that is short enough.
    let mut client = house.send(&Connect::new(5, "mine").login("handler", KEY).keep_alive(20).bytes()).await;
    let Some(Packet::ConnectAck(ack)) = client.packet().await else { panic!("no CONNACK") };
    assert_eq!((ack.assigned_client_id, ack.server_keepalive_sec), (None, None));
}

#[tokio::test]
async fn a_fault_ends_the_connection_with_its_code_and_in_3_1_1_silently() {
    let house = House::open().await;
    let mut large = vec![0x30];
    large.extend(variable(2 << 20));
    let cases: Vec<(&str, u8, Vec<u8>)> = vec![
        ("a second CONNECT", 0x82, Connect::new(5, "c").login("handler", KEY).bytes()),
        ("reserved flags", 0x81, packet(0xC1, &[])),
        ("a wildcard in the topic", 0x90, publish5("a/#", b"")),
        ("a large packet", 0x95, large),
        ("CONNACK from a client", 0x82, packet(0x20, &[0, 0, 0])),
        ("AUTH", 0x82, packet(0xF0, &[0x19, 0])),
        ("a subscription id of 0", 0x82, packet(0x82, &[&[0, 1, 2, 11, 0][..], &field("a"), &[0]].concat())),
        ("a long remaining length", 0x81, vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
    ];
    for (what, code, bytes) in cases {
        let mut client = house.handler("five").await;
        client.send(&bytes).await;
        assert_eq!(client.disconnected().await, code, "{what}");
    }
    for bytes in [
        packet(0xC1, &[]),
        packet(0xF0, &[]),
        Connect::new(4, "c").login("handler", KEY).bytes(),
        packet(0x30, &field("a/#")),
    ] {
        let mut client = house.login(&Connect::new(4, "three").login("handler", KEY)).await;
        client.send(&bytes).await;
        assert_eq!(client.last_words().await, b"");
    }
}

#[tokio::test]
async fn a_ping_is_answered_in_every_version() {
    let house = House::open().await;
    for level in [3, 4, 5] {
        let mut client = house.login(&Connect::new(level, "c").login("handler", KEY)).await;
        client.send(&[0xC0, 0, 0xC0, 0]).await;
        assert_eq!(client.packet().await, Some(Packet::PingResponse));
        assert_eq!(client.packet().await, Some(Packet::PingResponse));
    }
}

#[tokio::test]
async fn silence_beyond_one_and_a_half_keep_alives_ends_the_connection() {
    let house = House::open().await;
    let began = tokio::time::Instant::now();
    let mut five = house.login(&Connect::new(5, "five").login("handler", KEY).keep_alive(1)).await;
    let mut three = house.login(&Connect::new(4, "three").login("handler", KEY).keep_alive(1)).await;
    let mut none = house.login(&Connect::new(5, "none").login("handler", KEY).keep_alive(0)).await;
    assert_eq!(five.disconnected().await, 0x8D);
    assert_eq!(three.last_words().await, b"");
    assert!(began.elapsed() >= Duration::from_millis(1500) && began.elapsed() < Duration::from_secs(4));
    none.send(&[0xC0, 0]).await;
    assert_eq!(none.packet().await, Some(Packet::PingResponse));
}

#[tokio::test]
async fn a_connection_ends_when_its_token_expires() {
    let house = House::open().await;
    let exp = house.clock.now_s() + 2;
    let token = house.token_with(&json!({ "exp": exp }));
    let mut five = house.login(&Connect::new(5, "five").login("JWT", &token)).await;
    let mut three = house.login(&Connect::new(4, "three").login("JWT", &token)).await;
    assert_eq!(five.disconnected().await, 0x87);
    assert_eq!(three.last_words().await, b"");
    assert!(house.clock.now_ms() >= exp * 1000);
}

#[tokio::test]
async fn a_token_that_only_the_leeway_makes_good_ends_with_the_leeway() {
    let house = House::open().await;
    let exp = house.clock.now_s() - 1;
    let token = house.token_with(&json!({ "exp": exp }));
    let mut client = house.login(&Connect::new(5, "late").login("JWT", &token)).await;
    assert_eq!(client.disconnected().await, 0x87);
    assert!(house.clock.now_ms() >= exp * 1000 + LEEWAY_MS);
}

#[tokio::test]
async fn a_peer_that_keeps_us_busy_does_not_outlive_its_token() {
    let house = House::open().await;
    let token = house.token_with(&json!({ "exp": house.clock.now_s() + 1 }));
    let client = house.login(&Connect::new(4, "busy").login("JWT", &token)).await;
    let (mut reader, mut writer) = client.stream.into_split();
    let flood = async move { while writer.write_all(&[0xC0, 0].repeat(1000)).await.is_ok() {} };
    let mut ignored = tokio::io::sink();
    let drain = tokio::io::copy(&mut reader, &mut ignored);
    tokio::time::timeout(PATIENCE, futures_util::future::join(flood, drain)).await.expect("the connection ends").1.ok();
}

#[tokio::test]
async fn a_client_that_allows_aliases_gets_its_topic_in_full_once() {
    let house = House::open().await;
    let mut reader = house.login(&Connect::new(5, "reader").login("handler", KEY).property(&[0x22, 0, 1])).await;
    let filter = [&[0, 1][..], &properties(&[]), &field("command/#"), &[0]].concat();
    reader.send(&packet(0x82, &filter)).await;
    assert!(matches!(reader.packet().await, Some(Packet::SubscribeAck(_))));
    let mut writer = house.handler("writer").await;
    for topic in ["command/a", "command/a", "command/b"] {
        writer.send(&publish5(topic, b"x")).await;
    }
    for (topic, alias) in [("command/a", Some(1)), ("", Some(1)), ("command/b", None)] {
        let Some(Packet::Publish(message)) = reader.packet().await else { panic!("no message") };
        assert_eq!((&*message.topic, message.properties.unwrap().topic_alias.map(u16::from)), (topic, alias));
    }
}

#[tokio::test]
async fn nothing_goes_out_before_connack_however_much_comes_with_connect() {
    let house = House::open().await;
    let connect = |version| Connect::new(version, "eager").login("handler", KEY).bytes();
    for _ in 0..20 {
        let mut client = house.send(&[connect(5), packet(0xC0, &[])].concat()).await;
        assert!(matches!(client.packet().await, Some(Packet::ConnectAck(_))));
        assert!(matches!(client.packet().await, Some(Packet::PingResponse)));

        let mut client = house.send(&[connect(5), connect(5)].concat()).await;
        assert!(matches!(client.packet().await, Some(Packet::ConnectAck(_))));
        assert_eq!(client.disconnected().await, 0x82);

        let mut client = house.send(&[connect(4), packet(0xC1, &[])].concat()).await;
        assert_eq!(client.last_words().await, [0x20, 2, 0, 0]);
    }
}

#[tokio::test]
async fn a_message_goes_through_byte_by_byte() {
    let house = House::open().await;
    let mut reader = house.handler("reader").await;
    let filter = [&[0, 1][..], &properties(&[]), &field("command"), &[1]].concat();
    reader.send(&packet(0x82, &filter)).await;
    assert!(matches!(reader.packet().await, Some(Packet::SubscribeAck(_))));
    let mut writer = house.handler("writer").await;
    for byte in publish5("command", b"hello") {
        writer.send(&[byte]).await;
    }
    let Some(Packet::Publish(message)) = reader.packet().await else { panic!("no message") };
    assert_eq!((&*message.topic, &message.payload[..]), ("command", &b"hello"[..]));
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed_at_the_write_deadline() {
    let limits = Limits { write_deadline: Duration::from_millis(300), ..Limits::default() };
    let house = House::with(limits).await;
    let mut reader = house.handler("reader").await;
    let filter = [&[0, 1][..], &properties(&[]), &field("command"), &[0]].concat();
    reader.send(&packet(0x82, &filter)).await;
    assert!(matches!(reader.packet().await, Some(Packet::SubscribeAck(_))));
    let mut writer = house.handler("writer").await;
    let message = publish5("command", &vec![0; 512 * 1024]);
    let stuck = async {
        loop {
            let count =
                house.metrics.closed.get_or_create(&super::super::metrics::Why { code: "write_deadline" }).get();
            if count > 0 {
                return;
            }
            writer.send(&message).await;
            writer.send(&[0xC0, 0]).await;
            assert!(writer.packet().await.is_some());
        }
    };
    tokio::time::timeout(PATIENCE, stuck).await.expect("the reader is closed");
}
