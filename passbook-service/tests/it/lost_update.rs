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

/// By hand, in a release build: `cargo test --release --workspace --test it -- --ignored changes_a_second --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn changes_a_second_of_sixteen_writers() {
    use tidings_passbook_service::package::PassState;
    use tidings_passbook_service::store::{Batch, NewPass, PassId, PassUpdate, Store};

    const WRITERS: usize = 16;
    const EACH: usize = 1500;
    for database in tidings_shared::storage::testing::databases().await {
        let store = Store::new(database.clone());
        store.start_clock("e").await.unwrap();
        let id = |writer: usize| PassId { pass_type: "pass.a".to_owned(), serial: format!("s{writer}") };
        for writer in 0..WRITERS {
            let pass = NewPass {
                id: id(writer),
                template: "example".to_owned(),
                fields: serde_json::Map::new(),
                user_info: None,
                state: PassState::NONE,
                token_hash: "h".to_owned(),
                token_nonce: None,
                basis: "b".to_owned(),
                fingerprint: "0".to_owned(),
            };
            assert!(store.insert_pass(&pass, 0).await.unwrap());
        }
        let started = tokio::time::Instant::now();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, id) = (store.clone(), id(writer));
                tokio::spawn(async move {
                    for number in 1..=EACH {
                        let stored = store
                            .update_pass::<()>(&id, 1_790_000_000_000, |pass| {
                                Ok(Some(PassUpdate {
                                    fields: pass.fields.clone(),
                                    user_info: None,
                                    state: pass.state.clone(),
                                    basis: pass.basis.clone(),
                                    fingerprint: number.to_string(),
                                    keep: 50,
                                }))
                            })
                            .await
                            .unwrap()
                            .unwrap()
                            .unwrap();
                        assert!(stored.change.is_some());
                    }
                })
            })
            .collect();
        let tagging = {
            let store = store.clone();
            tokio::spawn(async move {
                let mut given = 0;
                while given < (WRITERS * EACH) as u64 {
                    if let Batch::Given { changes, .. } = store.give_tags(500, 0, 0).await.unwrap() {
                        given += changes;
                    }
                }
            })
        };
        for writer in writers {
            writer.await.unwrap();
        }
        let committed = started.elapsed();
        tagging.await.unwrap();
        let all = (WRITERS * EACH) as f64;
        println!(
            "{:?}: {:.0} changes/s committed, {:.0} changes/s with their tags",
            database.dialect(),
            all / committed.as_secs_f64(),
            all / started.elapsed().as_secs_f64()
        );
        for writer in 0..WRITERS {
            assert_eq!(store.pass(&id(writer)).await.unwrap().unwrap().revision, 1 + EACH as i64, "none is lost");
        }
    }
}
