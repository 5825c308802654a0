//! What the tests of several rooms share: a provider that answers as it is told, and shorthands.

mod simulation;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidings_shared::clock::Clock;
use tidings_shared::identity::UserId;
use tidings_shared::push_api::{Environment, Priority, Provider, Push, TargetState, TokenTarget};
use tidings_shared::storage::Database;

use crate::devices::store::Outcome as Stored;
use crate::devices::{self, Registered, Registration};
use crate::ids::Ids;
use crate::provider::{Answer, Message, Outcome, PushProvider, Refusal};
use crate::queue::{NewNotification, NewTarget, store};

pub(crate) use simulation::Simulation;

pub(crate) const START: i64 = 1_700_000_000_000;
pub(crate) const DAY: i64 = 86_400_000;

/// Gives the prepared answers in order, then accepts; remembers what it was sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeProvider {
    pub(crate) answers: Arc<Mutex<VecDeque<Answer>>>,
    pub(crate) sent: Arc<Mutex<Vec<Message>>>,
    pub(crate) no_sandbox: bool,
    /// Never answers.
    pub(crate) silent: bool,
}

impl FakeProvider {
    pub(crate) fn will_answer(&self, outcome: Outcome, reason: &str) {
        self.answers.lock().unwrap().push_back(answer(outcome, reason));
    }

    pub(crate) fn sent(&self) -> Vec<Message> {
        self.sent.lock().unwrap().clone()
    }
}

impl PushProvider for FakeProvider {
    fn send<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            self.sent.lock().unwrap().push(message.clone());
            if self.silent {
                std::future::pending::<()>().await;
            }
            let prepared = self.answers.lock().unwrap().pop_front();
            prepared.unwrap_or_else(|| Answer {
                outcome: Outcome::Accepted,
                status: Some(200),
                reason: None,
                provider_id: Some(message.id.clone()),
            })
        })
    }

    fn check(&self, push: &Push, collapse_id: Option<&str>) -> Result<(), Refusal> {
        crate::provider::check(Provider::Apns, push, collapse_id)
    }

    fn serves(&self, environment: Environment) -> bool {
        environment == Environment::Production || !self.no_sandbox
    }
}

pub(crate) fn answer(outcome: Outcome, reason: &str) -> Answer {
    Answer { outcome, status: Some(400), reason: Some(reason.to_owned()), provider_id: None }
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

pub(crate) fn registration(owner: &str, device: &str, token: &str) -> Registration {
    Registration {
        user: user(owner),
        device: device.to_owned(),
        client: Some(format!("{owner}-{device}")),
        provider: Provider::Apns,
        app: "default".to_owned(),
        environment: Environment::Production,
        token: token.to_owned(),
        described: devices::Description::default(),
    }
}

pub(crate) async fn register(database: &Database, wanted: &Registration, clock: &Clock) -> Registered {
    let id = Ids::new(clock.clone()).next();
    match devices::store::register(database, wanted, &id, 32, clock.now_ms()).await.unwrap() {
        Stored::Created(registered) | Stored::Updated(registered) => registered,
        Stored::TooMany => panic!("too many devices"),
    }
}

pub(crate) async fn devices_of(database: &Database, owner: &str) -> Vec<Registered> {
    let mut connection = database.pool().acquire().await.unwrap();
    devices::store::of_user(&mut connection, &user(owner)).await.unwrap()
}

/// Stores a wake push for a device and gives `(notification, target)`.
pub(crate) async fn enqueue(database: &Database, device: &Registered, clock: &Clock) -> (String, String) {
    enqueue_until(database, device, clock, clock.now_ms() + DAY).await
}

pub(crate) async fn enqueue_until(
    database: &Database,
    device: &Registered,
    clock: &Clock,
    expires_at: i64,
) -> (String, String) {
    let ids = Ids::new(clock.clone());
    let notification = NewNotification {
        id: ids.next(),
        push: Arc::new(Push::Wake {}),
        collapse_id: None,
        created_at: clock.now_ms(),
        expires_at,
        priority: Priority::Normal,
        localized: None,
    };
    let target = NewTarget::of_device(ids.next(), device);
    let mut transaction = database.begin().await.unwrap();
    store::insert(&mut transaction, &notification, std::slice::from_ref(&target)).await.unwrap();
    transaction.commit().await.unwrap();
    (notification.id, target.id)
}

/// The one target of a notification.
pub(crate) async fn target(database: &Database, notification: &str) -> tidings_shared::push_api::Target {
    let found = store::find(database, notification).await.unwrap().unwrap();
    assert_eq!(found.targets.len(), 1);
    found.targets.into_iter().next().unwrap()
}

/// Waits until a notification's one target is in a state; fails after a while with the state that it is in.
pub(crate) async fn reaches(
    database: &Database,
    notification: &str,
    state: TargetState,
) -> tidings_shared::push_api::Target {
    let found =
        eventually(async || Some(target(database, notification).await).filter(|found| found.state == state)).await;
    match found {
        Some(found) => found,
        None => panic!("expected {state:?}, found {:?}", target(database, notification).await),
    }
}

/// Asks until there is an answer, for ten seconds at most.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    for _ in 0..1000 {
        if let Some(found) = ask().await {
            return Some(found);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// The ids of all notifications, oldest first.
pub(crate) async fn notifications(database: &Database) -> Vec<String> {
    use sqlx::Row;

    let rows = sqlx::query("SELECT id FROM push_notifications ORDER BY created_at, id")
        .fetch_all(database.pool())
        .await
        .unwrap();
    rows.iter().map(|row| row.get("id")).collect()
}

/// How many pushes were ever made for a registration.
pub(crate) async fn pushes_to(database: &Database, device: &str) -> i64 {
    use sqlx::Row;

    let row = sqlx::query("SELECT COUNT(*) AS pushes FROM push_targets WHERE device_id = $1");
    row.bind(device).fetch_one(database.pool()).await.unwrap().get("pushes")
}

/// What the routes of the registry need; webhooks may be on this machine.
pub(crate) fn rooms(clock: &Clock) -> crate::api::rooms::Rooms {
    use crate::webhooks::WebhookSettings;
    use crate::webhooks::deliver::Courier;

    let policy = tidings_shared::http::egress::EgressPolicy { allow_private: true };
    crate::api::rooms::Rooms {
        events: crate::events::EventLog::default(),
        templates: crate::templates::Cache::default(),
        courier: Courier {
            client: policy.client(None, Duration::from_secs(5)).unwrap(),
            policy,
            clock: clock.clone(),
            metrics: Arc::default(),
            settings: WebhookSettings {
                disable_after: Duration::from_secs(5 * 86_400),
                secret_overlap: Duration::from_secs(86_400),
                timeout: Duration::from_secs(5),
                concurrency: 4,
            },
            changed: Arc::default(),
        },
        expand: Arc::default(),
        shutdown: tidings_shared::lifecycle::Shutdown::new(),
        heartbeat: Duration::from_secs(1),
        gorush: crate::api::gorush::GorushSettings {
            enabled: true,
            key: Some("gorush-key".to_owned()),
            app: "default".to_owned(),
            production: true,
            topics: [("org.example.app".to_owned(), "default".to_owned())].into(),
        },
    }
}

/// An APNs token of the default app.
pub(crate) fn token_target(token: &str) -> TokenTarget {
    TokenTarget {
        provider: Provider::Apns,
        app: "default".to_owned(),
        token: token.to_owned(),
        environment: Environment::Production,
        registered_at_ms: None,
    }
}

/// Says where a device is.
pub(crate) async fn set_time_zone(database: &Database, device: &str, zone: Option<&str>) {
    let sql = "UPDATE push_devices SET time_zone = $1 WHERE device = $2";
    sqlx::query(sql).bind(zone).bind(device).execute(database.pool()).await.unwrap();
}
