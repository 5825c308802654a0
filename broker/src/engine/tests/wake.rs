//! A push is asked for exactly when nobody has acknowledged in time, and once until a device is back (invariant 3).

use rmqtt_codec::v5::QoS;
use tidings_shared::events::{DeviceReturned, UserUnacked};
use tidings_shared::topic::names;

use super::harness::*;
use crate::engine::{ConnId, Input};
use crate::log::{MessageLog, Offset, RecordKind};

struct Gateway {
    conn: ConnId,
    login: Login,
}

fn gateway(bench: &mut Bench) -> Gateway {
    let login = Login::handler("push-gateway").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, names::EVENT_UNACKED, 1);
    bench.subscribe(conn, names::EVENT_RETURNED, 1);
    Gateway { conn, login }
}

/// What the gateway hears: `+user` is unacked, `-user/client` has returned.
fn events(bench: &mut Bench, gateway: &Gateway) -> Vec<String> {
    let mut all = Vec::new();
    for message in bench.messages(gateway.conn) {
        assert_eq!(message.qos, QoS::AtLeastOnce);
        bench.puback(gateway.conn, message.packet_id.unwrap());
        all.push(if &*message.topic == names::EVENT_UNACKED {
            let event: UserUnacked = serde_json::from_slice(&message.payload).unwrap();
            format!("+{}", event.user)
        } else {
            let event: DeviceReturned = serde_json::from_slice(&message.payload).unwrap();
            format!("-{}/{}", event.user, event.client)
        });
    }
    all
}

#[test]
fn a_message_nobody_acknowledges_wakes_its_user_after_the_grace_period() {
    let mut bench = Bench::new();
    let gateway = gateway(&mut bench);
    bench.notify("42_inbox", "x");
    bench.pass(2_999);
    assert!(events(&mut bench, &gateway).is_empty());
    bench.pass(1);
    let message = bench.messages(gateway.conn).remove(0);
    let event: UserUnacked = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(event.user, user("42"));
    assert_eq!(event.stored_at_ms, START_MS);
    assert_eq!(event.cursor, "0000000000000007-1");
}

#[test]
fn an_acknowledgement_in_time_means_no_push() {
    for qos in [1, 2] {
        let mut bench = Bench::new();
        let gateway = gateway(&mut bench);
        let conn = bench.connect(&Login::new(device("42"), "phone"));
        bench.subscribe(conn, "42_inbox", qos);
        bench.http_qos("42_inbox", "x", qos);
        let pid = bench.messages(conn)[0].packet_id.unwrap();
        bench.pass(2_999);
        if qos == 1 {
            bench.puback(conn, pid)
        } else {
            bench.pubrec(conn, pid)
        }
        bench.pass(60_000);
        assert!(events(&mut bench, &gateway).is_empty());
    }
}

#[test]
fn an_acknowledgement_at_the_last_moment_counts() {
    let mut bench = Bench::new();
    let gateway = gateway(&mut bench);
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.subscribe(conn, "42_inbox", 1);
    bench.notify("42_inbox", "x");
    let pid = bench.messages(conn)[0].packet_id.unwrap();
    // The timer and the acknowledgement are due in the same moment.
    bench.clock.advance(3_000);
    bench.puback(conn, pid);
    bench.pass(60_000);
    assert!(events(&mut bench, &gateway).is_empty());
}

#[test]
fn only_a_device_of_the_user_counts() {
    let mut bench = Bench::new();
    let gateway = gateway(&mut bench);
    let handler = bench.connect(&Login::handler("h"));
    bench.subscribe(handler, "42_inbox", 1);
    let foreign = bench.connect(&Login::new(device_with("43", &[], &["42_inbox"]), "phone"));
    bench.subscribe(foreign, "42_inbox", 1);
    bench.notify("42_inbox", "x");
    assert_eq!(bench.receive(handler), ["x"]);
    assert_eq!(bench.receive(foreign), ["x"]);
    bench.pass(3_000);
    assert_eq!(events(&mut bench, &gateway), ["+42"]);
}

#[test]
fn one_push_until_a_device_is_back_and_each_device_that_is_back_is_named_once() {
    let mut bench = Bench::new();
    let gateway = gateway(&mut bench);
    let phone = Login::new(device("42"), "phone").persistent();
    let tablet = Login::new(device("42"), "tablet").persistent();
    for login in [&phone, &tablet] {
        let conn = bench.connect(login);
        bench.subscribe(conn, "42_inbox", 1);
        bench.drop_connection(conn);
    }
    bench.notify("42_inbox", "a");
    bench.pass(3_000);
    assert_eq!(events(&mut bench, &gateway), ["+42"]);
    bench.notify("42_inbox", "b");
    bench.pass(60_000);
    assert!(events(&mut bench, &gateway).is_empty(), "one is enough");
    let conn = bench.connect(&phone);
    assert_eq!(bench.receive(conn), ["a", "b"]);
    assert_eq!(events(&mut bench, &gateway), ["-42/phone"]);
    bench.drop_connection(conn);
    let conn = bench.connect(&phone);
    assert!(events(&mut bench, &gateway).is_empty(), "it was named already");
    bench.drop_connection(conn);
    bench.connect(&tablet);
    assert_eq!(events(&mut bench, &gateway), ["-42/tablet"]);
    bench.notify("42_inbox", "c");
    bench.pass(3_000);
    assert_eq!(events(&mut bench, &gateway), ["+42"]);
}

#[test]
fn a_late_acknowledgement_says_that_the_device_is_back() {
    let mut bench = Bench::new();
    let gateway = gateway(&mut bench);
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.subscribe(conn, "42_inbox", 1);
    bench.notify("42_inbox", "x");
    let pid = bench.messages(conn)[0].packet_id.unwrap();
    bench.pass(5_000);
    bench.puback(conn, pid);
    assert_eq!(events(&mut bench, &gateway), ["+42", "-42/phone"]);
}

#[test]
fn a_poll_with_a_cursor_acknowledges_everything_up_to_it() {
    let mut bench = Bench::new();
    let gateway = gateway(&mut bench);
    bench.notify("42_inbox", "a");
    bench.notify("42_inbox", "b");
    let poll = |cursor| Input::Polled { user: user("42"), client: "web".into(), cursor };
    bench.input(poll(Some(Offset(2))));
    bench.pass(60_000);
    assert!(events(&mut bench, &gateway).is_empty());
    bench.notify("42_inbox", "c");
    bench.input(poll(Some(Offset(2))));
    bench.pass(3_000);
    assert_eq!(events(&mut bench, &gateway), ["+42"]);
    bench.input(poll(None));
    assert_eq!(events(&mut bench, &gateway), ["-42/web"]);
}

#[test]
fn an_acknowledgement_may_overtake_the_news_that_the_message_is_stored() {
    let mut bench = Bench::new();
    let gateway = gateway(&mut bench);
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 1);
    bench.drop_connection(conn);
    bench.notify("42_inbox", "a");
    // The log has `b`, the engine does not know it yet; the phone finds it there.
    bench.hold_appended = true;
    bench.notify("42_inbox", "b");
    let conn = bench.connect(&login);
    assert_eq!(bench.receive(conn), ["a", "b"]);
    bench.notify("43_inbox", "c");
    bench.input(Input::Polled { user: user("43"), client: "web".into(), cursor: Some(Offset(3)) });
    bench.release_appended();
    bench.pass(60_000);
    assert!(events(&mut bench, &gateway).is_empty());
    bench.notify("43_inbox", "d");
    bench.pass(3_000);
    assert_eq!(events(&mut bench, &gateway), ["+43"], "and only those messages were meant");
}

#[test]
fn a_restart_neither_forgets_nor_repeats() {
    let mut bench = Bench::new();
    let mut gateway = gateway(&mut bench);
    // Reported, acknowledged, and waiting, in this order.
    bench.notify("1_inbox", "x");
    bench.pass(3_000);
    assert_eq!(events(&mut bench, &gateway), ["+1"]);
    let phone = Login::new(device("2"), "phone").persistent();
    let conn = bench.connect(&phone);
    bench.subscribe(conn, "2_inbox", 1);
    bench.notify("2_inbox", "x");
    assert_eq!(bench.receive(conn), ["x"]);
    bench.pass(1_100);
    bench.notify("3_inbox", "x");
    bench.notify("1_inbox", "y");
    bench.pass(1_500);
    bench.crash();
    gateway.conn = bench.connect(&gateway.login.clone());
    bench.pass(2_999);
    assert!(events(&mut bench, &gateway).iter().all(|event| event == "+1"), "at most a repetition with DUP");
    bench.pass(1);
    assert_eq!(events(&mut bench, &gateway), ["+3"], "a fresh grace period");
    bench.pass(60_000);
    assert!(events(&mut bench, &gateway).is_empty());
    bench.connect(&Login::new(device("1"), "phone"));
    assert_eq!(events(&mut bench, &gateway), ["-1/phone"]);
}

/// What a device without a session has read over HTTP is known to nobody but the wake-up logic.
#[test]
fn what_was_fetched_over_http_wakes_nobody_after_a_crash() {
    let mut bench = Bench::new();
    let mut gateway = gateway(&mut bench);
    bench.notify("1_inbox", "read");
    bench.notify("2_inbox", "not read");
    bench.pass(1_100);
    bench.input(Input::Polled { user: user("1"), client: "web".into(), cursor: Some(Offset(1)) });
    bench.crash();
    gateway.conn = bench.connect(&gateway.login.clone());
    bench.pass(3_000);
    assert_eq!(events(&mut bench, &gateway), ["+2"]);
    bench.pass(60_000);
    assert!(bench.log.records(RecordKind::Internal).iter().all(|(key, _)| !key.id.starts_with(b"fetched/")));
}

#[test]
fn an_event_that_cannot_be_stored_is_tried_again() {
    let mut bench = Bench::new();
    let gateway = gateway(&mut bench);
    bench.notify("42_inbox", "x");
    bench.disk_full = true;
    bench.pass(10_000);
    assert!(events(&mut bench, &gateway).is_empty());
    bench.disk_full = false;
    bench.pass(1_000);
    assert_eq!(events(&mut bench, &gateway), ["+42"]);
}

#[test]
fn a_message_that_has_expired_wakes_nobody() {
    let mut bench = Bench::new();
    let gateway = gateway(&mut bench);
    let handler = bench.connect(&Login::handler("h"));
    let mut publish = message("42_inbox", "x", 1);
    publish.properties.get_or_insert_default().message_expiry_interval = std::num::NonZeroU32::new(2);
    bench.publish_packet(handler, publish);
    bench.pass(60_000);
    assert!(events(&mut bench, &gateway).is_empty());
}

#[test]
fn commands_and_qos_0_wake_nobody() {
    let mut bench = Bench::new();
    let gateway = gateway(&mut bench);
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.publish(conn, "request_contact", "x", 1);
    bench.http_qos("43_inbox", "x", 0);
    bench.pass(60_000);
    assert!(events(&mut bench, &gateway).is_empty());
}
