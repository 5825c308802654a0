//! QoS 2: exactly once, both ways, over reconnects and crashes (MQTT 5, section 4.3.3).

use std::num::NonZeroU16;

use rmqtt_codec::v5::{Packet, PublishAck2Reason};

use super::harness::*;

const PID: NonZeroU16 = NonZeroU16::MIN;

fn pubcomp(packets: &[Packet]) -> Option<PublishAck2Reason> {
    packets.iter().find_map(|packet| match packet {
        Packet::PublishComplete(ack) => Some(ack.reason_code),
        _ => None,
    })
}

fn pubrels(packets: &[Packet]) -> Vec<u16> {
    let pid = |packet: &Packet| match packet {
        Packet::PublishRelease(ack) => Some(ack.packet_id.get()),
        _ => None,
    };
    packets.iter().filter_map(pid).collect()
}

fn listening_handler(bench: &mut Bench) -> crate::engine::ConnId {
    let handler = bench.connect(&Login::handler("h"));
    bench.subscribe(handler, "ping", 1);
    handler
}

#[test]
fn a_repeated_publish_is_delivered_once() {
    let mut bench = Bench::new();
    let handler = listening_handler(&mut bench);
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.publish(conn, "ping", "x", 2);
    bench.publish(conn, "ping", "x", 2);
    assert_eq!(acks(&bench.take(conn)).len(), 2);
    bench.pubrel(conn, PID);
    assert_eq!(pubcomp(&bench.take(conn)), Some(PublishAck2Reason::Success));
    bench.pubrel(conn, PID);
    assert_eq!(pubcomp(&bench.take(conn)), Some(PublishAck2Reason::PacketIdNotFound));
    // The packet id is free: the same one is a new message now.
    bench.publish(conn, "ping", "y", 2);
    assert_eq!(bench.receive(handler), ["x", "y"]);
}

#[test]
fn a_publish_repeated_after_a_reconnect_is_delivered_once() {
    let mut bench = Bench::new();
    let handler = listening_handler(&mut bench);
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.publish(conn, "ping", "x", 2);
    bench.drop_connection(conn);
    let conn = bench.connect(&login);
    bench.publish(conn, "ping", "x", 2);
    assert_eq!(acks(&bench.take(conn)).len(), 1);
    bench.pubrel(conn, PID);
    assert_eq!(bench.receive(handler), ["x"]);
}

/// Lets `steps` requests to the log through, then the broker dies.
fn crash_after(steps: usize) -> usize {
    let mut bench = Bench::new();
    let watcher = Login::handler("h").persistent();
    let handler = bench.connect(&watcher);
    bench.subscribe(handler, "ping", 1);
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.hold = true;
    bench.publish(conn, "ping", "x", 2);
    for _ in 0..steps {
        bench.release_one();
    }
    let got_pubrec = !acks(&bench.take(conn)).is_empty();
    bench.crash();
    let conn = bench.connect(&login);
    if !got_pubrec {
        bench.publish(conn, "ping", "x", 2);
        assert_eq!(acks(&bench.take(conn)).len(), 1);
    }
    bench.pubrel(conn, PID);
    assert_eq!(pubcomp(&bench.take(conn)), Some(PublishAck2Reason::Success));
    bench.publish(conn, "ping", "y", 2);
    let handler = bench.connect(&watcher);
    let mut ids = Vec::new();
    let mut count = 0;
    for message in bench.messages(handler) {
        let id = property(&message, "message-id").unwrap().to_owned();
        if !ids.contains(&id) {
            ids.push(id);
            count += 1;
        }
    }
    count
}

#[test]
fn wherever_a_crash_falls_a_message_is_stored_once() {
    for steps in 0..6 {
        assert_eq!(crash_after(steps), 2, "after {steps} answers of the log");
    }
}

#[test]
fn delivery_goes_through_all_steps() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone"));
    bench.subscribe(conn, "42_inbox", 2);
    bench.http_qos("42_inbox", "x", 2);
    let messages = bench.messages(conn);
    assert_eq!(texts(&messages), ["x"]);
    let pid = messages[0].packet_id.unwrap();
    bench.pubrec(conn, pid);
    assert_eq!(pubrels(&bench.take(conn)), [pid.get()]);
    bench.pubrec(conn, pid);
    assert_eq!(pubrels(&bench.take(conn)), [pid.get()]);
    bench.pubcomp(conn, pid);
    bench.pubrec(conn, pid);
    let answer = bench.take(conn);
    assert!(
        matches!(&answer[..], [Packet::PublishRelease(ack)] if ack.reason_code == PublishAck2Reason::PacketIdNotFound)
    );
}

#[test]
fn delivery_goes_on_after_a_reconnect_where_it_was() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 2);
    bench.http_qos("42_inbox", "a", 2);
    bench.http_qos("42_inbox", "b", 2);
    let messages = bench.messages(conn);
    let (a, b) = (messages[0].packet_id.unwrap(), messages[1].packet_id.unwrap());
    bench.pubrec(conn, a);
    bench.drop_connection(conn);
    bench.http_qos("42_inbox", "c", 2);
    let conn = bench.connect(&login);
    let packets = bench.take(conn);
    assert_eq!(pubrels(&packets), [a.get()]);
    let again: Vec<_> = packets
        .iter()
        .filter_map(|packet| match packet {
            Packet::Publish(publish) => Some((text(publish), publish.packet_id.unwrap(), publish.dup)),
            _ => None,
        })
        .collect();
    assert_eq!(again[0], ("b".to_owned(), b, true));
    assert_eq!((again[1].0.as_str(), again[1].2), ("c", false));
}

#[test]
fn after_a_crash_the_same_packet_ids_go_on() {
    let mut bench = Bench::new();
    let login = Login::new(device("42"), "phone").persistent();
    let conn = bench.connect(&login);
    bench.subscribe(conn, "42_inbox", 2);
    bench.http_qos("42_inbox", "a", 2);
    bench.http_qos("42_inbox", "b", 2);
    let messages = bench.messages(conn);
    let (a, b) = (messages[0].packet_id.unwrap(), messages[1].packet_id.unwrap());
    bench.pubrec(conn, a);
    bench.crash();
    let conn = bench.connect(&login);
    let packets = bench.take(conn);
    assert_eq!(pubrels(&packets), [a.get()]);
    let publishes: Vec<_> = packets.iter().filter(|packet| matches!(packet, Packet::Publish(_))).collect();
    assert!(matches!(publishes[..], [Packet::Publish(publish)] if publish.dup && publish.packet_id == Some(b)));
}

#[test]
fn a_packet_id_is_stored_before_it_is_used() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone").persistent());
    bench.subscribe(conn, "42_inbox", 2);
    bench.http_qos("42_inbox", "x", 2);
    let pid = bench.messages(conn)[0].packet_id.unwrap();
    bench.hold = true;
    bench.pubrec(conn, pid);
    assert!(bench.take(conn).is_empty(), "PUBREL waits until PUBREC is stored");
    bench.release();
    assert_eq!(pubrels(&bench.take(conn)), [pid.get()]);
}

#[test]
fn a_refused_message_is_over() {
    let mut bench = Bench::new();
    let conn = bench.connect(&Login::new(device("42"), "phone").with(|c| c.receive_max = NonZeroU16::new(1)));
    bench.subscribe(conn, "42_inbox", 2);
    bench.http_qos("42_inbox", "a", 2);
    bench.http_qos("42_inbox", "b", 2);
    let pid = bench.messages(conn)[0].packet_id.unwrap();
    let refusal = rmqtt_codec::v5::PublishAck {
        packet_id: pid,
        reason_code: rmqtt_codec::v5::PublishAckReason::UnspecifiedError,
        ..Default::default()
    };
    bench.packet(conn, Packet::PublishReceived(refusal));
    assert_eq!(texts(&bench.messages(conn)), ["b"]);
}
