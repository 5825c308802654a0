//! A broker, phones and handlers for tests.

mod mosquitto;
mod phone;

use std::sync::Arc;
use std::time::Duration;

use tidings_handlers::runtime::{BrokerOptions, Jitter, Metrics, Options, RetryPolicy, Router, Runtime};
use tidings_shared::broker_address::BrokerAddress;
use tidings_shared::clock::Clock;
use tidings_shared::health::Health;
use tidings_shared::identity::UserId;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::Database;
use tokio::task::JoinHandle;

pub(crate) use mosquitto::Mosquitto;
pub(crate) use phone::Phone;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A runtime at work.
pub(crate) struct Handlers {
    pub(crate) shutdown: Shutdown,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    task: JoinHandle<()>,
}

impl Handlers {
    /// Starts the routes and waits until they are subscribed.
    pub(crate) async fn start(router: Router, database: &Database, broker: &Mosquitto) -> Self {
        let handlers = Self::begin(router, database, options(broker));
        handlers.ready().await;
        handlers
    }

    pub(crate) fn begin(router: Router, database: &Database, options: Options) -> Self {
        let (health, metrics, shutdown) = (Health::default(), Metrics::default(), Shutdown::new());
        let routes = router.build().unwrap();
        let runtime =
            Runtime::new(routes, database.clone(), options, &health, &metrics, Clock::system(), Jitter::from_seed(1));
        let task = tokio::spawn(runtime.run(shutdown.clone()));
        Self { shutdown, health, metrics, task }
    }

    pub(crate) async fn ready(&self) {
        until("the handlers are ready", async || self.health.missing().is_empty()).await;
    }

    /// Stops softly and waits for the end.
    pub(crate) async fn stop(self) {
        self.shutdown.begin();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the handlers stop in time").unwrap();
    }

    /// Ends as a crash does: nothing is finished, nothing is said to the broker.
    pub(crate) async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Fast retries, and everything else as the settings have it.
pub(crate) fn options(broker: &Mosquitto) -> Options {
    Options {
        broker: BrokerOptions {
            address: BrokerAddress { host: "127.0.0.1".to_owned(), port: broker.port(), tls: false },
            tls: None,
            keys: vec!["key".to_owned()],
            client_id: "handlers-1".to_owned(),
            session_expiry: Duration::from_secs(3600),
            receive_maximum: 64,
            largest_packet: 1 << 20,
        },
        group: "handlers".to_owned(),
        concurrency: 16,
        retry: RetryPolicy {
            attempts: 4,
            first: Duration::from_millis(5),
            longest: Duration::from_millis(40),
            unavailable_for: Duration::from_secs(30),
        },
        drain: Duration::from_secs(10),
        keep_processed: Duration::from_secs(3600),
        keep_dead_letters: Duration::from_secs(3600),
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited too long until {what}");
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

/// A fresh SQLite database.
pub(crate) async fn database() -> Database {
    tidings_shared::storage::testing::databases().await.swap_remove(0)
}

/// Something that handlers and the test share.
pub(crate) type Shared<T> = Arc<std::sync::Mutex<T>>;

pub(crate) fn shared<T>(value: T) -> Shared<T> {
    Arc::new(std::sync::Mutex::new(value))
}
