//! Limits delay, and lose nothing.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::push_api::TargetState;
use tidings_shared::storage::testing::databases;

use super::lanes::{settings, start_with};
use crate::provider::Retry;
use crate::queue::lane::LaneSettings;
use crate::send::BreakerSettings;
use crate::testing::{FakeProvider, answer, enqueue, reaches, register, registration};

#[tokio::test]
async fn what_is_over_a_devices_limit_waits_and_is_sent() {
    for database in databases().await {
        let (clock, provider) = (Clock::system(), FakeProvider::default());
        let window = Duration::from_millis(400);
        let limited = LaneSettings { per_device: 2, device_window: window, ..settings(Duration::from_secs(60)) };
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let other = register(&database, &registration("2", "phone", "bb"), &clock).await;
        let mut notifications = Vec::new();
        for _ in 0..5 {
            notifications.push(enqueue(&database, &device, &clock).await.0);
        }
        let begun = clock.now_ms();
        let running = start_with(&database, Arc::new(provider.clone()), limited);
        let (unlimited, _) = enqueue(&database, &other, &clock).await;
        running.lane.wake.notify_one();
        reaches(&database, &unlimited, TargetState::Accepted).await;
        for notification in &notifications {
            let found = reaches(&database, notification, TargetState::Accepted).await;
            assert_eq!((found.attempts, found.reason, found.maybe_repeated), (1, None, false));
        }
        // Two at once, then one every fifth of a second.
        assert!(clock.now_ms() - begun >= 3 * 200, "{} ms", clock.now_ms() - begun);
        running.stop().await;
        assert_eq!(provider.sent().len(), 6);
    }
}

#[tokio::test]
async fn what_is_over_an_apps_limit_waits_and_is_sent() {
    for database in databases().await {
        let (clock, provider) = (Clock::system(), FakeProvider::default());
        let limited = LaneSettings { per_second: 20, ..settings(Duration::from_secs(60)) };
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let mut notifications = Vec::new();
        for _ in 0..12 {
            notifications.push(enqueue(&database, &device, &clock).await.0);
        }
        let begun = clock.now_ms();
        let running = start_with(&database, Arc::new(provider.clone()), limited);
        for notification in &notifications {
            reaches(&database, notification, TargetState::Accepted).await;
        }
        assert!(clock.now_ms() - begun >= 450, "{} ms", clock.now_ms() - begun);
        running.stop().await;
        assert_eq!(provider.sent().len(), 12);
    }
}

#[tokio::test]
async fn a_provider_that_is_away_is_left_alone_and_gets_everything_when_it_is_back() {
    for database in databases().await {
        let (clock, provider) = (Clock::system(), FakeProvider::default());
        let breaker = BreakerSettings {
            failures: 3,
            window: Duration::ZERO,
            pause: Duration::from_millis(300),
            longest: Duration::from_millis(300),
        };
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        for _ in 0..4 {
            let away = crate::provider::Answer { status: Some(503), ..answer(Retry::soon(), "ServiceUnavailable") };
            provider.answers.lock().unwrap().push_back(away);
        }
        let mut notifications = Vec::new();
        for _ in 0..40 {
            notifications.push(enqueue(&database, &device, &clock).await.0);
        }
        let careful = LaneSettings { breaker, concurrency: 3, reserved: 0, ..settings(Duration::from_secs(60)) };
        let running = start_with(&database, Arc::new(provider.clone()), careful);
        for notification in &notifications {
            reaches(&database, notification, TargetState::Accepted).await;
        }
        running.stop().await;
        // Three failed, one asked in vain, and all forty were sent.
        assert_eq!(provider.sent().len(), 44);
    }
}
