//! The requests: alerts to tokens, no two alike.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidings_shared::clock::Clock;
use tokio::task::JoinSet;

use super::super::door::Door;
use super::stage::KEY;
use super::{Mode, PushBench};

/// How long a sender waits when it is told to come back without a time.
const PAUSE_S: u64 = 1;

/// One notification.
fn notification(number: usize) -> String {
    format!(
        "{{\"to\":{{\"token\":{{\"provider\":\"apns\",\"token\":\"{number:064x}\"}}}},\
         \"push\":{{\"kind\":\"alert\",\"title\":\"Number {number}\",\"body\":\"A text of the usual length, as people write it.\"}},\
         \"ttl\":\"1h\"}}"
    )
}

/// The path and the body of a request for these.
fn request(mode: Mode, numbers: std::ops::Range<usize>) -> (&'static str, String) {
    match mode {
        Mode::Single => ("/v1/notifications", notification(numbers.start)),
        Mode::Batch => {
            let mut body = String::from("{\"notifications\":[");
            for (index, number) in numbers.enumerate() {
                // Writing to a text cannot fail.
                let _ = write!(body, "{}{}", if index == 0 { "" } else { "," }, notification(number));
            }
            body.push_str("]}");
            ("/v1/notifications/batch", body)
        }
    }
}

/// Sends `--pushes` as fast as they are taken; the number of refusals (429, 503) on the way.
///
/// # Errors
/// When something else is refused.
pub(super) async fn fast(http: SocketAddr, load: &PushBench, mode: Mode) -> anyhow::Result<usize> {
    let (connections, size) = match mode {
        Mode::Batch => (4, load.batch),
        Mode::Single => (load.connections, 1),
    };
    let (next, pushes) = (Arc::new(AtomicUsize::new(0)), load.pushes);
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        let next = Arc::clone(&next);
        senders.spawn(async move {
            let mut door = Door::open(http, KEY).await?;
            let mut refused = 0;
            loop {
                let first = next.fetch_add(size, Ordering::Relaxed);
                if first >= pushes {
                    return anyhow::Ok(refused);
                }
                let (path, body) = request(mode, first..(first + size).min(pushes));
                loop {
                    let answer = door.call("POST", path, &body).await?;
                    match answer.status {
                        200 | 202 => break,
                        429 | 503 => refused += 1,
                        status => anyhow::bail!("{status}: {}", String::from_utf8_lossy(&answer.body)),
                    }
                    tokio::time::sleep(Duration::from_secs(answer.retry_after_s().unwrap_or(PAUSE_S))).await;
                }
            }
        });
    }
    let mut refused = 0;
    while let Some(sender) = senders.join_next().await {
        refused += sender??;
    }
    Ok(refused)
}

/// Sends at `--rate` for `--seconds`; by target, when its request was answered (ms since 1970).
///
/// # Errors
/// When a request is refused.
pub(super) async fn steady(http: SocketAddr, load: &PushBench, mode: Mode) -> anyhow::Result<HashMap<String, i64>> {
    /// Requests go out so often.
    const TICKS: usize = 100;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(TICKS).unwrap_or(1));
    let mut doors: Vec<Door> = Vec::new();
    let per_tick = (load.rate / TICKS).max(1);
    let mut sending = JoinSet::new();
    let mut answered = HashMap::new();
    let mut next = load.pushes;
    for _ in 0..load.seconds * TICKS {
        ticks.tick().await;
        let requests = if mode == Mode::Batch { 1 } else { per_tick };
        for _ in 0..requests {
            let size = per_tick / requests;
            let (path, body) = request(mode, next..next + size);
            next += size;
            let door = doors.pop();
            sending.spawn(async move {
                let mut door = match door {
                    Some(door) => door,
                    None => Door::open(http, KEY).await?,
                };
                let answer = door.json("POST", path, &body).await?;
                anyhow::Ok((door, answer, Clock::system().now_ms()))
            });
        }
        while let Some(done) = sending.try_join_next() {
            let (door, answer, at) = done??;
            doors.push(door);
            note(&answer, at, &mut answered);
        }
    }
    while let Some(done) = sending.join_next().await {
        let (_, answer, at) = done??;
        note(&answer, at, &mut answered);
    }
    Ok(answered)
}

fn note(answer: &serde_json::Value, at: i64, answered: &mut HashMap<String, i64>) {
    let single = std::slice::from_ref(answer);
    let results = answer["results"].as_array().map_or(single, Vec::as_slice);
    for result in results {
        let notification = if result["notification"].is_object() { &result["notification"] } else { result };
        for target in notification["targets"].as_array().into_iter().flatten() {
            if let Some(id) = target["id"].as_str() {
                answered.insert(id.to_owned(), at);
            }
        }
    }
}
