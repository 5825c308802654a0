//! Keeps the tables small and says how long the queue is, and whether the database answers.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::health::Dependency;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::Database;

use super::store::upkeep;
use crate::metrics::Metrics;

/// How often the queue is measured.
const MEASURE: Duration = Duration::from_secs(5);
/// How often old rows are removed.
const CLEAN: Duration = Duration::from_secs(60);

/// Works until the shutdown.
pub(crate) async fn run(
    database: Database,
    metrics: Arc<Metrics>,
    clock: Clock,
    keep: Duration,
    health: Dependency,
    shutdown: Shutdown,
) {
    let mut cleaned: Option<tokio::time::Instant> = None;
    loop {
        match upkeep::depths(&database).await {
            Ok(depths) => {
                metrics.queue(&depths, clock.now_ms());
                health.ready();
            }
            Err(error) => {
                tracing::warn!(%error, "the queue cannot be measured");
                health.missing(error.to_string());
            }
        }
        if cleaned.is_none_or(|at| at.elapsed() >= CLEAN) {
            cleaned = Some(tokio::time::Instant::now());
            let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
            if let Err(error) = upkeep::clean(&database, clock.now_ms(), keep_ms).await {
                tracing::warn!(%error, "old pushes cannot be removed");
            }
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(MEASURE) => {}
        }
    }
}
