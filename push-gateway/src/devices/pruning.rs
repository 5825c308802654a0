//! Forgets devices: those whose quarantine is over, and those that nobody has heard of for long.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::{Database, StorageError};

use super::store::prune;
use crate::metrics::Metrics;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(600);

/// When devices are forgotten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PruningSettings {
    /// How long after the provider called the token gone.
    pub(crate) quarantine: Duration,
    /// How long after the device was last heard of; never when `None`.
    pub(crate) unseen: Option<Duration>,
}

/// Works until the shutdown.
pub(crate) async fn run(
    database: Database,
    metrics: Arc<Metrics>,
    clock: Clock,
    settings: PruningSettings,
    shutdown: Shutdown,
) {
    loop {
        if let Err(error) = prune(&database, &metrics, clock.now_ms(), settings).await {
            tracing::warn!(%error, "old devices cannot be removed; trying again in {EVERY:?}");
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

#[cfg(test)]
mod tests;

/// One look.
pub(crate) async fn prune(
    database: &Database,
    metrics: &Metrics,
    now_ms: i64,
    settings: PruningSettings,
) -> Result<(), StorageError> {
    let before = |time: Duration| now_ms.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    let gone = prune::remove_quarantined(database, before(settings.quarantine)).await?;
    let unseen = match settings.unseen {
        Some(time) => prune::remove_unseen(database, before(time)).await?,
        None => 0,
    };
    metrics.registry.pruned("token_gone", gone);
    metrics.registry.pruned("unseen", unseen);
    if gone + unseen > 0 {
        tracing::info!(gone, unseen, "devices were forgotten");
    }
    Ok(())
}
