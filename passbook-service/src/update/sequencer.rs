//! Gives tags to committed changes, in batches. One process at a time does it; when that one dies, its lock goes with
//! its connection and the next turn belongs to another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::recent::Recent;
use tidings_shared::storage::StorageError;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::store::{Batch, PassId, Store};

/// While somebody else is the sequencer, their batch is over this soon.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How often a waiting change is looked at when another process may give its tag.
const WAIT_POLL: Duration = Duration::from_millis(50);

/// Changes whose tags are remembered for those who ask a moment later, in each of two generations.
const REMEMBERED: usize = 8192;

/// Wakes the sequencer of this process and waits for tags. Cheap to clone.
#[derive(Clone)]
pub struct TagWaiter {
    wake: Arc<Notify>,
    board: Board,
    patience: Duration,
}

/// Which changes have got which tags from this process, and who waits for one. Cheap to clone.
#[derive(Clone)]
struct Board(Arc<Mutex<Posted>>);

struct Posted {
    given: Recent<String, i64>,
    waiting: HashMap<String, oneshot::Sender<i64>>,
}

impl Board {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Posted { given: Recent::new(REMEMBERED), waiting: HashMap::new() })))
    }

    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, tag: i64, changes: Vec<String>) {
        let mut posted = self.posted();
        for change in changes {
            if let Some(waiting) = posted.waiting.remove(&change) {
                // Whoever has gone needs no answer.
                let _ = waiting.send(tag);
            } else {
                posted.given.touch(change, || tag);
            }
        }
    }

    /// The tag, or somebody who tells it.
    fn ask(&self, change: &str) -> Result<i64, oneshot::Receiver<i64>> {
        let mut posted = self.posted();
        if let Some(tag) = posted.given.peek(change) {
            return Ok(*tag);
        }
        let (told, asked) = oneshot::channel();
        posted.waiting.insert(change.to_owned(), told);
        Err(asked)
    }
}

/// Leaves the board when its owner no longer waits.
struct Leave<'a>(&'a Board, &'a str);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.posted().waiting.remove(self.1);
    }
}

impl TagWaiter {
    /// There is a new change.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until a change of a pass has its tag; `None`: it still has none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wait(&self, store: &Store, id: &PassId, change: &str) -> Result<Option<i64>, StorageError> {
        let deadline = Instant::now() + self.patience;
        let mut asked = match self.board.ask(change) {
            Ok(tag) => return Ok(Some(tag)),
            Err(asked) => asked,
        };
        let _leave = Leave(&self.board, change);
        loop {
            tokio::select! {
                told = &mut asked => if let Ok(tag) = told { return Ok(Some(tag)) },
                // Another process may be the one that gives the tag.
                () = tokio::time::sleep(WAIT_POLL.min(self.patience)) => {}
            }
            if !store.is_waiting(change).await? {
                return Ok(Some(store.tag_of(id).await?));
            }
            if Instant::now() >= deadline {
                return Ok(None);
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
    board: Board,
}

impl Sequencer {
    /// A sequencer, and the handle through which changes wait for it (`patience`: how long).
    #[must_use]
    pub fn new(store: Store, clock: Clock, metrics: Metrics, patience: Duration) -> (Self, TagWaiter) {
        let wake = Arc::new(Notify::new());
        let board = Board::new();
        let sequencer = Self {
            store,
            clock,
            metrics,
            interval: Duration::from_millis(200),
            batch: 500,
            push_interval_ms: 1000,
            pushes: Arc::new(Notify::new()),
            wake: wake.clone(),
            board: board.clone(),
        };
        (sequencer, TagWaiter { wake, board, patience })
    }

    /// Works until the shutdown begins.
    pub async fn run(self, shutdown: Shutdown) {
        let mut failures = 0_u32;
        while !shutdown.is_down() {
            let turn = self.store.give_tags_to(self.batch, self.clock.now_ms(), self.push_interval_ms).await;
            let pause = match turn {
                Ok((Batch::Given { tag, pushes, .. }, changes)) => {
                    failures = 0;
                    self.metrics.last_tag.set(tag);
                    self.board.post(tag, changes);
                    if pushes > 0 {
                        self.pushes.notify_one();
                    }
                    continue;
                }
                Ok((Batch::Busy, _)) => BUSY_PAUSE,
                Ok((Batch::Empty, _)) => self.interval,
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
