//! Recovery by cursor: a client without a session says how far it has read and gets the rest, whole, once, in order.

use std::num::NonZeroU16;

use bytes::Bytes;
use rmqtt_codec::types::Publish;
use rmqtt_codec::v5::{ConnectAck, ConnectAckReason, PublishProperties};

use super::harness::*;
use crate::engine::{ConnId, PublishRequest, Settings};
use crate::log::MessageProperties;

fn cursor(bench: &mut Bench) -> String {
    let (conn, ack) = bench.try_connect(&Login::handler("asks"));
    bench.disconnect(conn);
    told(&ack, "cursor").unwrap()
}

fn told(ack: &ConnectAck, name: &str) -> Option<String> {
    ack.user_properties.iter().find(|(found, _)| &**found == name).map(|(_, value)| value.to_string())
}

fn at(login: Login, cursor: &str) -> Login {
    login.with(|connect| connect.user_properties.push(("cursor".into(), cursor.into())))
}

fn phone() -> Login {
    Login::new(device("42"), "phone")
}

fn recover(bench: &mut Bench, login: Login, cursor: &str) -> (ConnId, Option<String>) {
    let (conn, ack) = bench.try_connect(&at(login, cursor));
    assert_eq!(ack.reason_code, ConnectAckReason::Success);
    (conn, told(&ack, "recovered"))
}

fn store(bench: &mut Bench, range: std::ops::Range<usize>) -> Vec<String> {
    let all: Vec<String> = range.map(|n| n.to_string()).collect();
    for payload in &all {
        bench.notify("42_inbox", payload);
    }
    all
}

#[test]
fn what_was_missed_comes_in_order_then_what_is_new() {
    let mut bench = Bench::new();
    store(&mut bench, 0..5);
    let cursor = cursor(&mut bench);
    let missed = store(&mut bench, 5..300);
    let (conn, recovered) = recover(&mut bench, phone(), &cursor);
    assert_eq!(recovered.as_deref(), Some("true"));
    bench.subscribe(conn, "42_inbox", 1);
    // Live messages come while the old ones are still on their way.
    let first = bench.messages(conn);
    assert!(first.len() <= 64, "{}", first.len());
    let live = store(&mut bench, 300..310);
    for message in &first {
        bench.puback(conn, message.packet_id.unwrap());
    }
    let mut got = texts(&first);
    got.extend(bench.receive(conn));
    assert_eq!(got, [missed, live].concat());
}

#[test]
fn each_message_names_the_cursor_to_go_on_from() {
    let mut bench = Bench::new();
    let start = cursor(&mut bench);
    store(&mut bench, 0..20);
    let (conn, _) = recover(&mut bench, phone(), &start);
    bench.subscribe(conn, "42_inbox", 1);
    let got = bench.messages(conn);
    let half = property(&got[9], "cursor").unwrap().to_owned();
    bench.drop_connection(conn);
    let (conn, recovered) = recover(&mut bench, phone(), &half);
    assert_eq!(recovered.as_deref(), Some("true"));
    bench.subscribe(conn, "42_inbox", 1);
    let expected: Vec<String> = (10..20).map(|n| n.to_string()).collect();
    assert_eq!(bench.receive(conn), expected);
}

#[test]
fn several_subscriptions_in_any_order_bring_each_message_once() {
    let filters = ["42/a", "42/#", "42_inbox", "42/+"];
    for first in 0..4 {
        for acks_between in [false, true] {
            let mut bench = Bench::new();
            let start = cursor(&mut bench);
            for n in 0..100 {
                let topic = ["42/a", "42/b", "42_inbox", "42/c/d"][n % 4];
                bench.notify(topic, &n.to_string());
            }
            let (conn, _) = recover(&mut bench, phone(), &start);
            let mut got = Vec::new();
            for n in 0..4 {
                bench.subscribe(conn, filters[(first + n) % 4], 1);
                if acks_between {
                    got.extend(bench.receive(conn));
                }
            }
            bench.notify("42/a", "live");
            got.extend(bench.receive(conn));
            assert_eq!(got.len(), 101, "{first} {acks_between}");
            assert_eq!(got.last().unwrap(), "live");
            got.sort_unstable();
            got.dedup();
            assert_eq!(got.len(), 101);
        }
    }
}

#[test]
fn a_subscription_that_is_made_again_begins_now() {
    let mut bench = Bench::new();
    let start = cursor(&mut bench);
    store(&mut bench, 0..3);
    let (conn, _) = recover(&mut bench, phone(), &start);
    bench.subscribe(conn, "42_inbox", 1);
    assert_eq!(bench.receive(conn).len(), 3);
    bench.subscribe(conn, "42_inbox", 1);
    assert!(bench.receive(conn).is_empty(), "it was there");
    bench.unsubscribe(conn, "42_inbox");
    bench.take(conn);
    bench.subscribe(conn, "42_inbox", 1);
    assert!(bench.receive(conn).is_empty());
}

#[test]
fn what_cannot_be_whole_says_so_and_begins_with_what_is_kept() {
    let mut bench = Bench::new();
    let start = cursor(&mut bench);
    store(&mut bench, 0..1_005);
    let kept: Vec<String> = (5..1_005).map(|n| n.to_string()).collect();
    let ahead = format!("{}-99999", start.split_once('-').unwrap().0);
    for bad in [&*start, "00000000000000ff-7", &ahead] {
        let (conn, recovered) = recover(&mut bench, phone(), bad);
        assert_eq!(recovered.as_deref(), Some("false"), "{bad}");
        bench.subscribe(conn, "42_inbox", 1);
        let first = bench.messages(conn);
        assert_eq!(property(&first[0], "recovered"), None, "it was told in CONNACK");
        for message in &first {
            bench.puback(conn, message.packet_id.unwrap());
        }
        let mut got = texts(&first);
        got.extend(bench.receive(conn));
        assert_eq!(got, kept, "{bad}");
        bench.drop_connection(conn);
    }
}

#[test]
fn a_hole_that_opens_later_is_told_by_the_message_behind_it() {
    let mut bench = Bench::new();
    let start = cursor(&mut bench);
    store(&mut bench, 0..10);
    let (conn, recovered) = recover(&mut bench, phone().with(|c| c.receive_max = NonZeroU16::new(1)), &start);
    assert_eq!(recovered.as_deref(), Some("true"));
    bench.subscribe(conn, "42_inbox", 1);
    let first = bench.messages(conn);
    assert_eq!((texts(&first), property(&first[0], "recovered")), (vec!["0".to_owned()], None));
    store(&mut bench, 10..1_010);
    bench.puback(conn, first[0].packet_id.unwrap());
    let next = bench.messages(conn);
    assert_eq!((texts(&next), property(&next[0], "recovered")), (vec!["10".to_owned()], Some("false")));
    bench.puback(conn, next[0].packet_id.unwrap());
    assert_eq!(property(&bench.messages(conn)[0], "recovered"), None);
    assert_eq!(bench.engine.stats().holes, 1);
}

#[test]
fn a_text_that_is_no_cursor_is_refused_with_a_reason() {
    let mut bench = Bench::new();
    for bad in ["", "7", "zz-1", "0000000000000007-x"] {
        let (conn, ack) = bench.try_connect(&at(phone(), bad));
        assert_eq!(ack.reason_code, ConnectAckReason::ImplementationSpecificError);
        assert!(ack.reason_string.unwrap().contains("cursor"), "{bad}");
        assert!(bench.closed.contains_key(&conn));
    }
    let good = cursor(&mut bench);
    let (_, ack) = bench.try_connect(&at(at(phone(), &good), &good));
    assert_eq!(ack.reason_code, ConnectAckReason::ImplementationSpecificError);
}

#[test]
fn a_session_that_is_there_goes_on_from_its_own_cursor() {
    let mut bench = Bench::new();
    let start = cursor(&mut bench);
    let conn = bench.connect(&phone().persistent());
    bench.subscribe(conn, "42_inbox", 1);
    store(&mut bench, 0..3);
    bench.receive(conn);
    bench.drop_connection(conn);
    store(&mut bench, 3..5);
    let (conn, ack) = bench.try_connect(&at(phone().persistent(), &start));
    assert!(ack.session_present);
    assert_eq!(told(&ack, "recovered").as_deref(), Some("true"));
    assert_eq!(bench.receive(conn), ["3", "4"]);
    bench.drop_connection(conn);
    // Retention was faster than the client.
    store(&mut bench, 5..1_100);
    let (conn, ack) = bench.try_connect(&at(phone().persistent(), &start));
    assert_eq!((ack.session_present, told(&ack, "recovered").as_deref()), (true, Some("false")));
    assert_eq!(bench.receive(conn).len(), 1_000);
    bench.drop_connection(conn);
    // A clean start lets it go, and the cursor counts.
    let (conn, ack) = bench.try_connect(&at(phone(), &start));
    assert!(!ack.session_present);
    bench.subscribe(conn, "42_inbox", 1);
    assert_eq!(bench.receive(conn).len(), 1_000);
}

#[test]
fn qos_0_subscriptions_recover_too_in_portions() {
    let mut bench = Bench::new();
    let start = cursor(&mut bench);
    let missed = store(&mut bench, 0..200);
    let (conn, _) = recover(&mut bench, phone(), &start);
    bench.subscribe(conn, "42_inbox", 0);
    let got = bench.messages(conn);
    assert!(got.iter().all(|message| message.qos.value() == 0));
    assert_eq!(texts(&got), missed);
}

#[test]
fn another_users_messages_and_forged_ones_stay_invisible() {
    let mut bench = Bench::new();
    let start = cursor(&mut bench);
    // `42` published by a device under the command rule: the bare topic of user 42.
    let other = bench.connect(&Login::new(device("77"), "x"));
    bench.publish(other, "request_42", "command", 1);
    bench.notify("43_inbox", "foreign");
    bench.notify("42/x", "mine");
    let (conn, _) = recover(&mut bench, phone(), &start);
    bench.subscribe(conn, "42/#", 1);
    bench.subscribe(conn, "42_inbox", 1);
    assert_eq!(bench.receive(conn), ["mine"]);
}

#[test]
fn a_restart_in_the_middle_goes_on_where_it_was() {
    let mut bench = Bench::new();
    let start = cursor(&mut bench);
    let missed = store(&mut bench, 0..50);
    let login = phone().persistent().with(|c| c.receive_max = NonZeroU16::new(4));
    let (conn, _) = recover(&mut bench, login.clone(), &start);
    bench.subscribe(conn, "42_inbox", 1);
    let mut got = Vec::new();
    for _ in 0..5 {
        for message in bench.messages(conn) {
            got.push(text(&message));
            bench.puback(conn, message.packet_id.unwrap());
        }
    }
    bench.subscribe(conn, "42/#", 1);
    bench.pass(2_000);
    bench.crash();
    let (conn, ack) = bench.try_connect(&login);
    assert!(ack.session_present);
    got.extend(bench.receive(conn));
    got.dedup();
    let mut seen = std::collections::BTreeSet::new();
    got.retain(|payload| seen.insert(payload.clone()));
    assert_eq!(got, missed);
}

#[test]
fn overlapping_filters_do_not_repeat_after_a_reconnect() {
    let mut bench = Bench::new();
    let start = cursor(&mut bench);
    for n in 0..40 {
        bench.notify(if n % 2 == 0 { "42/a" } else { "42/b" }, &n.to_string());
    }
    let login = phone().persistent().with(|c| c.receive_max = NonZeroU16::new(4));
    let (conn, _) = recover(&mut bench, login.clone(), &start);
    bench.subscribe(conn, "42/a", 1);
    let mut got = bench.receive(conn);
    bench.subscribe(conn, "42/#", 1);
    bench.drop_connection(conn);
    bench.input(crate::engine::Input::Stop);
    bench.crash();
    let conn = bench.connect(&login);
    got.extend(bench.receive(conn));
    let count = got.len();
    got.sort_unstable();
    got.dedup();
    assert_eq!((count, got.len()), (40, 40));
}

#[test]
fn a_retained_message_that_was_missed_comes_once_in_its_place() {
    let mut bench = Bench::new();
    let retain = |bench: &mut Bench, payload: &str| {
        bench.http(PublishRequest {
            principal: tidings_shared::topic::access::Principal::Handler,
            client: String::new(),
            topic: "42_state".to_owned(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos: 1,
            retain: true,
            message_id: None,
            expiry_s: None,
            properties: MessageProperties::default(),
        });
    };
    retain(&mut bench, "old");
    let start = cursor(&mut bench);
    let (conn, _) = recover(&mut bench, phone(), &start);
    bench.subscribe(conn, "42_state", 1);
    let got = bench.messages(conn);
    assert_eq!((texts(&got), got[0].retain), (vec!["old".to_owned()], true), "from before the cursor");
    bench.drop_connection(conn);
    bench.notify("42_inbox", "first");
    retain(&mut bench, "new");
    bench.crash();
    let (conn, _) = recover(&mut bench, phone(), &start);
    bench.subscribe(conn, "42_state", 1);
    bench.subscribe(conn, "42_inbox", 1);
    let mut got = texts(&bench.messages(conn));
    got.sort_unstable();
    assert_eq!(got, ["first", "new"]);
}

#[test]
fn handlers_recover_any_filter() {
    let mut bench = Bench::new();
    let start = cursor(&mut bench);
    for n in 0..10 {
        bench.notify(["42_inbox", "ping", "a/b"][n % 3], &n.to_string());
    }
    let (conn, recovered) = recover(&mut bench, Login::handler("h"), &start);
    assert_eq!(recovered.as_deref(), Some("true"));
    bench.subscribe(conn, "#", 1);
    assert_eq!(bench.receive(conn).len(), 10);
}

#[test]
fn the_seam_has_neither_gap_nor_double_while_the_log_is_slow() {
    let mut bench = Bench::with(Settings { read_batch: 8, ..Settings::default() });
    let start = cursor(&mut bench);
    let mut expected = store(&mut bench, 0..20);
    let (conn, _) = recover(&mut bench, phone(), &start);
    bench.hold = true;
    bench.subscribe(conn, "42_inbox", 1);
    expected.extend(store(&mut bench, 20..30));
    let mut got: Vec<Publish> = Vec::new();
    for n in 30..60 {
        expected.extend(store(&mut bench, n..n + 1));
        bench.release_one();
        for message in bench.messages(conn) {
            bench.puback(conn, message.packet_id.unwrap());
            got.push(message);
        }
    }
    bench.release();
    let mut all = texts(&got);
    all.extend(bench.receive(conn));
    assert_eq!(all, expected);
}

#[test]
fn older_clients_are_not_asked_and_properties_of_devices_are_not_trusted() {
    let mut bench = Bench::new();
    let (_, ack) = bench.try_connect(&at(phone().v3(), "nonsense"));
    assert_eq!(ack.reason_code, ConnectAckReason::Success);
    let handler = bench.connect(&Login::handler("h"));
    bench.subscribe(handler, "ping", 1);
    let device = bench.connect(&Login::new(device("77"), "x"));
    let forged = PublishProperties {
        user_properties: vec![("recovered".into(), "false".into()), ("cursor".into(), "1".into())],
        ..PublishProperties::default()
    };
    bench.publish_packet(device, Publish { properties: Some(forged), ..message("ping", "x", 1) });
    let got = bench.messages(handler);
    assert_eq!(property(&got[0], "recovered"), None);
    assert_ne!(property(&got[0], "cursor"), Some("1"));
}
