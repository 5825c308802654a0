//! Gives tags to committed changes, in batches. One process at a time does it; when that one dies, its lock goes with
//! its connection and the next turn belongs to another.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::StorageError;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::store::{Batch, Store};

/// While somebody else is the sequencer, their batch is over this soon.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How often a waiting change is looked at when another process may give its tag.
const WAIT_POLL: Duration = Duration::from_millis(50);

/// Wakes the sequencer of this process and waits for tags. Cheap to clone.
#[derive(Clone)]
pub struct TagWaiter {
    wake: Arc<Notify>,
    given: watch::Receiver<u64>,
    patience: Duration,
}

impl TagWaiter {
    /// There is a new change.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until a change has its tag; `false`: it still has none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wait(&self, store: &Store, change: &str) -> Result<bool, StorageError> {
        let deadline = Instant::now() + self.patience;
        let mut given = self.given.clone();
        loop {
            given.mark_unchanged();
            if !store.is_waiting(change).await? {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::select! {
                // A closed channel means that the sequencer has ended: then only polling is left.
                Ok(()) = given.changed() => {}
                () = tokio::time::sleep(WAIT_POLL) => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }
}

/// The task that gives tags.
pub struct Sequencer {
    /// The tables.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// How often it looks by itself.
    pub interval: Duration,
    /// Most changes in a batch.
    pub batch: i64,
    /// Least time between two pushes to a device, ms.
    pub push_interval_ms: i64,
    /// Told after each batch that made pushes due.
    pub pushes: Arc<Notify>,
    wake: Arc<Notify>,
    given: watch::Sender<u64>,
}

impl Sequencer {
    /// A sequencer, and the handle through which changes wait for it (`patience`: how long).
    #[must_use]
    pub fn new(store: Store, clock: Clock, metrics: Metrics, patience: Duration) -> (Self, TagWaiter) {
        let wake = Arc::new(Notify::new());
        let (given, receiver) = watch::channel(0);
        let sequencer = Self {
            store,
            clock,
            metrics,
            interval: Duration::from_millis(200),
            batch: 500,
            push_interval_ms: 1000,
            pushes: Arc::new(Notify::new()),
            wake: wake.clone(),
            given,
        };
        (sequencer, TagWaiter { wake, given: receiver, patience })
    }

    /// Works until the shutdown begins.
    pub async fn run(self, shutdown: Shutdown) {
        let mut failures = 0_u32;
        while !shutdown.is_down() {
            let turn = self.store.give_tags(self.batch, self.clock.now_ms(), self.push_interval_ms).await;
            let pause = match turn {
                Ok(Batch::Given { tag, pushes, .. }) => {
                    failures = 0;
                    self.metrics.last_tag.set(tag);
                    self.given.send_modify(|batches| *batches += 1);
                    if pushes > 0 {
                        self.pushes.notify_one();
                    }
                    continue;
                }
                Ok(Batch::Busy) => BUSY_PAUSE,
                Ok(Batch::Empty) => self.interval,
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::error!(%error, "no tags can be given; changes are committed and will be listed once the database answers");
                    }
                    (self.interval * failures.min(25)).min(Duration::from_secs(5))
                }
            };
            tokio::select! {
                () = shutdown.wait() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
