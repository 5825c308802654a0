//! Bounds that clients meet: receive maximum, topic aliases, subscriptions, levels, payload format.

use std::num::NonZeroU16;

use rmqtt_codec::v5::{DisconnectReasonCode, Packet, PublishAckReason, SubscribeAckReason};

use super::harness::*;
use crate::engine::Settings;

#[test]
fn more_unacknowledged_publishes_than_allowed_end_the_connection() {
    for qos in [1, 2] {
        let mut bench = Bench::with(Settings { receive_maximum: 2, ..Settings::default() });
        let (conn, ack) = bench.try_connect(&Login::new(device("42"), "phone"));
        assert_eq!(ack.receive_max.get(), 2);
        bench.hold = true;
        for pid in 1..=3 {
            let publish = rmqtt_codec::types::Publish { packet_id: NonZeroU16::new(pid), ..message("ping", "x", qos) };
            assert!(bench.closed.is_empty());
            bench.publish_packet(conn, publish);
        }
        assert_eq!(bench.closed[&conn], DisconnectReasonCode::ReceiveMaximumExceeded);
    }
}

fn aliased(topic: &str, alias: u16) -> rmqtt_codec::types::Publish {
    let mut publish = message(topic, "x", 0);
    if let Some(properties) = &mut publish.properties {
        properties.topic_alias = NonZeroU16::new(alias);
    }
    publish
}

#[test]
fn topic_aliases_stand_for_topics_until_they_are_set_anew() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    bench.subscribe(handler, "#", 0);
    let (conn, ack) = bench.try_connect(&Login::new(device("42"), "phone"));
    assert_eq!(ack.topic_alias_max, 16);
    for (topic, alias) in [("ping", 3), ("", 3), ("pong", 3), ("", 3)] {
        bench.publish_packet(conn, aliased(topic, alias));
    }
    let topics: Vec<String> = bench.messages(handler).iter().map(|m| m.topic.to_string()).collect();
    assert_eq!(topics, ["ping", "ping", "pong", "pong"]);
}

#[test]
fn an_alias_that_is_not_known_or_not_allowed_ends_the_connection() {
    for (publish, reason) in [
        (aliased("", 3), DisconnectReasonCode::ProtocolError),
        (aliased("ping", 17), DisconnectReasonCode::TopicAliasInvalid),
        (message("", "x", 0), DisconnectReasonCode::ProtocolError),
    ] {
        let mut bench = Bench::new();
        let conn = bench.connect(&Login::new(device("42"), "phone"));
        bench.publish_packet(conn, publish);
        assert_eq!(bench.closed[&conn], reason);
    }
}

#[test]
fn an_alias_never_leads_around_the_rules() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.publish_packet(conn, aliased("43_inbox", 1));
    let mut again = aliased("", 1);
    again.qos = rmqtt_codec::v5::QoS::AtLeastOnce;
    again.packet_id = NonZeroU16::new(1);
    bench.publish_packet(conn, again);
    assert_eq!(acks(&bench.take(conn)), [PublishAckReason::NotAuthorized]);
}

#[test]
fn a_session_has_only_so_many_subscriptions() {
    let mut bench = Bench::with(Settings { max_subscriptions: 2, ..Settings::default() });
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.subscribe(conn, "42_a", 1);
    bench.subscribe(conn, "42_b", 1);
    assert_eq!(bench.try_subscribe(conn, "42_c", 1), SubscribeAckReason::QuotaExceeded);
    bench.subscribe(conn, "42_a", 2);
    bench.unsubscribe(conn, "42_a");
    bench.take(conn);
    bench.subscribe(conn, "42_c", 1);
    assert_eq!(bench.engine.stats().subscriptions, 2);
}

#[test]
fn a_filter_has_only_so_many_levels() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    let deep = |levels: usize| format!("42{}", "/+".repeat(levels));
    bench.subscribe(conn, &deep(63), 0);
    assert_eq!(bench.try_subscribe(conn, &deep(64), 0), SubscribeAckReason::TopicFilterInvalid);
}

#[test]
fn text_that_is_not_text_is_refused() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    let mut publish = message("ping", "", 1);
    publish.payload = bytes::Bytes::from_static(b"\xff");
    publish.properties.get_or_insert_default().is_utf8_payload = true;
    bench.publish_packet(conn, publish);
    assert_eq!(acks(&bench.take(conn)), [PublishAckReason::PayloadFormatInvalid]);
}

#[test]
fn a_client_cannot_name_subscription_identifiers_in_a_publish() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    let mut publish = message("ping", "x", 0);
    publish.properties.get_or_insert_default().subscription_ids = vec![std::num::NonZeroU32::MIN];
    bench.publish_packet(conn, publish);
    assert_eq!(bench.closed[&conn], DisconnectReasonCode::ProtocolError);
}

#[test]
fn a_ping_is_answered() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.packet(conn, Packet::PingRequest);
    assert_eq!(bench.take(conn), [Packet::PingResponse]);
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<crate::engine::session::Session>() <= 400, "{}", size_of::<crate::engine::session::Session>());
    assert!(size_of::<crate::engine::session::Online>() <= 200, "{}", size_of::<crate::engine::session::Online>());
    assert!(size_of::<crate::engine::session::Subscription>() <= 48);
}
