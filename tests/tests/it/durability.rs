//! Nothing is acknowledged before it is stored: `kill -9` of the broker under QoS 1 load loses nothing that was acked.

use std::collections::BTreeSet;

use tidings_tests::broker::Broker;
use tidings_tests::mosquitto;
use tidings_tests::packet::{Connection, Version};
use tidings_tests::python;
use tidings_tests::running::Running;
use tidings_tests::wait::PATIENCE;
use tidings_tests::world::HANDLER_KEY;

const TOPIC: &str = "42/inbox";

fn publisher(broker: &Broker, first: u32, count: u32) -> Running {
    let (host, port) = (broker.mqtt.ip().to_string(), broker.mqtt.port().to_string());
    let (first, count) = (first.to_string(), count.to_string());
    python::start("publisher.py", &[&host, &port, "handler", HANDLER_KEY, TOPIC, &first, &count])
}

fn receiver(broker: &Broker, more: &[&str]) -> Running {
    let (host, port) = (broker.mqtt.ip().to_string(), broker.mqtt.port().to_string());
    let token = broker.issuer.token("42");
    let mut arguments = vec![host.as_str(), &port, "JWT", &token, "phone", TOPIC];
    arguments.extend(more);
    python::start("receiver.py", &arguments)
}

fn numbers(log: &str, word: &str) -> Vec<u32> {
    log.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).collect()
}

#[test]
fn kill_nine_under_load_loses_nothing_that_was_acked() {
    let mut broker = Broker::start();
    // The phone has a session, and is away.
    receiver(&broker, &["once"]).says("over", PATIENCE);

    // Below the 1,000 messages that are kept per user, so that whatever is missing was lost.
    let mut acked = BTreeSet::new();
    for round in 0..3 {
        let mut load = publisher(&broker, round * 10_000, 250);
        for _ in 0..100 {
            load.says("acked", PATIENCE);
        }
        broker.process.kill();
        load.says("over", PATIENCE);
        acked.extend(numbers(&load.log(), "acked"));
        broker.start_again();
    }
    assert!(acked.len() >= 300, "the load was acknowledged while the broker lived: {}", acked.len());
    mosquitto::publish_well(&broker.handler_login(), TOPIC, "end");

    let mut phone = receiver(&broker, &[]);
    phone.says("over", PATIENCE);
    let log = phone.log();
    assert!(log.contains("connected 0 session 1"), "the session outlived the broker:\n{log}");
    let received = numbers(&log, "message");
    let missing: Vec<_> = acked.difference(&received.iter().copied().collect()).copied().collect();
    assert!(missing.is_empty(), "acked, and then lost: {missing:?}");
    assert!(received.is_sorted_by(|a, b| a < b), "each once and in order: {received:?}");
}

fn storm(broker: &Broker, name: &str, qos: &str) -> Running {
    let (host, port) = (broker.mqtt.ip().to_string(), broker.mqtt.port().to_string());
    python::start("storm.py", &[&host, &port, "handler", HANDLER_KEY, name, TOPIC, qos])
}

/// `acked NAME NUMBER`, `message NAME NUMBER`: which.
fn named<'a>(log: &'a str, word: &str) -> Vec<&'a str> {
    log.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).filter(|text| *text != "end").collect()
}

/// Several publishers with QoS 1 and 2 and a subscriber, all of which come back by themselves, and a broker that is killed
/// again and again while they work. `TIDINGS_TEST_KILLS` says how often (10).
#[test]
fn kill_nine_in_a_loop_loses_nothing_and_doubles_no_qos_2() {
    let kills: u32 = std::env::var("TIDINGS_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(10);
    let mut broker = Broker::start_with(&[("broker.log.retention.per_user", "1000000")]);
    let mut phone = receiver(&broker, &["2"]);
    phone.says("subscribed", PATIENCE);
    let mut publishers: Vec<_> = [("a1", "1"), ("b1", "1"), ("a2", "2"), ("b2", "2")]
        .iter()
        .map(|(name, qos)| storm(&broker, name, qos))
        .collect();
    for kill in 0..kills {
        for publisher in &mut publishers {
            for _ in 0..=10 + kill % 7 {
                publisher.says("acked", PATIENCE);
            }
        }
        broker.process.kill();
        broker.start_again();
    }
    let mut acked = Vec::new();
    for publisher in &mut publishers {
        publisher.terminate();
        publisher.says("over", PATIENCE);
        acked.push(publisher.log());
    }
    // With QoS 2, so that the phone is told of it only after what came before it with QoS 2.
    assert!(mosquitto::publish(&broker.handler_login(), TOPIC, "end", &["-q", "2"]).status.success());
    phone.says("over", PATIENCE);
    let log = phone.log();
    let received = named(&log, "message");
    let once: BTreeSet<_> = received.iter().copied().collect();
    let missing: Vec<_> =
        acked.iter().flat_map(|log| named(log, "acked")).filter(|text| !once.contains(text)).collect();
    assert!(missing.is_empty(), "acked, and then lost: {missing:?}");
    let mut seen = BTreeSet::new();
    let doubled: Vec<_> =
        received.iter().filter(|text| text.contains("2 ")).filter(|text| !seen.insert(**text)).collect();
    assert!(doubled.is_empty(), "QoS 2, and twice: {doubled:?}");
    let total: usize = acked.iter().map(|log| named(log, "acked").len()).sum();
    println!("{kills} kills, {total} acknowledged, {} received", received.len());
}

#[test]
fn a_retained_message_outlives_kill_nine() {
    let mut broker = Broker::start();
    let output = mosquitto::publish(&broker.handler_login(), "42/profile", "kept", &["-r"]);
    assert!(output.status.success());
    broker.process.kill();
    broker.start_again();
    let mut phone = Connection::accepted(broker.mqtt, &broker.device(Version::V5, "42", "phone"));
    assert!(phone.subscribe("42/profile") <= 2);
    let message = phone.expect(3);
    assert!(message.body.ends_with(b"kept") && message.flags & 1 == 1, "retained: {message:?}");
}

#[test]
fn a_clean_stop_ends_well_and_keeps_everything() {
    let mut broker = Broker::start();
    receiver(&broker, &["once"]).says("over", PATIENCE);
    mosquitto::publish_well(&broker.handler_login(), TOPIC, "1");
    broker.process.terminate();
    let (status, log) = broker.process.end(PATIENCE);
    assert!(status.success(), "SIGTERM is a clean stop, not {status}:\n{log}");
    broker.start_again();
    mosquitto::publish_well(&broker.handler_login(), TOPIC, "end");
    let mut phone = receiver(&broker, &[]);
    phone.says("over", PATIENCE);
    assert_eq!(numbers(&phone.log(), "message"), [1]);
}
