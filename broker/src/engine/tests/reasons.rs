//! What a client is told beyond a code: reason strings, and where answers to its requests may go.

use rmqtt_codec::v5::{ConnectAckReason, Disconnect, Packet};

use super::harness::*;
use crate::engine::ConnId;

fn disconnected(bench: &mut Bench, conn: ConnId) -> Disconnect {
    let found = bench.take(conn).into_iter().find_map(|packet| match packet {
        Packet::Disconnect(disconnect) => Some(disconnect),
        _ => None,
    });
    found.expect("DISCONNECT")
}

#[test]
fn a_refusal_says_which_rule_refused() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.publish(conn, "43_inbox", "x", 1);
    bench.publish(conn, "43_inbox", "x", 2);
    bench.subscribe_with(conn, "43/#", options(1), 0);
    bench.subscribe_with(conn, "42/#", options(1), 0);
    bench.subscribe_with(conn, &"x/".repeat(500), options(1), 0);
    let said = |packet: Packet| match packet {
        Packet::PublishAck(ack) | Packet::PublishReceived(ack) => ack.reason_string.map(|text| text.to_string()),
        Packet::SubscribeAck(ack) => ack.reason_string.map(|text| text.to_string()),
        other => panic!("unexpected {other:?}"),
    };
    let said: Vec<Option<String>> = bench.take(conn).into_iter().map(said).collect();
    let other = "the topic belongs to another user; if it is a command, name it in broker.topics.commands";
    assert_eq!(said[0].as_deref(), Some(other));
    assert_eq!(said[1].as_deref(), Some(other));
    assert!(said[2].as_deref().unwrap().starts_with("43/#: a device subscribes"), "{said:?}");
    assert_eq!(said[3], None);
    assert!(said[4].as_deref().unwrap().len() < 200, "{said:?}");
}

#[test]
fn a_refused_will_and_a_refused_client_id_say_why() {
    let mut bench = Bench::new();
    let (_, ack) = bench.try_connect(&Login::new(device("42"), "phone").will("43_inbox", 0));
    assert_eq!(ack.reason_code, ConnectAckReason::NotAuthorized);
    assert!(ack.reason_string.unwrap().starts_with("the will: the topic belongs to another user"));
    let (_, ack) = bench.try_connect(&Login::new(device("42"), &"x".repeat(257)));
    assert_eq!(ack.reason_code, ConnectAckReason::ClientIdentifierNotValid);
    assert!(ack.reason_string.unwrap().contains("257 bytes"));
}

#[test]
fn who_is_sent_away_is_told_why() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone");
    let first = bench.connect(&login);
    bench.connect(&login);
    assert_eq!(disconnected(&mut bench, first).reason_string.as_deref(), Some("the same client has connected again"));
}

#[test]
fn a_device_that_asks_learns_its_own_prefix_for_answers() {
    let mut bench = Bench::new();
    let asks = |login: Login| login.with(|connect| connect.request_response_info = true);
    let (conn, ack) = bench.try_connect(&asks(Login::new(device("4_2"), "phone")));
    let prefix = ack.response_info.unwrap();
    assert_eq!(&*prefix, "4%5F2/");
    bench.subscribe(conn, &format!("{prefix}answers/#"), 1);
    bench.notify(&format!("{prefix}answers/7"), "yes");
    assert_eq!(bench.receive(conn), ["yes"]);
    assert_eq!(bench.try_connect(&Login::new(device("42"), "phone")).1.response_info, None);
    assert_eq!(bench.try_connect(&asks(Login::handler("h"))).1.response_info, None);
}
