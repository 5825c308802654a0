//! Nobody receives or publishes on what is not theirs, on any path; and the broker's stamps cannot be forged.

use rmqtt_codec::v5::{ConnectAckReason, DisconnectReasonCode, PublishAckReason, SubscribeAckReason};

use super::harness::*;
use crate::engine::Settings;

#[test]
fn a_device_subscribes_to_its_own_topics_only() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.subscribe(conn, "42_inbox", 1);
    bench.subscribe(conn, "42/#", 1);
    bench.subscribe(conn, "$share/g/42_inbox", 1);
    for foreign in
        ["43_inbox", "#", "+/x", "42%5F3_inbox", "ping", "$share/g/43_inbox", "$tidings/events/unacked", "$share/g/#"]
    {
        assert_eq!(bench.try_subscribe(conn, foreign, 1), SubscribeAckReason::NotAuthorized, "{foreign}");
    }
    for malformed in ["42/#/x", "$share/g", "$share//42_inbox", "42_a+"] {
        assert_eq!(bench.try_subscribe(conn, malformed, 1), SubscribeAckReason::TopicFilterInvalid, "{malformed}");
    }
    assert_eq!(bench.engine.stats().refused, 12);
}

#[test]
fn a_device_publishes_commands_only() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    for foreign in ["43_inbox", "42_inbox", "$tidings/events/unacked", "$SYS/x"] {
        for qos in [1, 2] {
            bench.publish(conn, foreign, "x", qos);
            assert_eq!(acks(&bench.take(conn)), [PublishAckReason::NotAuthorized], "{foreign}");
        }
        bench.publish(conn, foreign, "x", 0);
        assert!(bench.take(conn).is_empty());
    }
    bench.publish(conn, "a/+/b", "x", 1);
    assert_eq!(acks(&bench.take(conn)), [PublishAckReason::TopicNameInvalid]);
    bench.publish(conn, "request_contact", "x", 1);
    assert_eq!(acks(&bench.take(conn)), [PublishAckReason::Success]);
}

#[test]
fn an_older_client_that_publishes_where_it_may_not_is_closed() {
    for qos in 0..3 {
        let mut bench = Bench::new();
        let conn = bench.connect(&Login::new(device("42"), "phone").v3());
        bench.publish(conn, "43_inbox", "x", qos);
        assert_eq!(bench.closed[&conn], DisconnectReasonCode::NotAuthorized);
        assert!(bench.take(conn).is_empty(), "MQTT 3.1.1 has no DISCONNECT from the server");
    }
}

#[test]
fn a_will_is_checked_when_the_client_connects() {
    let mut bench = Bench::new();
    let (conn, ack) = bench.try_connect(&Login::new(device("42"), "phone").will("43_inbox", 0));
    assert_eq!(ack.reason_code, ConnectAckReason::NotAuthorized);
    assert!(bench.closed.contains_key(&conn));
    let (_, ack) = bench.try_connect(&Login::new(device("42"), "phone").will("a/#", 0));
    assert_eq!(ack.reason_code, ConnectAckReason::TopicNameInvalid);
    let (_, ack) = bench.try_connect(&Login::new(device("42"), "phone").will("ping", 0));
    assert_eq!(ack.reason_code, ConnectAckReason::Success);
}

#[test]
fn a_user_named_like_a_command_never_sees_it() {
    // `request` owns `request_contact` by its form; the command of that name goes to handlers all the same.
    let mut bench = Bench::new();
    let login = Login::new(device("request"), "phone").persistent();
    let spy = bench.connect(&login);
    bench.subscribe(spy, "request_contact", 1);
    bench.subscribe(spy, "request/#", 1);
    let handler = bench.connect(&Login::handler("h"));
    bench.subscribe(handler, "request_contact", 1);
    let sender = bench.connect(&Login::new(device("42"), "phone"));
    for qos in 0..3 {
        bench.publish(sender, "request_contact", "secret", qos);
    }
    assert_eq!(bench.receive(handler).len(), 2 + 1);
    assert!(bench.messages(spy).is_empty(), "live");
    bench.drop_connection(spy);
    bench.publish(sender, "request_contact", "secret", 1);
    let spy = bench.connect(&login);
    assert!(bench.messages(spy).is_empty(), "from the log");
    let retained = rmqtt_codec::types::Publish { retain: true, ..message("request_contact", "secret", 1) };
    bench.publish_packet(sender, retained);
    bench.subscribe(spy, "request_contact", 1);
    assert!(bench.messages(spy).is_empty(), "retained");
    bench.subscribe(spy, "$share/g/request_contact", 1);
    bench.publish(sender, "request_contact", "secret", 1);
    assert!(bench.messages(spy).is_empty(), "shared");
    // What a handler says to the user does arrive.
    bench.notify("request_contact", "for you");
    assert_eq!(bench.receive(spy), ["for you", "for you"]);
}

#[test]
fn a_device_cannot_clear_what_a_handler_left_for_a_user() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    let note = rmqtt_codec::types::Publish { retain: true, ..message("request_contact", "note", 1) };
    bench.publish_packet(handler, note);
    let sender = bench.connect(&Login::new(device("42"), "phone"));
    let clear = rmqtt_codec::types::Publish { retain: true, ..message("request_contact", "", 1) };
    bench.publish_packet(sender, clear);
    let owner = bench.connect(&Login::new(device("request"), "phone"));
    bench.subscribe(owner, "request_contact", 1);
    assert_eq!(bench.receive(owner), ["note"]);
}

#[test]
fn an_acl_grants_what_it_says() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device_with("42", &["room/+"], &["room/#"]), "phone"));
    bench.subscribe(conn, "room/5", 1);
    let other = bench.connect(&Login::new(device_with("43", &["room/+"], &[]), "phone"));
    bench.publish(other, "room/5", "hello", 1);
    assert_eq!(acks(&bench.take(other)), [PublishAckReason::Success]);
    assert_eq!(bench.receive(conn), ["hello"]);
    assert_eq!(bench.try_subscribe(other, "room/5", 1), SubscribeAckReason::NotAuthorized);
}

#[test]
fn a_word_is_a_command_where_a_handler_listens_and_a_user_where_one_is_known() {
    let mut bench = Bench::new();
    let sender = bench.connect(&Login::new(device("42"), "phone"));
    bench.publish(sender, "alice_note", "x", 1);
    assert_eq!(acks(&bench.take(sender)), [PublishAckReason::Success]);
    let alice = bench.connect(&Login::new(device("alice"), "phone"));
    bench.publish(sender, "alice_note", "x", 1);
    assert_eq!(acks(&bench.take(sender)), [PublishAckReason::NotAuthorized]);
    // She stays known when she has gone, also over a restart.
    bench.disconnect(alice);
    bench.crash();
    let sender = bench.connect(&Login::new(device("42"), "phone"));
    bench.publish(sender, "alice_note", "x", 1);
    assert_eq!(acks(&bench.take(sender)), [PublishAckReason::NotAuthorized]);
    let handler = bench.connect(&Login::handler("h"));
    bench.subscribe(handler, "alice_note", 1);
    bench.publish(sender, "alice_note", "x", 1);
    assert_eq!(acks(&bench.take(sender)), [PublishAckReason::Success]);
}

#[test]
fn the_operator_names_commands() {
    let commands = vec!["4711_report".to_owned(), "99/+".to_owned()];
    let mut bench = Bench::with(Settings { commands, ..Settings::default() });
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    for topic in ["4711_report", "99/x"] {
        bench.publish(conn, topic, "x", 1);
        assert_eq!(acks(&bench.take(conn)), [PublishAckReason::Success], "{topic}");
    }
}

#[test]
fn messages_say_who_sent_them_and_nobody_can_pretend() {
    let mut bench = Bench::new();
    let handler = bench.connect(&Login::handler("h"));
    bench.subscribe(handler, "ping", 1);
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    let mut forged = message("ping", "x", 1);
    let stamps = ["user", "client", "message-id", "time", "cursor"];
    if let Some(properties) = &mut forged.properties {
        properties.user_properties = stamps.iter().map(|name| ((*name).into(), "forged".into())).collect();
        properties.user_properties.push(("mine".into(), "kept".into()));
    }
    bench.publish_packet(conn, forged);
    let got = &bench.messages(handler)[0];
    assert_eq!(property(got, "user"), Some("42"));
    assert_eq!(property(got, "client"), Some("phone"));
    assert_eq!(property(got, "time"), Some(START_MS.to_string().as_str()));
    assert_eq!(property(got, "cursor"), Some("0000000000000007-1"));
    assert_eq!(property(got, "mine"), Some("kept"));
    assert_eq!(property(got, "message-id").unwrap().len(), 36);
    let count = got.properties.as_ref().unwrap().user_properties.len();
    assert_eq!(count, 6, "each stamp once");
}

#[test]
fn a_handler_brings_its_own_message_id_and_no_sender() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.subscribe(conn, "42_inbox", 1);
    let handler = bench.connect(&Login::handler("h"));
    let mut publish = message("42_inbox", "x", 1);
    if let Some(properties) = &mut publish.properties {
        properties.user_properties = vec![("message-id".into(), "order-7".into()), ("user".into(), "13".into())];
    }
    bench.publish_packet(handler, publish.clone());
    bench.publish_packet(handler, publish);
    let got = bench.messages(conn);
    assert_eq!(got.len(), 1);
    assert_eq!(property(&got[0], "message-id"), Some("order-7"));
    assert_eq!(property(&got[0], "user"), None);
}
