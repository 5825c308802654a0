//! A fresh token on a live connection: taken for the same user alone, and what it does not allow any more ends.

use rmqtt_codec::types::Publish;
use rmqtt_codec::v5::{DisconnectReasonCode, Packet, PublishAck, PublishAck2Reason, PublishAckReason};
use tidings_shared::topic::access::Principal;
use tidings_shared::topic::names;

use super::harness::*;
use crate::engine::{
    Change, ConnId, Fresh, Input, NotRefreshed, RefreshBy, Revocation, Target, TokenFacts, UNSUBSCRIBED,
};

fn fresh(principal: Principal) -> Result<Fresh, NotRefreshed> {
    Ok(Fresh { principal, token: Some(Box::new(TokenFacts { id: Some("fresh".into()), issued_at_ms: None })) })
}

impl Bench {
    fn refresh(&mut self, conn: ConnId, by: RefreshBy, fresh: Result<Fresh, NotRefreshed>) -> Result<(), &'static str> {
        self.input(Input::Refresh { request: 5, conn, by, fresh });
        self.refreshed.remove(&5).unwrap().map_err(|refusal| refusal.code)
    }

    fn publish_token(&mut self, conn: ConnId, qos: u8, fresh: Result<Fresh, NotRefreshed>) -> Result<(), &'static str> {
        self.refresh(conn, RefreshBy::Publish(Box::new(message(names::TOKEN, "", qos))), fresh)
    }

    fn acknowledged(&mut self, conn: ConnId) -> PublishAck {
        match self.take(conn).pop() {
            Some(Packet::PublishAck(ack) | Packet::PublishReceived(ack)) => ack,
            other => panic!("expected an acknowledgement, found {other:?}"),
        }
    }
}

#[test]
fn a_fresh_token_is_taken_at_every_qos_and_never_stored_or_delivered() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone").persistent());
    let handler = bench.connect(&Login::handler("all"));
    bench.subscribe(handler, "#", 1);
    bench.subscribe(handler, names::TOKEN, 1);
    bench.take(conn);
    for qos in [0, 1, 2] {
        assert_eq!(bench.publish_token(conn, qos, fresh(device("42"))), Ok(()));
    }
    let sent = bench.take(conn);
    assert_eq!(acks(&sent), [PublishAckReason::Success, PublishAckReason::Success]);
    bench.pubrel(conn, 1.try_into().unwrap());
    let completed = bench.take(conn);
    assert!(
        matches!(&completed[..], [Packet::PublishComplete(ack)] if ack.reason_code == PublishAck2Reason::Success),
        "{completed:?}"
    );
    assert_eq!(bench.engine.stats().stored, 0);
    assert!(bench.messages(handler).is_empty());
}

#[test]
fn auth_is_answered_with_success_and_what_is_gone() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device_with("42", &["room/+"], &["room/#", "hall/#"]), "phone").persistent());
    bench.subscribe(conn, "room/5", 1);
    bench.subscribe(conn, "hall/1", 1);
    bench.subscribe(conn, "42_inbox", 1);
    bench.take(conn);
    assert_eq!(bench.refresh(conn, RefreshBy::Auth, fresh(device_with("42", &[], &["hall/+"]))), Ok(()));
    let sent = bench.take(conn);
    let [Packet::Auth(auth)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((u8::from(auth.reason_code), auth.auth_method.as_deref()), (0, Some("JWT")));
    assert_eq!(auth.user_properties, [(UNSUBSCRIBED.into(), "room/5".into())]);
    bench.notify("room/5", "not for you any more");
    bench.notify("hall/1", "for you");
    bench.notify("42_inbox", "yours");
    assert_eq!(bench.receive(conn), ["for you", "yours"]);
    bench.publish(conn, "room/7", "x", 1);
    assert_eq!(bench.engine.stats().refused, 0, "without the grant, room/7 is a command like any other word");
    bench.pass(5_000);
    bench.crash();
    let conn = bench.connect(&Login::new(device_with("42", &[], &["room/#", "hall/+"]), "phone").persistent());
    bench.notify("room/5", "the subscription is gone for good");
    bench.notify("hall/1", "and this one is not");
    assert_eq!(bench.receive(conn), ["and this one is not"]);
}

#[test]
fn a_log_in_with_a_narrower_token_ends_what_it_does_not_allow() {
    let mut bench = Bench::new();
    let wide = Login::new(device_with("42", &[], &["room/#"]), "phone").persistent();
    let conn = bench.connect(&wide);
    bench.subscribe(conn, "room/5", 1);
    bench.drop_connection(conn);
    bench.notify("room/5", "while it was away");
    let (conn, ack) = bench.try_connect(&Login::new(device("42"), "phone").persistent());
    assert!(ack.session_present);
    assert!(ack.user_properties.contains(&(UNSUBSCRIBED.into(), "room/5".into())), "{:?}", ack.user_properties);
    assert_eq!(bench.receive(conn), Vec::<String>::new());
}

#[test]
fn another_users_token_and_a_revoked_one_are_refused_and_the_connection_stays() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.take(conn);
    assert_eq!(bench.publish_token(conn, 1, fresh(device("43"))), Err("token_other_user"));
    let ack = bench.acknowledged(conn);
    assert_eq!(ack.reason_code, PublishAckReason::NotAuthorized);
    assert!(ack.reason_string.is_some());
    let refused = NotRefreshed { code: "token_expired", why: "the token has expired".into(), outage: false };
    assert_eq!(bench.publish_token(conn, 2, Err(refused.clone())), Err("token_expired"));
    assert_eq!(bench.acknowledged(conn).reason_string.as_deref(), Some("the token has expired"));
    let away = NotRefreshed { code: "token_keys_unavailable", why: "try again".into(), outage: true };
    assert_eq!(bench.publish_token(conn, 1, Err(away)), Err("token_keys_unavailable"));
    assert_eq!(bench.acknowledged(conn).reason_code, PublishAckReason::ImplementationSpecificError);
    let target = Target::Token("fresh".into());
    let revocation = Revocation { target, issued_before_ms: None, until_ms: None, made_ms: START_MS };
    bench.input(Input::Revoke { request: 1, change: Change::Set(revocation) });
    assert_eq!(bench.refresh(conn, RefreshBy::Auth, fresh(device("42"))), Err("token_revoked"));
    assert!(bench.closed.is_empty() && bench.revoked.is_empty());
    let handler = bench.connect(&Login::handler("h"));
    assert_eq!(bench.publish_token(handler, 1, fresh(device("42"))), Err("token_not_used"));
    // MQTT 3.1.1 cannot be told anything.
    let old = bench.connect(&Login::new(device("42"), "old").v3());
    assert_eq!(bench.publish_token(old, 0, Err(refused)), Err("token_expired"));
    assert_eq!(bench.closed[&old], DisconnectReasonCode::NotAuthorized);
    assert_eq!(bench.publish_token(old, 1, fresh(device("42"))), Err("gone"));
}

#[test]
fn a_revocation_hits_the_fresh_token_and_no_longer_the_old() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone").token(Some("old"), None));
    assert_eq!(bench.publish_token(conn, 0, fresh(device("42"))), Ok(()));
    for (id, closed) in [("old", 0), ("fresh", 1)] {
        let target = Target::Token(id.into());
        let revocation = Revocation { target, issued_before_ms: None, until_ms: None, made_ms: START_MS };
        bench.input(Input::Revoke { request: 1, change: Change::Set(revocation) });
        assert_eq!(bench.revocations[&1].as_ref().ok(), Some(&closed), "{id}");
    }
    assert_eq!(bench.revoked, [conn]);
}

#[test]
fn a_will_that_the_fresh_token_forbids_is_dropped_when_it_is_due() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    bench.subscribe(handler, "43/#", 1);
    let login = |client: &str| Login::new(device_with("42", &["43/+"], &[]), client).will("43/gone", 0);
    for (client, last, published) in [("a", device("42"), 0), ("b", device_with("42", &["43/+"], &[]), 1)] {
        let conn = bench.connect(&login(client));
        assert_eq!(bench.publish_token(conn, 0, fresh(device("42"))), Ok(()));
        assert_eq!(bench.publish_token(conn, 0, fresh(last)), Ok(()));
        bench.drop_connection(conn);
        assert_eq!(bench.receive(handler).len(), published, "{client}");
    }
    // Nor does a restart bring it back.
    let conn = bench.connect(&login("c").persistent());
    assert_eq!(bench.publish_token(conn, 0, fresh(device("42"))), Ok(()));
    bench.crash();
    bench.pass(10_000);
    let handler = bench.connect(&Login::handler("h"));
    bench.subscribe(handler, "43/#", 1);
    bench.pass(3_600_000);
    assert!(bench.receive(handler).is_empty());
}

#[test]
fn aliases_and_the_receive_maximum_count_for_tokens_too() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.take(conn);
    let with_alias = |topic: &str, alias: u16| {
        let mut publish: Publish = message(topic, "", 1);
        publish.properties.as_mut().unwrap().topic_alias = alias.try_into().ok();
        RefreshBy::Publish(Box::new(publish))
    };
    assert_eq!(bench.refresh(conn, with_alias(names::TOKEN, 3), fresh(device("42"))), Ok(()));
    assert_eq!(bench.refresh(conn, with_alias("", 3), fresh(device("42"))), Ok(()));
    assert_eq!(acks(&bench.take(conn)), [PublishAckReason::Success, PublishAckReason::Success]);
    assert_eq!(bench.refresh(conn, with_alias(names::TOKEN, 9_999), fresh(device("42"))), Err("protocol_error"));
    assert_eq!(bench.closed[&conn], DisconnectReasonCode::TopicAliasInvalid);
}
