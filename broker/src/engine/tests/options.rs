//! Subscription options and identifiers, overlapping subscriptions, QoS (MQTT 5, sections 3.8.3.1 and 3.3.4).

use rmqtt_codec::v5::{DisconnectReasonCode, Packet, QoS, SubscriptionOptions, UnsubscribeAckReason};

use super::harness::*;

#[test]
fn the_lesser_qos_counts() {
    for published in 0..3 {
        for granted in 0..3 {
            let mut bench = Bench::new();
            let conn = bench.connect(&Login::new(device("42"), "phone"));
            bench.subscribe(conn, "42_inbox", granted);
            bench.http_qos("42_inbox", "x", published);
            let got = bench.messages(conn);
            assert_eq!(got[0].qos.value(), published.min(granted));
            assert_eq!(got[0].packet_id.is_some(), published.min(granted) > 0);
        }
    }
}

#[test]
fn overlapping_subscriptions_give_one_copy_with_the_greatest_qos_and_every_identifier() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    for (filter, qos, id) in [("42/a", 0, 7), ("42/#", 2, 8), ("+/a", 1, 9), ("43/a", 2, 10)] {
        bench.subscribe_with(handler, filter, options(qos), id);
    }
    bench.take(handler);
    bench.http_qos("42/a", "x", 2);
    let got = bench.messages(handler);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].qos, QoS::ExactlyOnce);
    let mut ids: Vec<u32> = got[0].properties.as_ref().unwrap().subscription_ids.iter().map(|id| id.get()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [7, 8, 9]);
}

#[test]
fn no_local_keeps_a_clients_own_messages_from_it() {
    let mut bench = Bench::new();
    let quiet = SubscriptionOptions { no_local: true, ..options(1) };
    let login = Login::new(device_with("42", &["room/5"], &["room/5"]), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe_with(conn, "room/5", quiet, 0);
    bench.take(conn);
    let other = bench.connect(&Login::new(device_with("42", &["room/5"], &["room/5"]), "tablet"));
    bench.subscribe(other, "room/5", 1);
    for qos in 0..2 {
        bench.publish(conn, "room/5", "mine", qos);
        bench.publish(other, "room/5", "yours", qos);
    }
    assert_eq!(bench.receive(conn), ["yours", "yours"]);
    assert_eq!(bench.receive(other), ["mine", "yours", "mine", "yours"]);
    // From the log as well.
    bench.publish(conn, "room/5", "mine", 1);
    bench.drop_connection(conn);
    bench.publish(other, "room/5", "yours", 1);
    let conn = bench.connect(&login);
    assert_eq!(bench.receive(conn), ["yours"]);
}

#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    bench.subscribe_with(handler, "$share/g/ping", SubscriptionOptions { no_local: true, ..options(1) }, 0);
    assert_eq!(bench.closed[&handler], DisconnectReasonCode::ProtocolError);
}

#[test]
fn retain_as_published_keeps_the_flag() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    let plain = bench.connect(&Login::handler("plain"));
    bench.subscribe_with(handler, "note", SubscriptionOptions { retain_as_published: true, ..options(1) }, 0);
    bench.subscribe(plain, "note", 1);
    let publish = rmqtt_codec::types::Publish { retain: true, ..message("note", "x", 1) };
    bench.publish_packet(plain, publish);
    assert!(bench.messages(handler)[0].retain);
    assert!(!bench.messages(plain)[0].retain);
}

#[test]
fn a_subscription_made_again_replaces_the_first() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.subscribe(conn, "42_inbox", 2);
    bench.subscribe(conn, "42_inbox", 0);
    bench.http_qos("42_inbox", "x", 2);
    let got = bench.messages(conn);
    assert_eq!((got.len(), got[0].qos), (1, QoS::AtMostOnce));
    assert_eq!(bench.engine.stats().subscriptions, 1);
}

#[test]
fn unsubscribe_says_what_it_found() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone").persistent());
    bench.subscribe(conn, "42_inbox", 1);
    let mut answers = Vec::new();
    for filter in ["42_inbox", "42_inbox", "42/#/x"] {
        bench.unsubscribe(conn, filter);
        for packet in bench.take(conn) {
            if let Packet::UnsubscribeAck(ack) = packet {
                answers.extend(ack.status);
            }
        }
    }
    let expected = [
        UnsubscribeAckReason::Success,
        UnsubscribeAckReason::NoSubscriptionExisted,
        UnsubscribeAckReason::TopicFilterInvalid,
    ];
    assert_eq!(answers, expected);
    bench.notify("42_inbox", "x");
    assert!(bench.messages(conn).is_empty());
    assert_eq!(bench.engine.stats().subscriptions, 0);
}

#[test]
fn topics_of_any_language_and_dollar_topics() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    bench.subscribe(handler, "été/+", 1);
    bench.subscribe(handler, "#", 1);
    bench.notify("été/日本", "x");
    let got = bench.messages(handler);
    assert_eq!(&*got[0].topic, "été/日本");
    // `#` does not match `$tidings/...`: wake a user and see that nothing of it arrives.
    bench.notify("42_inbox", "x");
    bench.messages(handler);
    bench.pass(5_000);
    assert!(bench.messages(handler).is_empty());
    assert_eq!(bench.engine.stats().wakes, 2);
}

#[test]
fn what_travels_along_arrives() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.subscribe(conn, "42_inbox", 1);
    let handler = bench.connect(&Login::handler("h"));
    let mut publish = message("42_inbox", "x", 1);
    let properties = publish.properties.get_or_insert_default();
    properties.content_type = Some("text/plain".into());
    properties.response_topic = Some("answers".into());
    properties.correlation_data = Some(bytes::Bytes::from_static(b"7"));
    properties.is_utf8_payload = true;
    properties.user_properties = vec![("a".into(), "1".into()), ("a".into(), "2".into())];
    bench.publish_packet(handler, publish);
    let got = bench.messages(conn)[0].properties.clone().unwrap();
    assert_eq!(got.content_type.as_deref(), Some("text/plain"));
    assert_eq!(got.response_topic.as_deref(), Some("answers"));
    assert_eq!(got.correlation_data.as_deref(), Some(&b"7"[..]));
    assert!(got.is_utf8_payload);
    let carried: Vec<&str> = got.user_properties.iter().filter(|(n, _)| &**n == "a").map(|(_, v)| &**v).collect();
    assert_eq!(carried, ["1", "2"]);
}

#[test]
fn handlers_have_dollar_topics_of_their_own_that_no_first_level_wildcard_matches() {
    let mut bench = Bench::new();
    let wild = bench.connect(&Login::handler("wild"));
    let exact = bench.connect(&Login::handler("exact"));
    let below = bench.connect(&Login::handler("below"));
    for filter in ["#", "+/x"] {
        bench.subscribe(wild, filter, 1);
    }
    bench.subscribe(exact, "$jobs/x", 1);
    bench.subscribe(below, "$jobs/#", 1);
    for (qos, retain) in [(0, true), (1, false), (2, false)] {
        let publish = rmqtt_codec::types::Publish { retain, ..message("$jobs/x", &qos.to_string(), qos) };
        bench.publish_packet(exact, publish);
    }
    assert_eq!(bench.receive(exact), ["0", "1", "2"]);
    assert_eq!(bench.receive(below), ["0", "1", "2"]);
    assert!(bench.messages(wild).is_empty());
    bench.subscribe(wild, "#", 1);
    assert!(bench.messages(wild).is_empty(), "nor the retained one");
}

#[test]
fn a_handler_that_wants_no_local_messages_gets_none_from_the_log_either() {
    let mut bench = Bench::new();
    let login = Login::handler("h").persistent().with(|c| c.receive_max = 1.try_into().ok());
    let conn = bench.connect(&login);
    bench.subscribe_with(conn, "ping", SubscriptionOptions { no_local: true, ..options(1) }, 0);
    bench.take(conn);
    bench.http_qos("ping", "first", 1);
    bench.publish(conn, "ping", "own", 1);
    bench.http_qos("ping", "second", 1);
    bench.publish(conn, "ping", "own again", 1);
    let other = bench.connect(&Login::handler("other"));
    bench.publish(other, "ping", "third", 1);
    assert_eq!(bench.receive(conn), ["first", "second", "third"]);
    let will = bench.connect(&Login::handler("h2"));
    bench.subscribe_with(will, "ping", SubscriptionOptions { no_local: true, ..options(0) }, 0);
    bench.publish(will, "ping", "live", 0);
    assert!(bench.messages(will).is_empty());
}
