//! Promise: with sixteen writers and devices that poll all the time, no update is lost, and no tag stands still.
//!
//! Half of the passes change exactly once: such a change can hide behind no later one. (Where tags are given when a
//! change is written, from a sequence of PostgreSQL, this test finds changes that are never listed.)

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use serde_json::{Value, json};
use tidings_shared::clock::Clock;
use tidings_shared::storage::testing;
use tokio::task::JoinSet;

use crate::support::{Gateway, NOW, PASS_TYPE, Pass, Running, number, push_token};

const WRITERS: usize = 16;
/// How many passes each writer changes once.
const EACH: usize = 10;
/// Passes that all writers change again and again.
const HOT: usize = 4;
const DEVICES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_writers_and_polling_devices_lose_nothing() {
    for database in testing::urls().await {
        // On PostgreSQL two processes write, and either may be the sequencer.
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::start().await;
        let mut services = Vec::new();
        for _ in 0..if database.starts_with("postgres") { 2 } else { 1 } {
            services.push(Running::start_in(folder.path(), &database, gateway.clone(), Clock::manual(NOW), &[]).await);
        }
        play(services.into_iter().map(Arc::new).collect()).await;
    }
}

fn cold(writer: usize, change: usize) -> String {
    format!("once-{writer}-{change}")
}

fn hot(number: usize) -> String {
    format!("hot-{}", number % HOT)
}

async fn play(services: Vec<Arc<Running>>) {
    let mut installing = JoinSet::new();
    for writer in 0..WRITERS {
        let service = services[0].clone();
        installing.spawn(async move {
            for change in 0..EACH {
                install(&service, &cold(writer, change)).await;
            }
            if writer < HOT {
                install(&service, &hot(writer)).await;
            }
        });
    }
    while let Some(installed) = installing.join_next().await {
        installed.unwrap();
    }

    let stop = Arc::new(AtomicBool::new(false));
    let devices: Vec<_> = (0..DEVICES)
        .map(|device| {
            let (services, stop) = (services.clone(), stop.clone());
            tokio::spawn(async move { poll(&services, &format!("d{device}"), &stop).await })
        })
        .collect();
    let mut writing = JoinSet::new();
    for writer in 0..WRITERS {
        let service = services[writer % services.len()].clone();
        writing.spawn(async move {
            for change in 0..EACH {
                let points = writer * 1000 + change + 1;
                for serial in [cold(writer, change), hot(writer + change)] {
                    let answer = service.patch(&serial, json!({ "points": points })).await;
                    assert!(answer["tag"].is_string(), "every change has its tag when it is answered: {answer}");
                }
            }
        });
    }
    while let Some(written) = writing.join_next().await {
        written.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    for device in devices {
        let listed = device.await.unwrap();
        for writer in 0..WRITERS {
            for change in 0..EACH {
                let times = listed.get(&cold(writer, change)).map_or(0, |seen| seen.times);
                assert_eq!(times, 1, "{} changed once", cold(writer, change));
            }
        }
        for number in 0..HOT {
            let now = revision(&services[0], &hot(number)).await;
            assert_eq!(listed[&hot(number)].revision, now, "the device has an old version of {}", hot(number));
        }
    }
}

async fn install(service: &Running, serial: &str) {
    let pass: Pass = service.create(serial).await;
    for device in 0..DEVICES {
        let token = push_token(u32::try_from(device).unwrap());
        assert_eq!(service.register(&format!("d{device}"), &pass, &token).await, 201);
    }
}

#[derive(Clone, Copy, Default)]
struct Seen {
    times: u32,
    revision: i64,
}

/// Follows the protocol until it is told to stop and nothing is new.
async fn poll(services: &[Arc<Running>], device: &str, stop: &AtomicBool) -> BTreeMap<String, Seen> {
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    // What the device holds already is no news.
    let mut tag = services[0].list(device, None).await.unwrap().tag;
    assert_eq!(number(&tag), 0, "nothing has changed yet");
    for turn in 0_usize.. {
        let last_round = stop.load(Ordering::SeqCst);
        let service = &services[turn % services.len()];
        match service.list(device, Some(&tag)).await {
            Some(listed) => {
                assert!(number(&listed.tag) > number(&tag), "{} serials under an unmoved tag", listed.serials.len());
                tag = listed.tag;
                for serial in listed.serials {
                    let entry = seen.entry(serial.clone()).or_default();
                    entry.times += 1;
                    if serial.starts_with("hot") {
                        entry.revision = revision(service, &serial).await;
                    }
                }
            }
            None if last_round => break,
            None => tokio::task::yield_now().await,
        }
    }
    seen
}

async fn revision(service: &Running, serial: &str) -> i64 {
    let path = format!("/api/passes/{PASS_TYPE}/{serial}");
    let state: Value = service.api(Method::GET, &path).send().await.unwrap().json().await.unwrap();
    state["revision"].as_i64().unwrap()
}
