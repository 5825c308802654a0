//! Nothing is acknowledged before it is stored, and what was acknowledged is not lost.

use rmqtt_codec::v5::{DisconnectReasonCode, Packet, PublishAckReason, SubscribeAckReason};

use super::harness::*;
use crate::engine::{PublishError, PublishRequest};
use crate::log::{Key, MessageLog, MessageProperties, Offset};

#[test]
fn puback_waits_for_the_log_and_so_does_delivery() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    bench.subscribe(handler, "ping", 1);
    let device = bench.connect(&Login::new(device("42"), "phone"));
    bench.hold = true;
    bench.publish(device, "ping", "x", 1);
    assert!(bench.take(device).is_empty());
    assert!(bench.take(handler).is_empty());
    bench.release();
    assert_eq!(acks(&bench.take(device)), [PublishAckReason::Success]);
    assert_eq!(bench.receive(handler), ["x"]);
}

#[test]
fn pubacks_come_in_the_order_of_the_publishes() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.hold = true;
    for pid in [7, 3, 9] {
        let publish = rmqtt_codec::types::Publish { packet_id: pid.try_into().ok(), ..message("ping", "x", 1) };
        bench.publish_packet(conn, publish);
    }
    bench.release();
    let pids: Vec<u16> = bench
        .take(conn)
        .iter()
        .map(|packet| match packet {
            Packet::PublishAck(ack) => ack.packet_id.get(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(pids, [7, 3, 9]);
}

#[test]
fn a_full_disk_is_said_and_nothing_is_delivered() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    bench.subscribe(handler, "ping", 1);
    let new = bench.connect(&Login::new(device("42"), "new"));
    let old = bench.connect(&Login::new(device("42"), "old").v3());
    bench.disk_full = true;
    bench.publish(new, "ping", "x", 1);
    assert_eq!(acks(&bench.take(new)), [PublishAckReason::QuotaExceeded]);
    bench.publish(new, "ping", "x", 2);
    assert_eq!(acks(&bench.take(new)), [PublishAckReason::QuotaExceeded]);
    bench.publish(old, "ping", "x", 1);
    assert!(bench.take(old).is_empty());
    assert_eq!(bench.closed[&old], DisconnectReasonCode::QuotaExceeded);
    assert!(bench.messages(handler).is_empty());
    bench.disk_full = false;
    bench.publish(new, "ping", "again", 1);
    assert_eq!(acks(&bench.take(new)), [PublishAckReason::Success]);
    assert_eq!(bench.receive(handler), ["again"]);
}

#[test]
fn qos_0_is_live_only() {
    let mut bench = Bench::new();
    let login = Login::handler("h").persistent();
    let handler = bench.connect(&login);
    bench.subscribe(handler, "ping", 1);
    let device = bench.connect(&Login::new(device("42"), "phone"));
    bench.publish(device, "ping", "live", 0);
    assert_eq!(bench.receive(handler), ["live"]);
    assert_eq!(bench.log.head(), Offset::START);
    bench.drop_connection(handler);
    bench.publish(device, "ping", "missed", 0);
    let handler = bench.connect(&login);
    assert!(bench.receive(handler).is_empty());
}

#[test]
fn a_repeated_message_id_is_acknowledged_and_not_delivered_again() {
    let mut bench = Bench::new();
    let device = bench.connect(&Login::new(device("42"), "phone"));
    bench.subscribe(device, "42_inbox", 1);
    let publish = PublishRequest {
        principal: tidings_shared::topic::access::Principal::Handler,
        client: String::new(),
        topic: "42_inbox".into(),
        payload: "once".into(),
        qos: 1,
        retain: false,
        message_id: tidings_shared::message_id::MessageId::new("order-7").ok(),
        expiry_s: None,
        properties: MessageProperties::default(),
    };
    let first = bench.http(publish.clone());
    let second = bench.http(publish);
    let (first, second) = (bench.published[&first].clone().unwrap(), bench.published[&second].clone().unwrap());
    assert!(!first.duplicate && second.duplicate);
    assert_eq!(first.cursor, second.cursor);
    assert_eq!(bench.receive(device), ["once"]);
    assert_eq!(bench.notified, ["42"]);
}

#[test]
fn the_http_door_hears_of_a_full_disk() {
    let mut bench = Bench::new();
    bench.disk_full = true;
    bench.notify("42_inbox", "x");
    assert_eq!(bench.published.values().next().unwrap(), &Err(PublishError::QuotaExceeded));
}

#[test]
fn suback_of_a_session_that_stays_waits_until_it_is_stored() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.hold = true;
    bench.subscribe_with(conn, "42_inbox", options(1), 0);
    assert!(bench.take(conn).is_empty());
    bench.release();
    assert!(matches!(bench.take(conn)[..], [Packet::SubscribeAck(_)]));
    bench.crash();
    bench.notify("42_inbox", "x");
    let conn = bench.connect(&login);
    assert_eq!(bench.receive(conn), ["x"]);
}

#[test]
fn a_subscription_that_cannot_be_stored_is_refused() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone").persistent());
    bench.disk_full = true;
    assert_eq!(bench.try_subscribe(conn, "42_inbox", 1), SubscribeAckReason::QuotaExceeded);
    bench.disk_full = false;
    bench.notify("42_inbox", "x");
    assert!(bench.messages(conn).is_empty());
}

#[test]
fn after_a_crash_nothing_is_missing_and_what_comes_again_is_marked() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 1);
    bench.notify("42_inbox", "a");
    assert_eq!(bench.receive(conn), ["a"]);
    bench.pass(1_000);
    bench.notify("42_inbox", "b");
    assert_eq!(bench.receive(conn), ["b"]);
    // The cursor after `b` was not written yet.
    bench.crash();
    let conn = bench.connect(&login);
    let again = bench.messages(conn);
    assert_eq!(texts(&again), ["b"]);
    assert!(again[0].dup);
    let fresh = again[0].packet_id.unwrap().get();
    assert!(fresh > 1_000, "the packet id may still be in use at the client: {fresh}");
}

#[test]
fn cursors_that_were_written_spare_the_repetition() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 1);
    for n in 0..10 {
        bench.notify("42_inbox", &n.to_string());
    }
    assert_eq!(bench.receive(conn).len(), 10);
    bench.pass(1_500);
    bench.crash();
    let conn = bench.connect(&login);
    assert!(bench.messages(conn).is_empty());
}

#[test]
fn messages_are_stored_under_their_owner_or_their_command() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.publish(conn, "request_contact", "x", 1);
    bench.notify("42_inbox", "y");
    let keys: Vec<Key> = bench.log.scan(Offset::START, 10).unwrap().iter().map(|(_, m)| m.key.clone()).collect();
    assert_eq!(keys, [Key::Command("request_contact".into()), Key::User(user("42"))]);
}
