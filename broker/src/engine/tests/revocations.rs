//! Revoked tokens: connections end, log-ins are refused, the session stays, a restart forgets nothing.

use rmqtt_codec::v5::{ConnectAckReason, DisconnectReasonCode, Packet};

use super::harness::*;
use crate::engine::{Change, ConnId, Input, Revocation, Target};
use crate::log::{MessageLog, RecordKind};

fn of_token(id: &str, until_ms: Option<i64>) -> Revocation {
    Revocation { target: Target::Token(id.into()), issued_before_ms: None, until_ms, made_ms: START_MS }
}

fn of_user(id: &str) -> Revocation {
    Revocation { target: Target::User(user(id)), issued_before_ms: None, until_ms: None, made_ms: START_MS }
}

fn issued_before(id: &str, before_ms: i64) -> Revocation {
    let target = Target::IssuedBefore(user(id));
    Revocation { target, issued_before_ms: Some(before_ms), until_ms: Some(START_MS + 60_000), made_ms: START_MS }
}

impl Bench {
    fn revoke(&mut self, revocation: Revocation) {
        self.input(Input::Revoke { request: 1, change: Change::Set(revocation) });
    }

    fn refused(&mut self, login: &Login) -> bool {
        let (conn, ack) = self.try_connect(login);
        if ack.reason_code == ConnectAckReason::NotAuthorized {
            assert_eq!(ack.reason_string.as_deref(), Some("the token was revoked"));
            assert_eq!(self.revoked.last(), Some(&conn));
            return true;
        }
        assert_eq!(ack.reason_code, ConnectAckReason::Success);
        false
    }

    fn told(&mut self, conn: ConnId) -> bool {
        self.take(conn).iter().any(|packet| {
            matches!(packet, Packet::Disconnect(d)
                if d.reason_code == DisconnectReasonCode::NotAuthorized && d.reason_string.is_some())
        })
    }
}

#[test]
fn a_revoked_token_ends_its_connections_and_no_others() {
    let mut bench = Bench::new();
    let phone = Login::new(device("42"), "phone").persistent().token(Some("t1"), Some(1_000));
    let tablet = Login::new(device("42"), "tablet").token(Some("t2"), Some(1_000));
    let old = Login::new(device("42"), "old").v3().token(Some("t1"), None);
    let (first, second, third) = (bench.connect(&phone), bench.connect(&tablet), bench.connect(&old));
    let other = bench.connect(&Login::new(device("43"), "phone").token(Some("t3"), None));
    bench.subscribe(first, "42_inbox", 1);
    bench.revoke(of_token("t1", None));
    assert_eq!(bench.revoked, [first, third]);
    assert_eq!(bench.revocations[&1].as_ref().ok(), Some(&2), "answered with the number of closed connections");
    assert!(bench.told(first) && !bench.told(second) && !bench.told(third) && !bench.told(other));
    assert!(bench.refused(&phone) && bench.refused(&old) && !bench.refused(&tablet));
    // The session has stayed: a fresh token gets what came meanwhile.
    bench.notify("42_inbox", "missed");
    let fresh = Login::new(device("42"), "phone").persistent().token(Some("t9"), None);
    let conn = bench.connect(&fresh);
    assert_eq!(bench.receive(conn), ["missed"]);
}

#[test]
fn a_user_can_be_shut_out_altogether_or_up_to_a_time() {
    let mut bench = Bench::new();
    let login = |issued| Login::new(device("42"), "phone").token(None, issued);
    let nothing = Login::new(device("42"), "phone");
    bench.revoke(issued_before("42", 5_000));
    for (issued, refused) in [(Some(4_999), true), (Some(5_000), false), (Some(6_000), false), (None, true)] {
        assert_eq!(bench.refused(&login(issued)), refused, "{issued:?}");
    }
    assert!(bench.refused(&nothing), "a token that says nothing about itself counts as before");
    assert!(!bench.refused(&Login::new(device("4"), "phone")) && !bench.refused(&Login::handler("42")));
    // Asking for less takes nothing back.
    bench.revoke(issued_before("42", 3_000));
    assert!(bench.refused(&login(Some(4_999))));
    bench.revoke(of_user("42"));
    assert!(bench.refused(&login(Some(i64::MAX))));
    bench.input(Input::Revoke { request: 2, change: Change::Removed(Target::User(user("42"))) });
    assert!(!bench.refused(&login(Some(5_000))) && bench.refused(&login(Some(4_999))));
}

#[test]
fn it_is_in_force_at_once_and_answered_when_it_is_stored() {
    let mut bench = Bench::new();
    let phone = Login::new(device("42"), "phone").token(Some("t1"), None);
    let conn = bench.connect(&phone);
    bench.hold = true;
    bench.revoke(of_token("t1", None));
    assert_eq!(bench.revoked, [conn]);
    assert!(bench.refused(&phone) && bench.revocations.is_empty());
    bench.release();
    assert!(bench.revocations[&1].is_ok());
    bench.crash();
    assert!(bench.refused(&phone), "a restart forgets nothing");
    bench.disk_full = true;
    bench.revoke(of_user("43"));
    assert!(bench.revocations[&1].is_err());
    assert!(bench.refused(&Login::new(device("43"), "phone")), "in force all the same");
}

#[test]
fn a_revocation_goes_when_no_token_needs_it() {
    let mut bench = Bench::new();
    bench.revoke(of_token("t1", Some(START_MS + 10_000)));
    bench.revoke(of_token("t2", Some(START_MS + 90_000)));
    bench.revoke(of_user("42"));
    bench.pass(10_001);
    bench.tick();
    assert_eq!(bench.engine.revocations().len(), 2);
    assert_eq!(bench.log.records(RecordKind::Revocation).len(), 2);
    bench.clock.advance(100_000);
    bench.crash();
    assert_eq!(bench.engine.revocations().len(), 1, "also what ended while the broker was down");
    assert_eq!(bench.log.records(RecordKind::Revocation).len(), 1);
    assert_eq!(Target::parse("user:42"), Some(Target::User(user("42"))));
}

#[test]
fn ids_of_revocations_round_trip() {
    for id in ["jti:a:b/c", "user:42_3", "issued-before:user:é"] {
        assert_eq!(Target::parse(id).unwrap().to_string(), id);
    }
    for id in ["", "jti:", "user:", "x:y", "jti"] {
        assert_eq!(Target::parse(id), None, "{id}");
    }
}
