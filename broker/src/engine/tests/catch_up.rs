//! Slow readers are bounded and miss nothing; what is read from the log joins what is live without a gap.

use std::num::{NonZeroU16, NonZeroU32};

use super::harness::*;
use crate::engine::Settings;

#[test]
fn a_slow_reader_gets_no_more_than_its_window_and_everything_in_the_end() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone").with(|c| c.receive_max = NonZeroU16::new(5)));
    bench.subscribe(conn, "42_inbox", 1);
    for n in 0..200 {
        bench.notify("42_inbox", &n.to_string());
    }
    let first = bench.messages(conn);
    assert_eq!(texts(&first), ["0", "1", "2", "3", "4"]);
    for message in &first {
        bench.puback(conn, message.packet_id.unwrap());
    }
    let rest: Vec<String> = (5..200).map(|n| n.to_string()).collect();
    assert_eq!(bench.receive(conn), rest);
    let reads = bench.reads;
    bench.notify("42_inbox", "live again");
    assert_eq!(bench.receive(conn), ["live again"]);
    assert_eq!(bench.reads, reads, "it is served from memory again");
}

#[test]
fn acknowledgements_out_of_order_are_legal() {
    let mut bench = Bench::new();
    let conn =
        bench.connect(&Login::new(device("42"), "phone").with(|c| c.receive_max = NonZeroU16::new(3)).persistent());
    bench.subscribe(conn, "42_inbox", 1);
    for n in 0..6 {
        bench.notify("42_inbox", &n.to_string());
    }
    let first = bench.messages(conn);
    bench.puback(conn, first[2].packet_id.unwrap());
    bench.puback(conn, first[1].packet_id.unwrap());
    let next = bench.messages(conn);
    assert_eq!(texts(&next), ["3", "4"]);
    bench.pass(1_500);
    bench.crash();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    let again = bench.messages(conn);
    assert_eq!(texts(&again)[0], "0", "the one that was not acknowledged");
    assert!(again[0].dup && again[0].packet_id == first[0].packet_id);
    assert!(!texts(&again).contains(&"1".to_owned()), "the ones that were are not repeated");
}

#[test]
fn unacknowledged_messages_come_again_first_under_their_packet_ids() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 1);
    bench.notify("42_inbox", "a");
    bench.notify("42_inbox", "b");
    let first = bench.messages(conn);
    bench.drop_connection(conn);
    bench.notify("42_inbox", "c");
    let conn = bench.connect(&login);
    let again = bench.messages(conn);
    assert_eq!(texts(&again), ["a", "b", "c"]);
    assert_eq!(again.iter().map(|m| m.dup).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(again[0].packet_id, first[0].packet_id);
    assert_eq!(again[1].packet_id, first[1].packet_id);
}

#[test]
fn messages_that_arrive_while_the_log_is_read_come_once_and_in_order() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 1);
    bench.drop_connection(conn);
    bench.notify("42_inbox", "a");
    bench.hold = true;
    let conn = bench.connect(&login);
    bench.notify("42_inbox", "b");
    bench.notify("42_inbox", "c");
    assert!(bench.messages(conn).is_empty());
    bench.release();
    assert_eq!(bench.receive(conn), ["a", "b", "c"]);
}

#[test]
fn a_subscription_gets_nothing_from_before_it() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_a", 1);
    bench.notify("42_b", "too early");
    bench.drop_connection(conn);
    bench.notify("42_a", "a");
    bench.notify("42_b", "too early too");
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_b", 1);
    bench.notify("42_b", "b");
    assert_eq!(bench.receive(conn), ["a", "b"]);
}

#[test]
fn a_handler_with_wildcards_catches_up_over_all_topics_in_order() {
    let mut bench = Bench::with(Settings { read_batch: 4, ..Settings::default() });
    let login = Login::handler("audit").persistent();
    let handler = bench.connect(&login);
    bench.subscribe(handler, "#", 1);
    bench.drop_connection(handler);
    let device = bench.connect(&Login::new(device("42"), "phone"));
    let mut expected = Vec::new();
    for n in 0..60 {
        match n % 3 {
            0 => bench.publish(device, "request_contact", &n.to_string(), 1),
            1 => bench.notify(&format!("{n}_inbox"), &n.to_string()),
            _ => bench.notify("room/5", &n.to_string()),
        }
        expected.push(n.to_string());
    }
    let handler = bench.connect(&login);
    assert_eq!(bench.receive(handler), expected);
    bench.notify("1_inbox", "live");
    assert_eq!(bench.receive(handler), ["live"]);
}

#[test]
fn a_handler_of_several_commands_gets_them_in_the_order_of_the_log() {
    let mut bench = Bench::with(Settings { read_batch: 4, ..Settings::default() });
    let login = Login::handler("h").persistent();
    let handler = bench.connect(&login);
    for topic in ["request_contact", "accept_contact", "42_inbox"] {
        bench.subscribe(handler, topic, 1);
    }
    bench.drop_connection(handler);
    let device = bench.connect(&Login::new(device("42"), "phone"));
    let mut expected = Vec::new();
    for n in 0..50 {
        // Long runs of one topic, so that the portions of the keys end at different places.
        let topic = if n < 30 { "request_contact" } else { "accept_contact" };
        bench.publish(device, topic, &n.to_string(), 1);
        expected.push(n.to_string());
        if n % 10 == 0 {
            bench.notify("42_inbox", &format!("n{n}"));
            expected.push(format!("n{n}"));
        }
    }
    let handler = bench.connect(&login);
    assert_eq!(bench.receive(handler), expected);
}

#[test]
fn bytes_in_flight_are_bounded() {
    let mut bench = Bench::with(Settings { max_inflight_bytes: 1_000, ..Settings::default() });
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.subscribe(conn, "42_inbox", 1);
    for _ in 0..10 {
        bench.notify("42_inbox", &"x".repeat(600));
    }
    assert_eq!(bench.messages(conn).len(), 2);
}

#[test]
fn a_message_too_large_for_the_client_is_left_out_for_it() {
    let mut bench = Bench::new();
    let small = Login::new(device("42"), "small").persistent().with(|c| c.max_packet_size = NonZeroU32::new(400));
    let conn = bench.connect(&small);
    let large = bench.connect(&Login::new(device("42"), "large"));
    for conn in [conn, large] {
        bench.subscribe(conn, "42_inbox", 1);
    }
    bench.notify("42_inbox", &"x".repeat(400));
    bench.notify("42_inbox", "ok");
    assert_eq!(bench.receive(conn), ["ok"]);
    assert_eq!(bench.receive(large).len(), 2);
    bench.drop_connection(conn);
    bench.notify("42_inbox", &"x".repeat(400));
    bench.notify("42_inbox", "ok 2");
    let conn = bench.connect(&small);
    assert_eq!(bench.receive(conn), ["ok 2"]);
    assert_eq!(bench.engine.stats().too_large, 2);
}

#[test]
fn an_expired_message_is_not_delivered_and_the_rest_of_its_time_is_told() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 1);
    bench.drop_connection(conn);
    let handler = bench.connect(&Login::handler("h"));
    for (payload, seconds) in [("short", 5), ("long", 60)] {
        let mut publish = message("42_inbox", payload, 1);
        if let Some(properties) = &mut publish.properties {
            properties.message_expiry_interval = NonZeroU32::new(seconds);
        }
        bench.publish_packet(handler, publish);
    }
    bench.pass(20_500);
    let conn = bench.connect(&login);
    let got = bench.messages(conn);
    assert_eq!(texts(&got), ["long"]);
    assert_eq!(got[0].properties.as_ref().unwrap().message_expiry_interval, NonZeroU32::new(40));
}

#[test]
fn a_log_that_cannot_be_read_is_asked_again() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 1);
    bench.drop_connection(conn);
    bench.notify("42_inbox", "a");
    bench.unreadable = true;
    let conn = bench.connect(&login);
    assert!(bench.messages(conn).is_empty());
    bench.unreadable = false;
    bench.pass(1_000);
    assert_eq!(bench.receive(conn), ["a"]);
}
