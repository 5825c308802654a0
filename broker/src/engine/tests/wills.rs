//! Wills (MQTT 5, section 3.1.2.5): published for who goes without a word, at once or after their delay.

use rmqtt_codec::v5::{Disconnect, DisconnectReasonCode, Packet};

use super::harness::*;
use crate::engine::{ConnId, Input};

fn watched() -> (Bench, ConnId) {
    let mut bench = Bench::new();
    let watcher = bench.connect(&Login::handler("watcher"));
    bench.subscribe(watcher, "ping", 1);
    (bench, watcher)
}

fn login(delay_s: u32) -> Login {
    Login::new(device("42"), "phone").persistent().will("ping", delay_s)
}

#[test]
fn a_broken_connection_publishes_the_will_and_a_normal_disconnect_does_not() {
    let (mut bench, watcher) = watched();
    let conn = bench.connect(&login(0));
    bench.drop_connection(conn);
    let got = bench.messages(watcher);
    assert_eq!(texts(&got), ["gone"]);
    assert_eq!(property(&got[0], "user"), Some("42"));
    let conn = bench.connect(&login(0));
    bench.disconnect(conn);
    assert!(bench.receive(watcher).is_empty());
    let conn = bench.connect(&login(0));
    let reason = DisconnectReasonCode::DisconnectWithWillMessage;
    bench.packet(conn, Packet::Disconnect(Disconnect::new(reason)));
    assert_eq!(bench.receive(watcher), ["gone"]);
    // Once is enough.
    bench.crash();
    assert_eq!(bench.engine.stats().stored, 0);
}

#[test]
fn a_protocol_error_and_a_kick_publish_it() {
    let (mut bench, watcher) = watched();
    let conn = bench.connect(&login(0));
    bench.input(Input::Kick { conn, reason: DisconnectReasonCode::NotAuthorized });
    assert_eq!(bench.closed[&conn], DisconnectReasonCode::NotAuthorized);
    assert_eq!(bench.receive(watcher), ["gone"]);
}

#[test]
fn a_delay_gives_the_client_time_to_come_back() {
    let (mut bench, watcher) = watched();
    let conn = bench.connect(&login(10));
    bench.drop_connection(conn);
    bench.pass(9_000);
    let conn = bench.connect(&login(10));
    bench.pass(20_000);
    assert!(bench.receive(watcher).is_empty());
    bench.drop_connection(conn);
    bench.pass(10_000);
    assert_eq!(bench.receive(watcher), ["gone"]);
}

#[test]
fn the_end_of_the_session_ends_the_delay() {
    let (mut bench, watcher) = watched();
    let conn = bench.connect(&login(1_000).with(|c| c.session_expiry_interval_secs = 5));
    bench.drop_connection(conn);
    bench.pass(5_000);
    assert_eq!(bench.receive(watcher), ["gone"]);
    // A session that ends with its connection has no delay.
    let conn = bench.connect(&login(1_000).with(|c| c.session_expiry_interval_secs = 0));
    bench.drop_connection(conn);
    assert_eq!(bench.receive(watcher), ["gone"]);
    // A clean start ends the old session.
    let conn = bench.connect(&login(1_000));
    bench.drop_connection(conn);
    let clean = Login::new(device("42"), "phone");
    bench.connect(&clean);
    assert_eq!(bench.receive(watcher), ["gone"]);
}

#[test]
fn a_takeover_publishes_a_will_without_delay_only() {
    let (mut bench, watcher) = watched();
    bench.connect(&login(0));
    bench.connect(&login(10));
    assert_eq!(bench.receive(watcher), ["gone"]);
    bench.connect(&login(10));
    bench.pass(20_000);
    assert!(bench.receive(watcher).is_empty());
}

#[test]
fn a_will_survives_the_broker() {
    let mut bench = Bench::new();
    let watcher = Login::handler("watcher").persistent();
    let conn = bench.connect(&watcher);
    bench.subscribe(conn, "ping", 1);
    bench.connect(&login(10));
    bench.crash();
    let conn = bench.connect(&watcher);
    bench.pass(9_000);
    assert!(bench.receive(conn).is_empty());
    bench.pass(1_000);
    assert_eq!(bench.receive(conn), ["gone"]);
    bench.pass(2_000);
    bench.crash();
    let conn = bench.connect(&watcher);
    bench.pass(20_000);
    assert!(bench.receive(conn).is_empty());
}

#[test]
fn a_stop_publishes_the_wills_of_sessions_that_end_with_it() {
    let mut bench = Bench::new();
    let watcher = Login::handler("watcher").persistent();
    let conn = bench.connect(&watcher);
    bench.subscribe(conn, "ping", 1);
    bench.connect(&login(0).with(|c| c.session_expiry_interval_secs = 0));
    bench.input(Input::Stop);
    assert!(bench.stopped);
    bench.crash();
    let conn = bench.connect(&watcher);
    assert_eq!(bench.receive(conn), ["gone"]);
}
