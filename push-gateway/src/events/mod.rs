//! What became of pushes, as a durable sequence: webhooks and streams read it by cursors of their own. It is written in the
//! transaction that records the outcome, and only while somebody wants it: a webhook is enabled, or a stream was open within
//! the last day.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::push_api::{Outcome, ReceiptEvent, TargetState};
use tidings_shared::storage::{Database, StorageError};
use tokio::sync::watch;

pub(crate) mod store;
#[cfg(test)]
mod tests;

/// How often it is asked whether events are wanted, and whether another process has written some.
const LOOK: Duration = Duration::from_secs(1);
/// How often old events are removed.
const FORGET: Duration = Duration::from_secs(60);
/// How long events are written after the last stream has ended.
const WANTED_MS: i64 = 86_400_000;

/// Every kind of event.
pub(crate) const KINDS: &[&str] =
    &["push.accepted", "push.dead", "push.expired", "push.unknown", "push.delivered", "push.opened", "push.dismissed"];

/// Stands in the sequence where events were not written, because nobody wanted them.
pub(crate) const MISSED: &str = "missed";

/// How long what is over is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    /// Events.
    pub(crate) events: Duration,
    /// What webhooks never took.
    pub(crate) deliveries: Duration,
}

/// Forgets what is old, until the shutdown.
pub(crate) async fn forget(database: Database, clock: Clock, keep: Keep, shutdown: Shutdown) {
    loop {
        let before =
            |time: Duration| clock.now_ms().saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let forgotten = async {
            store::forget(&database, before(keep.events)).await?;
            crate::webhooks::store::deliveries::forget(&database, before(keep.deliveries)).await
        };
        if let Err(error) = forgotten.await {
            tracing::warn!(%error, "old events cannot be removed; trying again");
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(FORGET) => {}
        }
    }
}

/// One that is to be written.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub(crate) kind: &'static str,
    pub(crate) outcome: Outcome,
}

/// The kind of a final state's event; `None` for states that are not final.
pub(crate) fn kind_of(state: TargetState) -> Option<&'static str> {
    match state {
        TargetState::Accepted => Some("push.accepted"),
        TargetState::Dead => Some("push.dead"),
        TargetState::Expired => Some("push.expired"),
        TargetState::Unknown => Some("push.unknown"),
        TargetState::Queued | TargetState::Sending | TargetState::Retrying => None,
    }
}

/// The kind of a receipt's event.
pub(crate) fn kind_of_receipt(event: ReceiptEvent) -> &'static str {
    match event {
        ReceiptEvent::Delivered => "push.delivered",
        ReceiptEvent::Opened => "push.opened",
        ReceiptEvent::Dismissed => "push.dismissed",
    }
}

/// Whether events are wanted, and word of new ones. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct EventLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    wanted: AtomicBool,
    /// The last number that is known to be written.
    last: watch::Sender<i64>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self(Arc::new(Inner { wanted: AtomicBool::new(false), last: watch::Sender::new(0) }))
    }
}

impl EventLog {
    /// Whether somebody reads events. A webhook that another process has just been told of counts within a second.
    pub(crate) fn wanted(&self) -> bool {
        self.0.wanted.load(Ordering::Relaxed)
    }

    /// Somebody reads from now on.
    pub(crate) fn want(&self) {
        self.0.wanted.store(true, Ordering::Relaxed);
    }

    /// Events up to this number are committed.
    pub(crate) fn written(&self, seq: i64) {
        self.0.last.send_if_modified(|last| {
            let newer = seq > *last;
            *last = (*last).max(seq);
            newer
        });
    }

    /// Sees the number of the last event change.
    pub(crate) fn watch(&self) -> watch::Receiver<i64> {
        self.0.last.subscribe()
    }

    /// A stream is open: events are written for another day. Gives the last number.
    pub(crate) async fn stream_open(&self, database: &Database, now_ms: i64) -> Result<i64, StorageError> {
        let last = store::want_until(database, now_ms.saturating_add(WANTED_MS), now_ms).await?;
        self.want();
        self.written(last);
        Ok(last)
    }

    /// A webhook begins to want events.
    pub(crate) async fn webhook_enabled(&self, database: &Database, now_ms: i64) -> Result<(), StorageError> {
        let last = store::want_until(database, now_ms, now_ms).await?;
        self.want();
        self.written(last);
        Ok(())
    }

    /// Asks the database now and then, until the shutdown.
    pub(crate) async fn follow(self, database: Database, clock: Clock, shutdown: Shutdown) {
        loop {
            match store::clock(&database, clock.now_ms()).await {
                Ok((last, wanted)) => {
                    self.0.wanted.store(wanted, Ordering::Relaxed);
                    self.written(last);
                }
                Err(error) => tracing::debug!(%error, "it cannot be told whether events are wanted"),
            }
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}
