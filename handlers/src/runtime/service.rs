//! The runtime: routes, a database and a broker put together.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::health::Health;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::Database;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::backoff::Jitter;
use super::housekeeping::{self, Keep};
use super::marker::{self, Marker, Marks};
use super::metrics::Metrics;
use super::mqtt::{BrokerOptions, Driver, Outlet};
use super::process::{Processor, RetryPolicy};
use super::router::Routes;

/// How the runtime works. The settings `handlers.*` explain each.
#[derive(Clone)]
pub struct Options {
    /// Where the broker is.
    pub broker: BrokerOptions,
    /// The name of the shared subscription: instances of one group share the messages.
    pub group: String,
    /// How many handlers may run at once.
    pub concurrency: usize,
    /// How often and how fast a message is tried again.
    pub retry: RetryPolicy,
    /// How long messages in flight may take after the stop began.
    pub drain: Duration,
    /// How long a handled message is remembered, so that it is not handled again.
    pub keep_processed: Duration,
    /// How long a dead letter is kept.
    pub keep_dead_letters: Duration,
}

/// Routes at work.
pub struct Runtime {
    driver: Driver,
    processor: Arc<Processor>,
    keep: Keep,
    marks: Marks,
}

impl Runtime {
    /// Puts a runtime together; [`Runtime::run`] starts it. It registers `broker` and `database` with `health`.
    #[must_use]
    pub fn new(
        routes: Routes,
        database: Database,
        options: Options,
        health: &Health,
        metrics: &Metrics,
        clock: Clock,
        jitter: Jitter,
    ) -> Self {
        let database_health = health.register("database");
        database_health.ready();
        let broker_health = health.register("broker");
        let (inlet, outlet) = Outlet::new(jitter.clone(), metrics.clone());
        let (marker, marks) = Marker::new();
        let processor = Arc::new(Processor {
            routes,
            database,
            group: options.group.into(),
            clock,
            jitter,
            retry: options.retry,
            permits: Semaphore::new(options.concurrency.max(1)),
            outlet,
            marker,
            metrics: metrics.clone(),
            database_health,
            stop: CancellationToken::new(),
        });
        let keep =
            Keep { processed_ms: in_ms(options.keep_processed), dead_letters_ms: in_ms(options.keep_dead_letters) };
        let driver = Driver::new(options.broker, processor.clone(), inlet, broker_health, options.drain);
        Self { driver, processor, keep, marks }
    }

    /// Handles messages until the shutdown; then finishes what is in flight, for the drain time at most.
    pub async fn run(self, shutdown: Shutdown) {
        // They end with this function, however it ends.
        let mut beside = JoinSet::new();
        beside.spawn(housekeeping::tidy(self.processor.clone(), self.keep));
        beside.spawn(marker::run(self.marks, self.processor.clone()));
        beside.spawn(housekeeping::replays(self.processor));
        self.driver.run(&shutdown).await;
    }
}

fn in_ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
