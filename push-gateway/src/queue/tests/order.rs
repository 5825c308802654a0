//! What goes first: high before normal before bulk, whatever was there before and whatever is under way.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Environment, Priority, Push, TargetState};
use tidings_shared::storage::Database;
use tidings_shared::storage::testing::databases;
use tokio::sync::Semaphore;

use super::lanes::{settings, start_with};
use crate::ids::Ids;
use crate::provider::{Answer, Message, PushProvider, Refusal};
use crate::queue::lane::LaneSettings;
use crate::queue::slots::Slots;
use crate::queue::{NewNotification, NewTarget, store};
use crate::testing::{DAY, FakeProvider, eventually, reaches, token_target};

/// Stores a notification to so many tokens; its name.
async fn campaign(database: &Database, clock: &Clock, priority: Priority, count: usize) -> String {
    let ids = Ids::new(clock.clone());
    let now = clock.now_ms();
    let notification = NewNotification {
        id: ids.next(),
        push: Arc::new(Push::Wake {}),
        collapse_id: None,
        created_at: now,
        expires_at: now + DAY,
        priority,
        localized: None,
    };
    let targets: Vec<NewTarget> = (0..count)
        .map(|number| NewTarget::of_token(ids.next(), &token_target(&format!("{priority:?}{number}"))))
        .collect();
    let mut transaction = database.begin().await.unwrap();
    store::insert(&mut transaction, &notification, &targets).await.unwrap();
    transaction.commit().await.unwrap();
    notification.id
}

/// Answers only what it is allowed to; a push of the class `High` always.
#[derive(Debug)]
struct Slow {
    fake: FakeProvider,
    allowed: Semaphore,
}

impl PushProvider for Slow {
    fn send<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let answer = self.fake.send(message).await;
            if !message.token.starts_with("High") {
                self.allowed.acquire().await.unwrap().forget();
            }
            answer
        })
    }

    fn check(&self, push: &Push, collapse_id: Option<&str>) -> Result<(), Refusal> {
        self.fake.check(push, collapse_id)
    }

    fn serves(&self, environment: Environment) -> bool {
        self.fake.serves(environment)
    }
}

#[tokio::test]
async fn an_alert_is_sent_at_once_behind_fifty_thousand_bulk_targets_with_a_provider_that_stalls() {
    for database in databases().await {
        let clock = Clock::system();
        campaign(&database, &clock, Priority::Bulk, 50_000).await;
        let provider = Arc::new(Slow { fake: FakeProvider::default(), allowed: Semaphore::new(0) });
        let patient = LaneSettings { lease: Duration::from_secs(120), ..settings(Duration::from_secs(60)) };
        let running = start_with(&database, Arc::clone(&provider) as _, patient);
        // The campaign takes what it may have: eight slots, less one for normal and one for high.
        let took = eventually(async || (provider.fake.sent().len() == 6).then_some(())).await;
        assert!(took.is_some(), "{} under way", provider.fake.sent().len());
        let alert = campaign(&database, &clock, Priority::High, 1).await;
        running.lane.wake.notify_one();
        reaches(&database, &alert, TargetState::Accepted).await;
        assert_eq!(provider.fake.sent().len(), 7, "nothing of the campaign was needed for it");
        // Normal finds a slot too, whatever bulk does.
        let normal = campaign(&database, &clock, Priority::Normal, 1).await;
        running.lane.wake.notify_one();
        eventually(async || {
            provider.fake.sent().last().is_some_and(|sent| sent.token.starts_with("Normal")).then_some(())
        })
        .await
        .unwrap();
        // And it goes on.
        provider.allowed.add_permits(300);
        reaches(&database, &normal, TargetState::Accepted).await;
        eventually(async || (provider.fake.sent().len() > 300).then_some(())).await.unwrap();
        provider.allowed.add_permits(1_000);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_claim_takes_the_higher_class_first_and_the_older_of_one_class() {
    for database in databases().await {
        let clock = Clock::system();
        for priority in [Priority::Bulk, Priority::Normal, Priority::High] {
            campaign(&database, &clock, priority, 3).await;
        }
        let claim = async |limit| {
            let room = Slots::new(100, 0).room().at_most(limit);
            let now = clock.now_ms() + 1;
            let claimed =
                store::claim(&database, "apns:default", &format!("{limit}"), room, now, now + 60_000).await.unwrap();
            claimed.targets.into_iter().map(|claimed| claimed.priority).collect::<Vec<_>>()
        };
        use Priority::{Bulk, High, Normal};
        assert_eq!(claim(4).await, [High, High, High, Normal]);
        assert_eq!(claim(3).await, [Normal, Normal, Bulk]);
        assert_eq!(claim(9).await, [Bulk, Bulk]);
    }
}
