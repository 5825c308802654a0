//! What goes on beside the messages: replays, forgotten publishes, and forgetting.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::message_id::MessageId;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::metrics::Finished;
use super::process::{Job, Processor};
use super::publisher;
use super::store::{dead_letters, processed};

/// How often to look for replays that somebody has asked for.
const LOOK_FOR_REPLAYS: Duration = Duration::from_secs(2);
/// How often to look for publishes that were left over, and for what can be forgotten.
const TIDY: Duration = Duration::from_secs(60);
/// A publish that has waited so long belongs to a message that the broker has not delivered again.
const LEFT_OVER_AFTER_MS: i64 = 5 * 60_000;
/// A replay that has not ended in this time was abandoned by an instance that is no more.
const ABANDONED_AFTER_MS: i64 = 15 * 60_000;

/// How long things are kept, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    pub(super) processed_ms: i64,
    pub(super) dead_letters_ms: i64,
}

/// Takes up the replays that somebody has asked for, one after the other.
pub(super) async fn replays(processor: Arc<Processor>) {
    let mut tick = interval(LOOK_FOR_REPLAYS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !processor.stop.is_cancelled() {
        tokio::select! {
            _ = tick.tick() => {}
            () = processor.stop.cancelled() => return,
        }
        while let Some(letter) = next_replay(&processor).await {
            let id = publisher::replay_id(&letter.message_id, letter.replays);
            let original = letter.message_id.clone();
            let job = Job { message: letter.message.clone(), id, replay: Some(letter) };
            match processor.handle(&job).await {
                Finished::Handled | Finished::Duplicate => {
                    info!(%original, "a dead letter was replayed and is handled now");
                    resolve(&processor, &original).await;
                }
                Finished::Dead => {}
                Finished::Abandoned => return,
            }
        }
    }
}

async fn next_replay(processor: &Processor) -> Option<dead_letters::DeadLetter> {
    processor
        .steadily(|| {
            let now = processor.clock.now_ms();
            dead_letters::take_replay(&processor.database, &processor.group, now - ABANDONED_AFTER_MS, now)
        })
        .await?
}

async fn resolve(processor: &Processor, original: &MessageId) {
    processor.steadily(|| dead_letters::resolved(&processor.database, &processor.group, original)).await;
}

/// Publishes what was left over, and forgets what is old.
pub(super) async fn tidy(processor: Arc<Processor>, keep: Keep) {
    let mut tick = interval(TIDY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !processor.stop.is_cancelled() {
        tokio::select! {
            _ = tick.tick() => {}
            () = processor.stop.cancelled() => return,
        }
        tokio::select! {
            () = tidy_once(&processor, keep) => {}
            () = processor.stop.cancelled() => return,
        }
    }
}

pub(super) async fn tidy_once(processor: &Processor, keep: Keep) {
    let (database, group) = (&processor.database, &processor.group);
    let now = processor.clock.now_ms();
    let waiting = processor.steadily(|| processed::waiting(database, group, now - LEFT_OVER_AFTER_MS, 100)).await;
    for (id, outbox) in waiting.unwrap_or_default() {
        let Ok(id) = MessageId::new(&id) else { continue };
        if let Err(refused) = processor.outlet.publish_all(&outbox).await {
            warn!(%id, %refused, "what was left to publish is given up");
        }
        if processor.marker.published(&id).await.is_none() {
            return;
        }
    }
    let forgotten = processor.steadily(|| processed::forget(database, group, now - keep.processed_ms)).await;
    let letters = processor.steadily(|| dead_letters::forget(database, group, now - keep.dead_letters_ms)).await;
    if let Some(letters) = letters.filter(|letters| *letters > 0) {
        warn!(letters, "dead letters were deleted because they are older than handlers.dead_letters.keep");
    }
    if let Some(dead) = processor.steadily(|| dead_letters::count(database)).await {
        processor.metrics.dead_letters.set(dead);
    }
    tracing::debug!(forgotten, "forgot messages that were done long ago");
}
