//! Promise: with sixteen writers and devices that poll all the time, no update is lost, and no tag stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tidings_shared::clock::Clock;
use tidings_shared::storage::testing;

use crate::support::{Gateway, NOW, PASS_TYPE, Running, number, push_token};

const WRITERS: u32 = 16;
const PASSES: u32 = 24;
const DEVICES: u32 = 4;
const CHANGES: u32 = 12;

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

async fn play(services: Vec<Arc<Running>>) {
    for number in 0..PASSES {
        let pass = services[0].create(&number.to_string()).await;
        for device in 0..DEVICES {
            assert_eq!(services[0].register(&format!("d{device}"), &pass, &push_token(device)).await, 201);
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let devices: Vec<_> = (0..DEVICES)
        .map(|device| {
            let (services, stop) = (services.clone(), stop.clone());
            tokio::spawn(async move { poll(&services, &format!("d{device}"), &stop).await })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let service = services[writer as usize % services.len()].clone();
            tokio::spawn(async move {
                for change in 0..CHANGES {
                    // Some passes are hot, and each change writes another value.
                    let serial = (writer * 7 + change * 5) % if change % 3 == 0 { 4 } else { PASSES };
                    let value = i64::from(writer * 1000 + change + 1);
                    let answer = service.patch(&serial.to_string(), json!({ "points": value })).await;
                    assert!(answer["tag"].is_string(), "every change has its tag when it is answered: {answer}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    for device in devices {
        let seen = device.await.unwrap();
        for number in 0..PASSES {
            let now = revision(&services[0], &number.to_string()).await;
            assert_eq!(seen[number as usize], now, "pass {number}: the device has another version than the service");
        }
    }
}

/// Follows the protocol until it is told to stop and nothing is new; answers the revision that it has of each pass.
async fn poll(services: &[Arc<Running>], device: &str, stop: &AtomicBool) -> Vec<i64> {
    let mut seen = vec![0; PASSES as usize];
    let mut tag: Option<String> = None;
    let mut turn = 0;
    loop {
        let last_round = stop.load(Ordering::SeqCst);
        turn += 1;
        let service = &services[turn % services.len()];
        match service.list(device, tag.as_deref()).await {
            Some(listed) => {
                if let Some(tag) = &tag {
                    assert!(
                        number(&listed.tag) > number(tag),
                        "{} serials under a tag that stands still",
                        listed.serials.len()
                    );
                }
                tag = Some(listed.tag);
                for serial in listed.serials {
                    seen[serial.parse::<usize>().unwrap()] = revision(service, &serial).await;
                }
            }
            None if last_round => return seen,
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}

async fn revision(service: &Running, serial: &str) -> i64 {
    let path = format!("/api/passes/{PASS_TYPE}/{serial}");
    let state: Value = service.api(Method::GET, &path).send().await.unwrap().json().await.unwrap();
    state["revision"].as_i64().unwrap()
}
