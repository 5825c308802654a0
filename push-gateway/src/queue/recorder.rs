//! Writes results to the database: whatever comes while a transaction is being written goes into the next one.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::storage::Database;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::store::{self, SendResult};
use crate::events::EventLog;

/// The most results that one transaction takes.
const BATCH: usize = 512;
/// How long results are gathered.
const MOMENT: Duration = Duration::from_millis(5);
/// How often a failed write is tried again. After that the leases end and the pushes are sent again.
const WRITES: u32 = 6;

type Recording = (SendResult, Option<WakeLane>);

/// Takes results; cheap to clone. [`Recorder::start`] also gives the tasks, which end when all clones are gone and
/// everything is written.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(mpsc::Sender<Recording>);

/// Told after a result is written that is due again at once.
pub(crate) type WakeLane = Arc<tokio::sync::Notify>;

impl Recorder {
    pub(crate) fn start(database: &Database, clock: &Clock, events: &EventLog) -> (Self, JoinSet<()>) {
        let (results, incoming) = mpsc::channel(BATCH * 4);
        let incoming = Arc::new(Mutex::new(incoming));
        let mut tasks = JoinSet::new();
        for _ in 0..database.turn().writers() {
            tasks.spawn(write(database.clone(), clock.clone(), events.clone(), Arc::clone(&incoming)));
        }
        (Self(results), tasks)
    }

    /// Waits while the database is behind: nothing more is claimed then.
    pub(crate) async fn record(&self, result: SendResult, wake: Option<WakeLane>) {
        // Fails only when the tasks have panicked; the lease then brings the push back.
        let _ = self.0.send((result, wake)).await;
    }
}

async fn write(database: Database, clock: Clock, events: EventLog, incoming: Arc<Mutex<mpsc::Receiver<Recording>>>) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let mine = {
            let mut incoming = incoming.lock().await;
            let Some(first) = incoming.recv().await else { return };
            batch.push(first);
            // Nobody waits for a result to be written: what comes in a moment goes along.
            let _ = tokio::time::timeout(MOMENT, async {
                while batch.len() < BATCH
                    && let Some(next) = incoming.recv().await
                {
                    batch.push(next);
                }
            })
            .await;
            // What comes while it waits for its turn goes along.
            let mine = database.turn().wait().await;
            while batch.len() < BATCH
                && let Ok(next) = incoming.try_recv()
            {
                batch.push(next);
            }
            mine
        };
        let (results, wakes): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        write_batch(&database, &clock, &events, &results).await;
        drop(mine);
        for wake in wakes.into_iter().flatten() {
            wake.notify_one();
        }
    }
}

async fn write_batch(database: &Database, clock: &Clock, events: &EventLog, results: &[SendResult]) {
    let mut pause = Duration::from_millis(100);
    for _ in 0..WRITES {
        match store::record(database, results, events.wanted(), clock.now_ms()).await {
            Ok(last) => {
                if let Some(last) = last {
                    events.written(last);
                }
                return;
            }
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
