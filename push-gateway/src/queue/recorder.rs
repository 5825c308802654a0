//! Writes results to the database: many workers, one transaction at a time for all that has come in.

use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::storage::Database;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::store::{self, SendResult};

/// The most results that one transaction takes.
const BATCH: usize = 256;
/// How often a failed write is tried again. After that the leases end and the pushes are sent again.
const WRITES: u32 = 6;

/// Takes results; cheap to clone. [`Recorder::start`] also gives the task, which ends when all clones are gone and
/// everything is written.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(mpsc::Sender<(SendResult, Option<WakeLane>)>);

/// Told after a result is written that is due again at once.
pub(crate) type WakeLane = std::sync::Arc<tokio::sync::Notify>;

impl Recorder {
    pub(crate) fn start(database: Database, clock: Clock) -> (Self, JoinHandle<()>) {
        let (results, incoming) = mpsc::channel(BATCH * 4);
        (Self(results), tokio::spawn(write(database, clock, incoming)))
    }

    /// Waits while the database is behind: nothing more is claimed then.
    pub(crate) async fn record(&self, result: SendResult, wake: Option<WakeLane>) {
        // Fails only when the task has panicked; the lease then brings the push back.
        let _ = self.0.send((result, wake)).await;
    }
}

async fn write(database: Database, clock: Clock, mut incoming: mpsc::Receiver<(SendResult, Option<WakeLane>)>) {
    let mut batch = Vec::with_capacity(BATCH);
    while incoming.recv_many(&mut batch, BATCH).await > 0 {
        let (results, wakes): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        write_batch(&database, &clock, &results).await;
        for wake in wakes.into_iter().flatten() {
            wake.notify_one();
        }
    }
}

async fn write_batch(database: &Database, clock: &Clock, results: &[SendResult]) {
    let mut pause = Duration::from_millis(100);
    for _ in 0..WRITES {
        match store::record(database, results, clock.now_ms()).await {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(%error, results = results.len(), "push results could not be written; trying again")
            }
        }
        tokio::time::sleep(pause).await;
        pause *= 3;
    }
    tracing::error!(
        results = results.len(),
        "push results are lost: these pushes are sent again when their leases end"
    );
}
