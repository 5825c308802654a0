//! Keeps the tables small and says how long the queue is, and whether the database answers.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::health::Dependency;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::{Database, StorageError};

use super::load::Load;
use super::store::upkeep;
use crate::apps::Apps;
use crate::metrics::{Metrics, QueueDepth};

/// How often the queue is measured.
const MEASURE: Duration = Duration::from_secs(5);
/// How often old rows are removed.
const CLEAN: Duration = Duration::from_secs(60);

/// What the janitor needs of the rest.
pub(crate) struct Janitor {
    pub(crate) database: Database,
    pub(crate) apps: Arc<Apps>,
    pub(crate) load: Arc<Load>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    /// How long the records of what is over are kept.
    pub(crate) keep: Duration,
}

/// Works until the shutdown.
pub(crate) async fn run(janitor: Janitor, health: Dependency, shutdown: Shutdown) {
    let mut cleaned: Option<tokio::time::Instant> = None;
    loop {
        let began = tokio::time::Instant::now();
        match janitor.measure().await {
            Ok(()) => health.ready(),
            Err(error) => {
                tracing::warn!(%error, "the queue cannot be measured");
                health.missing(error.to_string());
            }
        }
        // A long queue is measured less often: it must not cost more than a twentieth of the time.
        let pause = MEASURE.max(began.elapsed() * 20);
        if cleaned.is_none_or(|at| at.elapsed() >= CLEAN) {
            cleaned = Some(tokio::time::Instant::now());
            let keep_ms = i64::try_from(janitor.keep.as_millis()).unwrap_or(i64::MAX);
            let now_ms = janitor.clock.now_ms();
            let lanes = janitor.apps.lanes().map(|lane| lane.name.as_str()).collect();
            if let Err(error) = upkeep::clean(&janitor.database, &lanes, now_ms, keep_ms).await {
                tracing::warn!(%error, "old pushes cannot be removed");
            }
        }
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Janitor {
    async fn measure(&self) -> Result<(), StorageError> {
        let before = self.load.before();
        let mut depths = upkeep::depths(&self.database).await?;
        let now_ms = self.clock.now_ms();
        let lengths = depths.iter().map(|depth| (format!("{}:{}", depth.provider, depth.app), depth.length)).collect();
        self.load.measured(&before, &lengths, now_ms);
        for depth in &mut depths {
            let lane = format!("{}:{}", depth.provider, depth.app);
            depth.due_ms = upkeep::oldest_due(&self.database, &lane, now_ms).await?;
        }
        // A lane with nothing in it says so.
        for lane in self.apps.lanes() {
            if !lengths.contains_key(&lane.name) {
                let (provider, app) = (lane.provider.to_string(), lane.app.clone());
                depths.push(QueueDepth { provider, app, length: 0, oldest_ms: now_ms, due_ms: None });
            }
        }
        self.metrics.queue(&depths, now_ms);
        Ok(())
    }
}
