//! Devices that are not there any more: who does not answer many pushes over many days, or whose token Apple calls gone, is
//! set apart; who stays silent is forgotten.

mod outcomes;
mod sse;

use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::StorageError;

pub use outcomes::Follower;

use crate::metrics::Metrics;
use crate::store::Store;

/// The lease of whoever prunes.
const LEASE: &str = "pruning";
const LEASE_MS: i64 = 120_000;
/// Devices of one transaction.
const PORTION: i64 = 500;

/// When devices are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Unanswered pushes, at least.
    pub unanswered: i64,
    /// Not heard of for this long, ms.
    pub silent_ms: i64,
    /// In quarantine for this long, ms; then it is forgotten.
    pub quarantine_ms: i64,
    /// How often it is looked.
    pub every: Duration,
}

/// The task.
pub struct Pruner {
    /// The tables.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// Names this process.
    pub process: String,
    /// When devices are given up.
    pub limits: Limits,
}

impl Pruner {
    /// Works until the shutdown begins.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            if let Err(error) = self.turn(&shutdown).await {
                tracing::warn!(%error, "devices that do not answer are looked for again later");
            }
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(self.limits.every) => {}
            }
        }
    }

    async fn turn(&self, shutdown: &Shutdown) -> Result<(), StorageError> {
        let (mut apart, mut forgotten) = (0, 0);
        let mut after = Some(String::new());
        while !shutdown.is_down() {
            let now = self.clock.now_ms();
            if !self.store.lease(LEASE, &self.process, now, now + LEASE_MS).await? {
                return Ok(());
            }
            let silent_since = now - self.limits.silent_ms;
            let found = match &after {
                Some(after) => {
                    self.store.quarantine_silent(self.limits.unanswered, silent_since, now, after, PORTION).await?
                }
                None => None,
            };
            let (set, next) = found.map_or((0, None), |(set, last)| (set, Some(last)));
            after = next;
            let gone = self.store.forget_quarantined(now - self.limits.quarantine_ms, PORTION).await?;
            self.metrics.quarantined_silent.inc_by(set);
            self.metrics.devices_forgotten.inc_by(gone);
            (apart, forgotten) = (apart + set, forgotten + gone);
            if after.is_none() && gone == 0 {
                break;
            }
        }
        if apart + forgotten > 0 {
            tracing::info!(quarantined = apart, forgotten, "devices that do not answer were set apart or forgotten");
        }
        self.store.release(LEASE, &self.process).await
    }
}
