//! `kill -9` of the push-gateway at any step of a send: what was answered with 202 arrives, and what arrives twice says
//! that it may have.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_shared::storage::testing::urls;
use tidings_tests::push::{Gateway, Simulators, send_batch};
use tidings_tests::wait::{Deadline, PATIENCE, eventually};

/// Devices of the user that all notifications go to.
const DEVICES: u32 = 25;
/// Notifications in a batch.
const BATCH: u32 = 4;

fn batch(sender: usize, number: u32) -> Value {
    let item = |place: u32| {
        let priority = ["high", "normal", "bulk"][usize::try_from(place).unwrap_or(0) % 3];
        json!({
            "to": {"user": "anna"},
            "push": {"kind": "alert", "title": format!("{sender}-{number}-{place}")},
            "priority": priority,
            "idempotency_key": format!("{sender}-{number}-{place}"),
        })
    };
    json!({ "notifications": (0..BATCH).map(item).collect::<Vec<_>>() })
}

/// Sends batches until it is told to stop, each until it is answered; the ids of what was taken.
fn send(sender: usize, addresses: Vec<SocketAddr>, stop: Arc<AtomicBool>) -> thread::JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let mut taken = Vec::new();
        let mut number = 0;
        while !stop.load(Ordering::Acquire) {
            let batch = batch(sender, number);
            // Another one answers the second time, when there is another.
            let mut attempt = sender;
            let answer = eventually("a batch is taken", PATIENCE, || {
                attempt += 1;
                send_batch(addresses[attempt % addresses.len()], &batch)
            });
            for result in answer.json()["results"].as_array().unwrap() {
                assert_eq!(result["status"], 202, "{result}");
                taken.push(result["notification"]["id"].as_str().unwrap().to_owned());
            }
            number += 1;
        }
        taken
    })
}

fn targets(gateway: &Gateway, notification: &str) -> Vec<Value> {
    let shown = gateway.api("GET", &format!("/v1/notifications/{notification}")).send().expect(200).json();
    shown["targets"].as_array().unwrap().clone()
}

/// What happened, for whoever reads the test's output.
fn kill_in_a_loop(database: &str, gateways: usize) -> String {
    let kills: u32 = std::env::var("TIDINGS_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(6);
    let simulators = Simulators::start();
    // Answers take a while, so that there is always one under way; some are failures, some never come.
    simulators.script(&json!({"always": true, "skip": 11, "do": {"answer": {"reason": "ServiceUnavailable"}}}));
    simulators.script(&json!({"always": true, "skip": 97, "delivered": true, "do": "reset"}));
    simulators.script(&json!({"always": true, "delay_ms": 25, "do": "accept"}));
    let mut gateways: Vec<Gateway> = (0..gateways).map(|_| Gateway::start(&simulators, database)).collect();
    for device in 0..DEVICES {
        gateways[0].register("anna", device);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let addresses: Vec<SocketAddr> = gateways.iter().map(Gateway::address).collect();
    let senders: Vec<_> = (0..2).map(|sender| send(sender, addresses.clone(), Arc::clone(&stop))).collect();
    let mut seen = 0;
    for kill in 0..kills {
        // After so many more pushes: at another step each time.
        let wanted = seen + 20 + u64::from(kill) * 37;
        let deadline = Deadline::after(PATIENCE);
        while seen < wanted {
            assert!(!deadline.passed(), "pushes go on after {kill} kills: {seen} of {wanted}");
            seen = simulators.pushes(seen).last().and_then(|push| push["seq"].as_u64()).unwrap_or(seen);
        }
        let which = usize::try_from(kill).unwrap_or(0) % gateways.len();
        gateways[which].process.kill();
        gateways[which].start_again();
    }
    stop.store(true, Ordering::Release);
    let taken: Vec<String> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();

    let mut arrived: HashMap<String, u32> = HashMap::new();
    let finals = ["accepted", "dead", "expired", "unknown"];
    let mut all = Vec::new();
    for notification in &taken {
        let done = eventually("everything is over", Duration::from_secs(120), || {
            let targets = targets(&gateways[0], notification);
            targets.iter().all(|target| finals.iter().any(|state| target["state"] == *state)).then_some(targets)
        });
        assert_eq!(done.len(), usize::try_from(DEVICES).unwrap());
        all.extend(done);
    }
    for push in simulators.everything() {
        *arrived.entry(push["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let (mut repeated, mut marked) = (0, 0);
    for target in &all {
        let times = arrived.remove(target["id"].as_str().unwrap()).unwrap_or(0);
        assert_eq!(target["state"], "accepted", "{target}");
        assert!(times > 0, "taken, and then lost: {target}");
        let may_be_twice = target["maybe_repeated"] == true;
        assert!(times == 1 || may_be_twice, "sent {times} times without saying so: {target}");
        repeated += u32::from(times > 1);
        marked += u32::from(may_be_twice);
    }
    assert!(arrived.is_empty(), "sent, and never taken: {arrived:?}");
    format!("{kills} kills, {} pushes, {repeated} arrived twice of {marked} that say so", all.len())
}

#[test]
fn kill_nine_of_the_gateway_loses_no_push_and_doubles_none_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    println!("{}", kill_in_a_loop(&format!("sqlite://{}", folder.path().join("push.db").display()), 1));
}

#[test]
fn kill_nine_of_one_of_two_gateways_on_postgresql_loses_and_doubles_nothing_either() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for url in runtime.block_on(urls()).iter().filter(|url| url.starts_with("postgres")) {
        println!("{}", kill_in_a_loop(url, 2));
    }
}
