//! Changes of many passes at once: durable, taken up again by whoever is there when a process dies, and never doubled: a
//! pass that has the change already stays as it is.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::StorageError;
use tokio::sync::Notify;
use uuid::Uuid;

use super::change::{ChangeError, Patch};
use super::passes::Passes;
use crate::store::{Job, JobFault, PassId, PassQuery, Store};

/// How many passes between two notes of how far a job is.
const PAGE: i64 = 100;
/// How many passes are changed at the same time, at most.
const MOST_AT_ONCE: u32 = 16;
/// How long a process may be silent before another takes its job over.
const LEASE_MS: i64 = 60_000;
/// How often jobs of processes that died are looked for.
const LOOK: Duration = Duration::from_secs(2);
/// How many faults a job remembers.
const MOST_FAULTS: usize = 20;
/// How long ended jobs are kept.
const KEPT_MS: i64 = 30 * 86_400_000;

/// The jobs of this process.
#[derive(Clone)]
pub struct Jobs {
    store: Store,
    clock: Clock,
    wake: Arc<Notify>,
    /// How many passes are changed at the same time.
    at_once: usize,
}

impl Jobs {
    /// Jobs in this database.
    #[must_use]
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, wake: Arc::default(), at_once: 1 }
    }

    /// With a database of so many connections: a quarter of them is used, so that phones need not wait; one where there
    /// is one writer at a time.
    #[must_use]
    pub fn with_connections(mut self, connections: u32) -> Self {
        let most = if self.store.has_one_writer() { 1 } else { (connections / 4).clamp(1, MOST_AT_ONCE) };
        self.at_once = usize::try_from(most).unwrap_or(1);
        self
    }

    /// Stores a job; it is worked on after that.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn start(&self, query: PassQuery, change: Patch) -> Result<Job, StorageError> {
        let now_ms = self.clock.now_ms();
        let job = Job {
            id: Uuid::now_v7().to_string(),
            query,
            change,
            state: "running".to_owned(),
            total: -1,
            done: 0,
            changed: 0,
            failed: 0,
            faults: Vec::new(),
            after: None,
            created_at: now_ms,
            updated_at: now_ms,
            leased_until: 0,
        };
        self.store.insert_job(&job).await?;
        self.wake.notify_one();
        Ok(job)
    }

    /// Works on jobs until the shutdown.
    pub async fn run(self, passes: impl AsRef<Passes>, shutdown: Shutdown) {
        while !shutdown.is_down() {
            let now_ms = self.clock.now_ms();
            match self.store.claim_job(now_ms, now_ms + LEASE_MS).await {
                Ok(Some(job)) => {
                    let id = job.id.clone();
                    self.count(&job);
                    match self.work(job, passes.as_ref(), &shutdown).await {
                        Ok(()) => continue,
                        Err(error) => {
                            tracing::error!(%error, job = id, "a change of many passes stands still; it is taken up again")
                        }
                    }
                }
                Ok(None) => {
                    if let Err(error) = self.store.forget_jobs(now_ms - KEPT_MS).await {
                        tracing::warn!(%error, "ended jobs cannot be forgotten");
                    }
                }
                Err(error) => tracing::error!(%error, "jobs cannot be looked for; trying again"),
            }
            tokio::select! {
                () = shutdown.wait() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Counts a job's passes beside the work: that may take a minute.
    fn count(&self, job: &Job) {
        if job.total >= 0 {
            return;
        }
        let (store, id, query) = (self.store.clone(), job.id.clone(), job.query.clone());
        tokio::spawn(async move {
            let counted = match store.count_passes(&query).await {
                Ok(total) => store.set_job_total(&id, total).await,
                Err(error) => Err(error),
            };
            if let Err(error) = counted {
                tracing::warn!(%error, job = id, "the passes of a job cannot be counted");
            }
        });
    }

    async fn work(&self, mut job: Job, passes: &Passes, shutdown: &Shutdown) -> Result<(), StorageError> {
        loop {
            let page = self.store.find_passes(&job.query, job.after.as_ref(), PAGE).await?;
            let last = page.last().cloned();
            let change = &job.change;
            let outcomes: Vec<_> = stream::iter(page)
                .map(|id| async move { (passes.patch_and_go(&id, change).await, id) })
                .buffered(self.at_once)
                .collect()
                .await;
            for (outcome, id) in outcomes {
                job.done += 1;
                match outcome {
                    Ok(stored) => job.changed += i64::from(stored.change.is_some()),
                    // Somebody deleted it meanwhile.
                    Err(ChangeError::NoPass) => {}
                    // A row that nobody can read would hold the job for ever.
                    Err(ChangeError::Storage(error)) if !matches!(error, StorageError::Corrupt(_)) => {
                        return Err(error);
                    }
                    Err(error) => note(&mut job, &id, &error),
                }
            }
            job.updated_at = self.clock.now_ms();
            let ended = last.is_none();
            if let Some(last) = last {
                job.after = Some(last);
            }
            if ended {
                "done".clone_into(&mut job.state);
            }
            // At a stop the lease is given back, so that another process need not wait for its end.
            let until = if ended || shutdown.is_down() { 0 } else { job.updated_at + LEASE_MS };
            let saved = self.store.save_job(&job, until).await?;
            if saved && ended {
                // Passes that the query found only until they were changed were looked at, and maybe not counted.
                self.store.set_job_total(&job.id, job.done).await?;
            }
            if !saved || until == 0 {
                return Ok(());
            }
            job.leased_until = until;
        }
    }
}

fn note(job: &mut Job, id: &PassId, error: &ChangeError) {
    job.failed += 1;
    if job.faults.len() < MOST_FAULTS {
        job.faults.push(JobFault {
            pass_type_identifier: id.pass_type.clone(),
            serial_number: id.serial.clone(),
            message: error.to_string(),
        });
    }
}
