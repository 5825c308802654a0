//! Retained messages (MQTT 5, section 3.3.1.3): the last one of each topic, durable, cleared by an empty one.

use std::num::{NonZeroU16, NonZeroU32};

use rmqtt_codec::types::Publish;
use rmqtt_codec::v5::{PublishAckReason, RetainHandling, SubscriptionOptions};

use super::harness::*;
use crate::engine::{ConnId, Settings};

fn retain(bench: &mut Bench, conn: ConnId, topic: &str, payload: &str, qos: u8) {
    bench.publish_packet(conn, Publish { retain: true, ..message(topic, payload, qos) });
}

#[test]
fn a_later_subscriber_gets_the_last_one_marked() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    for (payload, qos) in [("old", 1), ("new", 1)] {
        retain(&mut bench, handler, "42/state", payload, qos);
    }
    retain(&mut bench, handler, "42/light", "on", 0);
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.subscribe(conn, "42/#", 1);
    let got = bench.messages(conn);
    assert_eq!(texts(&got), ["on", "new"]);
    assert!(got.iter().all(|message| message.retain));
    assert_eq!(bench.engine.stats().retained, 2);
}

#[test]
fn an_empty_one_clears_and_is_itself_delivered() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.subscribe(conn, "42_state", 1);
    retain(&mut bench, handler, "42_state", "x", 1);
    retain(&mut bench, handler, "42_state", "", 1);
    assert_eq!(bench.receive(conn), ["x", ""]);
    bench.subscribe(conn, "42_state", 1);
    assert!(bench.messages(conn).is_empty());
    assert_eq!(bench.engine.stats().retained, 0);
}

#[test]
fn they_survive_a_crash_also_the_moment_after_the_acknowledgement() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    retain(&mut bench, handler, "42_a", "a", 1);
    retain(&mut bench, handler, "42_b", "b", 0);
    // The log has the message, its record is lost.
    bench.hold = true;
    retain(&mut bench, handler, "42_c", "c", 1);
    bench.release_one();
    assert_eq!(acks(&bench.take(handler)).len(), 2);
    bench.crash();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    for filter in ["42_a", "42_b", "42_c"] {
        bench.subscribe(conn, filter, 1);
    }
    assert_eq!(bench.receive(conn), ["a", "b", "c"]);
}

#[test]
fn retain_handling_is_respected() {
    for (handling, first, second) in [
        (RetainHandling::AtSubscribe, 1, 1),
        (RetainHandling::AtSubscribeNew, 1, 0),
        (RetainHandling::NoAtSubscribe, 0, 0),
    ] {
        let mut bench = Bench::new();
        let handler = bench.connect(&Login::handler("h"));
        retain(&mut bench, handler, "42_state", "x", 1);
        let conn = bench.connect(&Login::new(device("42"), "phone"));
        for expected in [first, second] {
            let options = SubscriptionOptions { retain_handling: handling, ..options(1) };
            bench.subscribe_with(conn, "42_state", options, 0);
            assert_eq!(bench.receive(conn).len(), expected);
        }
    }
}

#[test]
fn shared_subscriptions_get_none() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    retain(&mut bench, handler, "state", "x", 1);
    bench.subscribe(handler, "$share/g/state", 1);
    assert!(bench.messages(handler).is_empty());
}

#[test]
fn they_wait_for_the_window_and_go_on_after_a_reconnect() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    for n in 0..9 {
        retain(&mut bench, handler, &format!("42/{n}"), &n.to_string(), 1);
    }
    let login = Login::new(device("42"), "phone").persistent().with(|c| c.receive_max = NonZeroU16::new(2));
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42/#", 1);
    let first = bench.messages(conn);
    assert_eq!(texts(&first), ["0", "1"]);
    bench.puback(conn, first[0].packet_id.unwrap());
    assert_eq!(texts(&bench.messages(conn)), ["2"]);
    bench.drop_connection(conn);
    let conn = bench.connect(&login);
    let again = bench.messages(conn);
    assert_eq!(texts(&again), ["1", "2"]);
    assert!(again.iter().all(|message| message.dup && message.retain));
    for message in again {
        bench.puback(conn, message.packet_id.unwrap());
    }
    assert_eq!(bench.receive(conn), ["3", "4", "5", "6", "7", "8"]);
}

#[test]
fn an_expired_one_is_gone() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    let mut publish = Publish { retain: true, ..message("42_state", "x", 1) };
    publish.properties.get_or_insert_default().message_expiry_interval = NonZeroU32::new(5);
    bench.publish_packet(handler, publish);
    bench.pass(5_000);
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.subscribe(conn, "42_state", 1);
    assert!(bench.messages(conn).is_empty());
    assert_eq!(bench.engine.stats().retained, 0);
}

#[test]
fn there_is_room_for_only_so_many() {
    let mut bench = Bench::with(Settings { max_retained: 1, ..Settings::default() });
    let handler = bench.connect(&Login::handler("h"));
    retain(&mut bench, handler, "a", "x", 1);
    retain(&mut bench, handler, "b", "x", 1);
    retain(&mut bench, handler, "a", "", 1);
    retain(&mut bench, handler, "b", "x", 1);
    let expected = [
        PublishAckReason::Success,
        PublishAckReason::QuotaExceeded,
        PublishAckReason::Success,
        PublishAckReason::Success,
    ];
    assert_eq!(acks(&bench.take(handler)), expected);
}
