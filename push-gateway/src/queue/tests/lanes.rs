use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::push_api::{Environment, Provider, TargetState};
use tidings_shared::storage::Database;
use tidings_shared::storage::testing::databases;
use tokio::task::{JoinHandle, JoinSet};

use crate::devices::{self, Registration};
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::provider::{Outcome, PushProvider, Retry};
use crate::queue::lane::{Allowance, Lane, LaneSettings, Surroundings};
use crate::queue::{Recorder, RetryPolicy};
use crate::send::BreakerSettings;
use crate::testing::{
    FakeProvider, devices_of, enqueue, enqueue_until, eventually, reaches, register, registration, target, user,
};

pub(super) struct Running {
    pub(super) lane: Arc<Lane>,
    shutdown: Shutdown,
    work: JoinHandle<()>,
    recording: JoinSet<()>,
}

impl Running {
    pub(super) async fn stop(self) {
        self.shutdown.begin();
        self.work.await.unwrap();
        assert!(self.recording.join_all().await.len() <= 2);
    }
}

pub(super) fn settings(recheck: Duration) -> LaneSettings {
    LaneSettings {
        concurrency: 8,
        reserved: 1,
        per_second: 0,
        per_device: 0,
        device_window: Duration::from_secs(60),
        breaker: BreakerSettings {
            failures: 1000,
            window: Duration::from_secs(60),
            pause: Duration::from_secs(1),
            longest: Duration::from_secs(1),
        },
        lease: Duration::from_secs(2),
        recheck,
        drain: Duration::from_millis(200),
        retry: RetryPolicy {
            first: Duration::from_millis(20),
            longest: Duration::from_millis(50),
            give_up: Duration::from_secs(3600),
        },
    }
}

fn start(database: &Database, provider: &FakeProvider, recheck: Duration) -> Running {
    start_with(database, Arc::new(provider.clone()), settings(recheck))
}

pub(super) fn start_with(database: &Database, provider: Arc<dyn PushProvider>, settings: LaneSettings) -> Running {
    let clock = Clock::system();
    let (recorder, recording) = Recorder::start(database, &clock, &crate::events::EventLog::default());
    let around = Surroundings {
        database: database.clone(),
        load: Arc::default(),
        recorder,
        clock: clock.clone(),
        ids: Ids::new(clock),
        metrics: Arc::new(Metrics::register(&mut Registry::default())),
        settings,
    };
    let lane = Arc::new(Lane::new(Provider::Apns, "default", provider));
    let shutdown = Shutdown::new();
    let work = tokio::spawn(Arc::clone(&lane).run(around, shutdown.clone()));
    Running { lane, shutdown, work, recording }
}

#[tokio::test]
async fn what_is_enqueued_is_sent_at_once() {
    for database in databases().await {
        let (clock, provider) = (Clock::system(), FakeProvider::default());
        let running = start(&database, &provider, Duration::from_secs(60));
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (notification, id) = enqueue(&database, &device, &clock).await;
        running.lane.wake.notify_one();
        let found = reaches(&database, &notification, TargetState::Accepted).await;
        assert_eq!(found.provider_id.as_deref(), Some(id.as_str()));
        running.stop().await;
        assert_eq!(provider.sent().len(), 1);
        assert_eq!(provider.sent()[0].token, "aa");
    }
}

#[tokio::test]
async fn a_failed_attempt_is_repeated_under_the_same_id() {
    for database in databases().await {
        let (clock, provider) = (Clock::system(), FakeProvider::default());
        provider.will_answer(Retry::soon(), "ServiceUnavailable");
        provider.will_answer(Retry::soon(), "InternalServerError");
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (notification, id) = enqueue(&database, &device, &clock).await;
        let running = start(&database, &provider, Duration::from_secs(60));
        let found = reaches(&database, &notification, TargetState::Accepted).await;
        assert_eq!((found.attempts, found.reason, found.maybe_repeated), (3, None, false));
        running.stop().await;
        assert!(provider.sent().iter().all(|message| message.id == id));
    }
}

#[tokio::test]
async fn the_other_environment_is_tried_once() {
    for database in databases().await {
        let (clock, provider) = (Clock::system(), FakeProvider::default());
        provider.will_answer(Outcome::OtherEnvironment, "BadDeviceToken");
        provider.will_answer(Outcome::OtherEnvironment, "BadDeviceToken");
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (notification, _) = enqueue(&database, &device, &clock).await;
        let running = start(&database, &provider, Duration::from_secs(60));
        let found = reaches(&database, &notification, TargetState::Dead).await;
        assert_eq!((found.attempts, found.token_gone), (2, true));
        running.stop().await;
        let environments: Vec<_> = provider.sent().iter().map(|message| message.environment).collect();
        assert_eq!(environments, [Environment::Production, Environment::Sandbox]);
        assert_eq!(devices_of(&database, "1").await, []);
    }
}

#[tokio::test]
async fn refused_credentials_pause_the_lane_and_keep_its_queue() {
    for database in databases().await {
        let (clock, provider) = (Clock::system(), FakeProvider::default());
        provider.will_answer(Outcome::Pause, "InvalidProviderToken");
        provider.will_answer(Outcome::Pause, "InvalidProviderToken");
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let mut notifications = Vec::new();
        let running = start(&database, &provider, Duration::from_millis(150));
        let (first, _) = enqueue(&database, &device, &clock).await;
        running.lane.wake.notify_one();
        let waits = eventually(async || {
            let found = target(&database, &first).await;
            (found.state == TargetState::Queued && found.reason.is_some()).then_some(found)
        });
        let found = waits.await.unwrap();
        assert_eq!((found.attempts, found.reason.as_deref()), (0, Some("InvalidProviderToken")));
        for _ in 0..5 {
            notifications.push(enqueue(&database, &device, &clock).await.0);
            running.lane.wake.notify_one();
        }
        // One push asks, is refused, then another asks and is taken: everything goes out.
        for notification in std::iter::once(&first).chain(&notifications) {
            reaches(&database, notification, TargetState::Accepted).await;
        }
        running.stop().await;
        assert_eq!(provider.sent().len(), 2 + 6);
    }
}

#[tokio::test]
async fn a_push_that_was_to_ask_and_is_not_sent_lets_the_next_one_ask_at_once() {
    for database in databases().await {
        let (clock, provider) = (Clock::system(), FakeProvider::default());
        provider.will_answer(Outcome::Pause, "InvalidProviderToken");
        let phone = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let tablet = register(&database, &registration("1", "tablet", "bb"), &clock).await;
        // Nobody waits for the patience with the one that asks: half a lease.
        let hour = Duration::from_secs(3600);
        let running = start_with(&database, Arc::new(provider.clone()), LaneSettings { lease: hour, ..settings(hour) });
        let (first, _) = enqueue(&database, &phone, &clock).await;
        running.lane.wake.notify_one();
        let waits = eventually(async || {
            let found = target(&database, &first).await;
            (found.state == TargetState::Queued && found.reason.is_some()).then_some(())
        });
        waits.await.unwrap();
        let gone = devices::store::remove(&database, &user("1"), "phone").await.unwrap();
        assert!(gone);
        let (second, _) = enqueue(&database, &tablet, &clock).await;
        running.lane.ask_again();
        reaches(&database, &first, TargetState::Dead).await;
        reaches(&database, &second, TargetState::Accepted).await;
        running.stop().await;
        let asked: Vec<_> = provider.sent().into_iter().map(|message| message.token).collect();
        assert_eq!(asked, ["aa", "bb"]);
    }
}

/// Apple may refuse a key in the sandbox and take it in production.
#[tokio::test]
async fn a_refusal_in_the_sandbox_alone_does_not_pause_production() {
    for database in databases().await {
        let (clock, provider) = (Clock::system(), FakeProvider::default());
        let people = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let developer = Registration { environment: Environment::Sandbox, ..registration("2", "phone", "bb") };
        let developer = register(&database, &developer, &clock).await;
        let running = start(&database, &provider, Duration::from_millis(700));
        let (first, _) = enqueue(&database, &people, &clock).await;
        running.lane.wake.notify_one();
        reaches(&database, &first, TargetState::Accepted).await;
        provider.will_answer(Outcome::Pause, "BadEnvironmentKeyInToken");
        let (refused, _) = enqueue(&database, &developer, &clock).await;
        running.lane.wake.notify_one();
        let waits = eventually(async || {
            let found = target(&database, &refused).await;
            (found.state == TargetState::Queued && found.reason.is_some()).then_some(found)
        });
        let found = waits.await.unwrap();
        assert_eq!(found.attempts, 0);
        assert!(found.next_attempt_at_ms.unwrap() > clock.now_ms(), "at the recheck");
        assert!(matches!(running.lane.allowance(clock.now_ms()), Allowance::Free));
        let (second, _) = enqueue(&database, &people, &clock).await;
        running.lane.wake.notify_one();
        reaches(&database, &second, TargetState::Accepted).await;
        assert_eq!(target(&database, &refused).await.state, TargetState::Queued);
        reaches(&database, &refused, TargetState::Accepted).await;
        // In production it is the app that waits, and a push of the sandbox that asks does not end that.
        provider.will_answer(Outcome::Pause, "InvalidProviderToken");
        let (third, _) = enqueue(&database, &people, &clock).await;
        running.lane.wake.notify_one();
        eventually(async || matches!(running.lane.allowance(clock.now_ms()), Allowance::Nothing(_)).then_some(()))
            .await
            .unwrap();
        reaches(&database, &third, TargetState::Accepted).await;
        running.stop().await;
        assert_eq!(provider.sent().len(), 3 + 1 + 2);
    }
}

#[tokio::test]
async fn what_is_over_is_recorded_without_being_sent() {
    for database in databases().await {
        let (clock, provider) = (Clock::system(), FakeProvider::default());
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (notification, _) = enqueue_until(&database, &device, &clock, clock.now_ms() - 1).await;
        let running = start(&database, &provider, Duration::from_secs(60));
        let found = reaches(&database, &notification, TargetState::Expired).await;
        assert_eq!(found.attempts, 0);
        running.stop().await;
        assert!(provider.sent().is_empty());
    }
}

#[tokio::test]
async fn a_stop_gives_up_what_is_not_answered_and_a_new_worker_sends_it_after_the_lease() {
    for database in databases().await {
        let clock = Clock::system();
        let silent = FakeProvider { silent: true, ..FakeProvider::default() };
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (notification, _) = enqueue(&database, &device, &clock).await;
        let running = start(&database, &silent, Duration::from_secs(60));
        eventually(async || (!silent.sent().is_empty()).then_some(())).await.unwrap();
        running.stop().await;
        assert_eq!(target(&database, &notification).await.state, TargetState::Sending);
        let provider = FakeProvider::default();
        let running = start(&database, &provider, Duration::from_secs(60));
        let found = reaches(&database, &notification, TargetState::Accepted).await;
        assert_eq!((found.attempts, found.maybe_repeated), (2, true));
        running.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_is_a_retry_that_may_repeat() {
    for database in databases().await {
        let clock = Clock::system();
        let silent = FakeProvider { silent: true, ..FakeProvider::default() };
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (notification, _) = enqueue(&database, &device, &clock).await;
        let running = start(&database, &silent, Duration::from_secs(60));
        // Half the lease of two seconds.
        let twice =
            eventually(async || Some(target(&database, &notification).await).filter(|found| found.attempts == 2));
        let found = twice.await.unwrap();
        assert!(found.maybe_repeated);
        assert_eq!(found.reason.as_deref(), Some("timeout"));
        running.stop().await;
    }
}
