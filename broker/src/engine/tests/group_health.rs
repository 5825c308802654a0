//! Members of shared groups: the one with the least to do is next, one that does not acknowledge is passed over.

use std::num::NonZeroU16;

use rmqtt_codec::types::Publish;

use super::harness::*;
use crate::engine::{ConnId, Settings};

const FILTER: &str = "$share/workers/ping";
const TIMEOUT_MS: i64 = 30_000;

fn worker(bench: &mut Bench, name: &str, qos: u8) -> ConnId {
    let conn = bench.connect(&Login::handler(name).persistent());
    bench.subscribe(conn, FILTER, qos);
    conn
}

fn send(bench: &mut Bench, payload: &str) {
    bench.http_qos("ping", payload, 2);
}

fn one(bench: &mut Bench, conn: ConnId) -> Publish {
    let mut messages = bench.messages(conn);
    assert_eq!(messages.len(), 1, "{:?}", texts(&messages));
    messages.remove(0)
}

fn ack(bench: &mut Bench, conn: ConnId, message: &Publish) {
    bench.puback(conn, message.packet_id.unwrap());
}

#[test]
fn who_has_the_fewest_unacknowledged_messages_is_next() {
    let mut bench = Bench::new();
    let (slow, quick) = (worker(&mut bench, "slow", 1), worker(&mut bench, "quick", 1));
    for n in 0..10 {
        send(&mut bench, &n.to_string());
        bench.receive(quick);
    }
    assert_eq!(bench.messages(slow).len(), 1, "it acknowledges nothing, the other one everything");
}

#[test]
fn a_member_busy_with_other_things_gets_less() {
    let mut bench = Bench::new();
    let (busy, idle) = (worker(&mut bench, "busy", 1), worker(&mut bench, "idle", 1));
    bench.subscribe(busy, "orders", 1);
    for _ in 0..3 {
        bench.http_qos("orders", "x", 1);
    }
    bench.take(busy);
    for n in 0..3 {
        send(&mut bench, &n.to_string());
    }
    assert_eq!((bench.messages(busy).len(), bench.messages(idle).len()), (0, 3));
}

#[test]
fn what_is_not_acknowledged_in_time_goes_to_another_and_the_late_one_is_welcome() {
    let mut bench = Bench::new();
    let stuck = worker(&mut bench, "a", 1);
    send(&mut bench, "x");
    let first = one(&mut bench, stuck);
    let other = worker(&mut bench, "b", 1);
    bench.pass(TIMEOUT_MS - 1);
    assert!(bench.messages(other).is_empty());
    bench.pass(1);
    let second = one(&mut bench, other);
    assert_eq!((text(&second), second.dup), ("x".to_owned(), false));
    assert_eq!(bench.engine.stats().reassigned, 1);

    // Passed over until it acknowledges something.
    for n in 0..4 {
        send(&mut bench, &n.to_string());
    }
    assert_eq!((bench.messages(stuck).len(), bench.messages(other).len()), (0, 4));
    ack(&mut bench, stuck, &first);
    assert!(!bench.closed.contains_key(&stuck));
    send(&mut bench, "y");
    assert_eq!(text(&one(&mut bench, stuck)), "y");

    // The late acknowledgement has ended the claim: the other one's end brings nothing back.
    bench.drop_connection(other);
    bench.pass(10);
    let mut moved = texts(&bench.messages(stuck));
    moved.sort_unstable();
    assert_eq!(moved, ["0", "1", "2", "3"]);
}

#[test]
fn when_the_new_member_goes_it_is_given_out_again_and_when_the_old_one_goes_it_is_not() {
    let mut bench = Bench::new();
    let stuck = worker(&mut bench, "a", 1);
    send(&mut bench, "x");
    one(&mut bench, stuck);
    let other = worker(&mut bench, "b", 1);
    bench.pass(TIMEOUT_MS);
    one(&mut bench, other);
    bench.drop_connection(stuck);
    bench.pass(10);
    assert!(bench.messages(other).is_empty(), "it has the message already");
    let third = worker(&mut bench, "c", 1);
    bench.drop_connection(other);
    bench.pass(10);
    assert_eq!(text(&one(&mut bench, third)), "x");
}

#[test]
fn without_another_member_it_stays_where_it_is_until_one_comes() {
    let mut bench = Bench::new();
    let stuck = worker(&mut bench, "a", 1);
    send(&mut bench, "x");
    one(&mut bench, stuck);
    bench.pass(2 * TIMEOUT_MS);
    assert!(bench.messages(stuck).is_empty() && bench.closed.is_empty());
    let other = worker(&mut bench, "b", 1);
    bench.pass(10);
    assert_eq!(text(&one(&mut bench, other)), "x");
}

#[test]
fn a_crash_in_between_loses_nothing() {
    let mut bench = Bench::new();
    let stuck = worker(&mut bench, "a", 1);
    send(&mut bench, "x");
    one(&mut bench, stuck);
    let other = worker(&mut bench, "b", 1);
    bench.pass(TIMEOUT_MS + 2_000);
    one(&mut bench, other);
    bench.crash();
    let again = bench.connect(&Login::handler("b").persistent());
    assert_eq!(text(&one(&mut bench, again)), "x");
}

#[test]
fn qos_2_stays_with_the_client_that_has_it() {
    let mut bench = Bench::new();
    let stuck = worker(&mut bench, "a", 2);
    send(&mut bench, "x");
    let first = one(&mut bench, stuck);
    let other = worker(&mut bench, "b", 2);
    bench.pass(2 * TIMEOUT_MS);
    assert!(bench.messages(other).is_empty());
    send(&mut bench, "y");
    assert_eq!(text(&one(&mut bench, other)), "y", "the one that does not acknowledge gets no more");
    bench.pubrec(stuck, first.packet_id.unwrap());
    bench.pubcomp(stuck, first.packet_id.unwrap());
    send(&mut bench, "z");
    assert_eq!(text(&one(&mut bench, stuck)), "z");
    bench.drop_connection(stuck);
    let again = bench.connect(&Login::handler("a").persistent());
    assert_eq!(text(&one(&mut bench, again)), "z");
}

#[test]
fn zero_means_that_everybody_has_all_the_time() {
    let mut bench = Bench::with(Settings { group_ack_timeout_ms: 0, ..Settings::default() });
    let slow = worker(&mut bench, "a", 1);
    send(&mut bench, "x");
    one(&mut bench, slow);
    let other = worker(&mut bench, "b", 1);
    bench.pass(100 * TIMEOUT_MS);
    assert!(bench.messages(other).is_empty());
}

#[test]
fn qos_0_goes_to_members_whose_windows_are_full() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::handler("a").with(|c| c.receive_max = NonZeroU16::new(1)));
    bench.subscribe(conn, FILTER, 1);
    send(&mut bench, "x");
    bench.http_qos("ping", "live", 0);
    assert_eq!(texts(&bench.messages(conn)), ["x", "live"]);
}

/// Would the choice look at every member, this test would take hours.
#[test]
fn ten_thousand_members_share_fairly() {
    let mut bench = Bench::new();
    let login = |n: usize| Login::handler(&format!("w{n}")).with(|c| c.receive_max = NonZeroU16::new(2));
    let workers: Vec<ConnId> = (0..10_000).map(|n| bench.connect(&login(n))).collect();
    for conn in &workers {
        bench.subscribe(*conn, FILTER, 1);
    }
    // Half of them are full before the others have anything.
    for round in 0..2 {
        for _ in 0..10_000 {
            send(&mut bench, "x");
        }
        for conn in &workers {
            assert_eq!(bench.messages(*conn).len(), 1, "round {round}");
        }
    }
    send(&mut bench, "waits");
    for conn in &workers {
        assert!(bench.messages(*conn).is_empty());
    }
    bench.puback(workers[4_711], NonZeroU16::MIN);
    assert_eq!(text(&one(&mut bench, workers[4_711])), "waits");
}

#[test]
fn a_slow_member_keeps_nobody_from_a_backlog() {
    let mut bench = Bench::new();
    let login = |name| Login::handler(name).persistent().with(|c| c.receive_max = NonZeroU16::new(1));
    let first = bench.connect(&login("a"));
    bench.subscribe(first, FILTER, 1);
    bench.drop_connection(first);
    for n in 0..100 {
        send(&mut bench, &n.to_string());
    }
    let slow = bench.connect(&login("a"));
    let quick = bench.connect(&login("b"));
    bench.subscribe(quick, FILTER, 1);
    assert_eq!(texts(&bench.messages(slow)), ["0"]);
    let expected: Vec<String> = (1..100).map(|n| n.to_string()).collect();
    assert_eq!(bench.receive(quick), expected);
    assert!(bench.reads < 10, "{}", bench.reads);
}
