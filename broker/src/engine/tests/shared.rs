//! Shared subscriptions (MQTT 5, section 4.8.2): one member gets each message, nobody is waited for, nothing is lost.

use std::num::NonZeroU16;

use super::harness::*;
use crate::engine::ConnId;

const FILTER: &str = "$share/workers/ping";

fn worker(bench: &mut Bench, name: &str, window: u16) -> ConnId {
    let conn = bench.connect(&Login::handler(name).with(|c| c.receive_max = NonZeroU16::new(window)));
    bench.subscribe(conn, FILTER, 1);
    conn
}

fn send(bench: &mut Bench, count: usize) {
    for n in 0..count {
        bench.http_qos("ping", &n.to_string(), 1);
    }
}

#[test]
fn members_take_turns() {
    let mut bench = Bench::new();
    let workers: Vec<ConnId> = ["a", "b", "c"].iter().map(|name| worker(&mut bench, name, 100)).collect();
    send(&mut bench, 30);
    let mut all = Vec::new();
    for conn in workers {
        let got = bench.receive(conn);
        assert_eq!(got.len(), 10);
        all.extend(got);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 30);
}

#[test]
fn a_member_with_a_full_window_is_passed_over() {
    let mut bench = Bench::new();
    let slow = worker(&mut bench, "slow", 1);
    let quick = worker(&mut bench, "quick", 100);
    send(&mut bench, 20);
    assert_eq!(bench.messages(slow).len(), 1);
    assert_eq!(bench.receive(quick).len(), 19);
}

#[test]
fn what_a_leaving_member_did_not_acknowledge_goes_to_another() {
    let mut bench = Bench::new();
    let leaving = worker(&mut bench, "leaving", 100);
    let staying = worker(&mut bench, "staying", 100);
    send(&mut bench, 10);
    let taken = bench.messages(leaving);
    bench.puback(leaving, taken[0].packet_id.unwrap());
    assert_eq!(bench.receive(staying).len(), 5);
    bench.drop_connection(leaving);
    let mut moved = bench.receive(staying);
    moved.sort_unstable();
    let mut expected = texts(&taken[1..]);
    expected.sort_unstable();
    assert_eq!(moved, expected);
}

#[test]
fn a_group_whose_members_are_away_keeps_its_messages() {
    let mut bench = Bench::new();
    let login = Login::handler("w").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, FILTER, 1);
    send(&mut bench, 3);
    let first = bench.messages(conn);
    bench.puback(conn, first[1].packet_id.unwrap());
    bench.drop_connection(conn);
    send(&mut bench, 2);
    for crash in [false, true] {
        if crash {
            bench.pass(1_500);
            bench.crash();
        }
        let conn = bench.connect(&login);
        let mut got = texts(&bench.messages(conn));
        got.sort_unstable();
        assert_eq!(got, ["0", "0", "1", "2"], "after a crash: {crash}");
        bench.drop_connection(conn);
    }
}

#[test]
fn groups_of_other_names_and_plain_subscribers_get_their_own_copy() {
    let mut bench = Bench::new();
    let first = worker(&mut bench, "a", 100);
    let other = bench.connect(&Login::handler("b"));
    bench.subscribe(other, "$share/others/ping", 1);
    let plain = bench.connect(&Login::handler("c"));
    bench.subscribe(plain, "ping", 1);
    send(&mut bench, 4);
    for conn in [first, other, plain] {
        assert_eq!(bench.receive(conn), ["0", "1", "2", "3"]);
    }
}

#[test]
fn nobody_joins_a_foreign_group_by_its_name() {
    let mut bench = Bench::new();
    let filter = "$share/g/room/5";
    let acl = |id| device_with(id, &["room/5"], &["room/5"]);
    let mine = bench.connect(&Login::new(acl("42"), "phone"));
    let theirs = bench.connect(&Login::new(acl("43"), "phone"));
    let handler = bench.connect(&Login::handler("h"));
    for conn in [mine, theirs, handler] {
        bench.subscribe(conn, filter, 1);
    }
    bench.http_qos("room/5", "x", 1);
    for conn in [mine, theirs, handler] {
        assert_eq!(bench.receive(conn), ["x"]);
    }
}

#[test]
fn qos_2_is_completed_with_the_same_member() {
    let mut bench = Bench::new();
    let login = Login::handler("a").persistent();
    let first = bench.connect(&login);
    bench.subscribe(first, FILTER, 2);
    bench.http_qos("ping", "x", 2);
    let pid = bench.messages(first)[0].packet_id;
    let second = worker(&mut bench, "b", 100);
    bench.drop_connection(first);
    bench.pass(10);
    assert!(bench.messages(second).is_empty());
    let first = bench.connect(&login);
    let again = bench.messages(first);
    assert_eq!((again.len(), again[0].packet_id, again[0].dup), (1, pid, true));
}

#[test]
fn the_last_member_takes_the_group_with_it() {
    let mut bench = Bench::new();
    let conn = worker(&mut bench, "a", 100);
    bench.unsubscribe(conn, FILTER);
    bench.take(conn);
    send(&mut bench, 1);
    bench.subscribe(conn, FILTER, 1);
    assert!(bench.messages(conn).is_empty(), "a new group begins now");
    send(&mut bench, 1);
    assert_eq!(bench.receive(conn), ["0"]);
}

#[test]
fn a_backlog_is_worked_off_by_all() {
    let mut bench = Bench::new();
    let login = Login::handler("a").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, FILTER, 1);
    bench.drop_connection(conn);
    send(&mut bench, 300);
    let second = worker(&mut bench, "b", 10);
    let conn = bench.connect(&login);
    let mut total = 0;
    loop {
        let got = bench.receive(conn).len() + bench.receive(second).len();
        if got == 0 {
            break;
        }
        total += got;
    }
    assert_eq!(total, 300);
}
