//! Sessions: clean start, expiry, session present, takeover, client ids (MQTT 5, sections 3.1.2 and 4.1).

use rmqtt_codec::v5::{ConnectAckReason, Disconnect, DisconnectReasonCode, Packet};

use super::harness::*;
use crate::engine::Settings;

#[test]
fn a_persistent_session_gets_what_it_missed_in_order() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let (conn, ack) = bench.try_connect(&login);
    assert!(!ack.session_present);
    bench.subscribe(conn, "42_inbox", 1);
    bench.drop_connection(conn);
    for n in 0..100 {
        bench.notify("42_inbox", &n.to_string());
    }
    let (conn, ack) = bench.try_connect(&login);
    assert!(ack.session_present);
    let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(bench.receive(conn), expected);
    bench.notify("42_inbox", "live");
    assert_eq!(bench.receive(conn), ["live"]);
}

#[test]
fn a_session_without_news_reads_nothing_on_return() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 1);
    bench.drop_connection(conn);
    bench.notify("43_inbox", "not for it");
    bench.connect(&login);
    assert_eq!(bench.reads, 0);
}

#[test]
fn a_clean_start_forgets_everything() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 1);
    bench.drop_connection(conn);
    bench.notify("42_inbox", "before");
    let (conn, ack) = bench.try_connect(&login.clone().with(|connect| connect.clean_start = true));
    assert!(!ack.session_present);
    bench.notify("42_inbox", "after");
    assert!(bench.messages(conn).is_empty());
    // And after a crash nothing of the old one is back.
    bench.crash();
    let conn = bench.connect(&login);
    assert!(bench.messages(conn).is_empty());
}

#[test]
fn a_session_ends_when_its_expiry_has_passed() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent().with(|c| c.session_expiry_interval_secs = 10);
    let conn = bench.connect(&login);
    bench.drop_connection(conn);
    bench.pass(9_999);
    let (conn, ack) = bench.try_connect(&login);
    assert!(ack.session_present);
    bench.drop_connection(conn);
    bench.pass(10_000);
    assert_eq!(bench.engine.stats().sessions, 0);
    let (_, ack) = bench.try_connect(&login);
    assert!(!ack.session_present);
}

#[test]
fn expiry_goes_on_over_a_restart() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent().with(|c| c.session_expiry_interval_secs = 10);
    let conn = bench.connect(&login);
    bench.drop_connection(conn);
    bench.pass(2_000);
    bench.crash();
    bench.pass(8_000);
    assert_eq!(bench.engine.stats().sessions, 0);
}

#[test]
fn expiry_zero_ends_with_the_connection() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").with(|c| c.clean_start = false);
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 1);
    bench.drop_connection(conn);
    assert_eq!(bench.engine.stats().sessions, 0);
    assert_eq!(bench.engine.stats().subscriptions, 0);
}

#[test]
fn expiry_is_bounded_and_the_client_is_told() {
    let mut bench = Bench::with(Settings { max_session_expiry_s: 100, ..Settings::default() });
    let login = Login::new(device("42"), "phone").with(|c| c.session_expiry_interval_secs = u32::MAX);
    let (_, ack) = bench.try_connect(&login);
    assert_eq!(ack.session_expiry_interval_secs, Some(100));
}

#[test]
fn never_means_never_where_it_is_allowed() {
    let mut bench = Bench::with(Settings { max_session_expiry_s: u32::MAX, ..Settings::default() });
    let login = Login::new(device("42"), "phone").persistent().with(|c| c.session_expiry_interval_secs = u32::MAX);
    let (conn, ack) = bench.try_connect(&login);
    assert_eq!(ack.session_expiry_interval_secs, None);
    bench.drop_connection(conn);
    bench.pass(10 * 365 * 24 * 3_600_000);
    let (_, ack) = bench.try_connect(&login);
    assert!(ack.session_present);
}

#[test]
fn disconnect_may_change_the_expiry_but_not_from_zero() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 1);
    bench.packet(
        conn,
        Packet::Disconnect(Disconnect { session_expiry_interval_secs: Some(0), ..Disconnect::default() }),
    );
    assert_eq!(bench.engine.stats().sessions, 0);

    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.packet(
        conn,
        Packet::Disconnect(Disconnect { session_expiry_interval_secs: Some(5), ..Disconnect::default() }),
    );
    assert_eq!(bench.closed[&conn], DisconnectReasonCode::ProtocolError);
}

#[test]
fn a_second_connection_takes_over_and_the_first_is_told() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let first = bench.connect(&login);
    bench.subscribe(first, "42_inbox", 1);
    let (second, ack) = bench.try_connect(&login);
    assert!(ack.session_present);
    assert_eq!(bench.closed[&first], DisconnectReasonCode::SessionTakenOver);
    let told = bench.take(first);
    assert!(matches!(&told[..], [Packet::Disconnect(d)] if d.reason_code == DisconnectReasonCode::SessionTakenOver));
    // What the first one still says is not heard.
    bench.publish(first, "ping", "late", 1);
    bench.drop_connection(first);
    bench.notify("42_inbox", "hello");
    assert!(bench.messages(first).is_empty());
    assert_eq!(bench.receive(second), ["hello"]);
}

#[test]
fn the_same_client_id_of_another_user_is_another_session() {
    let mut bench = Bench::new();
    let first = bench.connect(&Login::new(device("42"), "phone").persistent());
    bench.subscribe(first, "42_inbox", 1);
    let (_, ack) = bench.try_connect(&Login::new(device("43"), "phone").persistent());
    assert!(!ack.session_present);
    let (_, ack) = bench.try_connect(&Login::handler("phone").persistent());
    assert!(!ack.session_present);
    assert!(bench.closed.is_empty());
    bench.notify("42_inbox", "mine");
    assert_eq!(bench.receive(first), ["mine"]);
}

#[test]
fn an_empty_client_id_is_assigned() {
    let mut bench = Bench::new();
    let (_, first) = bench.try_connect(&Login::new(device("42"), ""));
    let (_, second) = bench.try_connect(&Login::new(device("42"), ""));
    assert!(first.assigned_client_id.is_some());
    assert_ne!(first.assigned_client_id, second.assigned_client_id);
}

#[test]
fn a_client_id_of_any_language_is_taken_up_to_the_limit() {
    let mut bench = Bench::new();
    bench.connect(&Login::new(device("42"), "телефон 📱"));
    let (conn, ack) = bench.try_connect(&Login::new(device("42"), &"x".repeat(257)));
    assert_eq!(ack.reason_code, ConnectAckReason::ClientIdentifierNotValid);
    assert!(bench.closed.contains_key(&conn));
}

#[test]
fn a_user_has_only_so_many_sessions() {
    let mut bench = Bench::with(Settings { max_sessions_per_user: 2, ..Settings::default() });
    bench.connect(&Login::new(device("42"), "a"));
    let second = bench.connect(&Login::new(device("42"), "b"));
    let (_, ack) = bench.try_connect(&Login::new(device("42"), "c"));
    assert_eq!(ack.reason_code, ConnectAckReason::QuotaExceeded);
    bench.connect(&Login::new(device("43"), "a"));
    bench.disconnect(second);
    bench.connect(&Login::new(device("42"), "c"));
}

#[test]
fn a_second_connect_is_a_protocol_error() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone");
    let conn = bench.connect(&login);
    bench.packet(conn, Packet::Connect(Box::new(login.connect)));
    assert_eq!(bench.closed[&conn], DisconnectReasonCode::ProtocolError);
}

#[test]
fn a_stop_tells_clients_and_keeps_sessions() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 1);
    bench.notify("42_inbox", "one");
    assert_eq!(bench.receive(conn), ["one"]);
    bench.input(crate::engine::Input::Stop);
    assert!(bench.stopped);
    let told = bench.take(conn);
    assert!(matches!(&told[..], [Packet::Disconnect(d)] if d.reason_code == DisconnectReasonCode::ServerShuttingDown));
    bench.crash();
    let (conn, ack) = bench.try_connect(&login);
    assert!(ack.session_present);
    assert!(bench.receive(conn).is_empty());
    bench.notify("42_inbox", "two");
    assert_eq!(bench.receive(conn), ["two"]);
}
