//! What the janitor ends and forgets.

use std::collections::HashSet;
use std::sync::Arc;

use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Priority, Push, TargetState};
use tidings_shared::storage::testing::databases;

use crate::ids::Ids;
use crate::queue::slots::Room;
use crate::queue::store::{self, upkeep};
use crate::queue::{NewNotification, NewTarget};
use crate::testing::{DAY, START, enqueue, enqueue_until, register, registration, target, token_target};

const LANE: &str = "apns:default";
const HOUR: i64 = 3_600_000;

#[tokio::test]
async fn a_large_campaign_is_forgotten_in_portions() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let ids = Ids::new(clock.clone());
        let campaign = NewNotification {
            id: ids.next(),
            push: Arc::new(Push::Wake {}),
            collapse_id: None,
            created_at: START,
            expires_at: START + 1000,
            priority: Priority::Bulk,
            localized: None,
        };
        let targets: Vec<_> =
            (0..2500).map(|token| NewTarget::of_token(ids.next(), &token_target(&format!("{token:064x}")))).collect();
        let mut transaction = database.begin().await.unwrap();
        store::insert(&mut transaction, &campaign, &targets).await.unwrap();
        transaction.commit().await.unwrap();
        clock.advance(DAY);
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (young, _) = enqueue(&database, &device, &clock).await;
        upkeep::clean(&database, &HashSet::from([LANE]), START + DAY, 7 * DAY).await.unwrap();
        let found = store::find(&database, &campaign.id).await.unwrap().unwrap();
        assert!(found.targets.iter().all(|target| target.state == TargetState::Expired));
        // One portion, and then the process ends: the rest is still there, with its notification.
        assert_eq!(upkeep::forget_targets(&database, std::slice::from_ref(&campaign.id)).await.unwrap(), 1000);
        assert_eq!(store::find(&database, &campaign.id).await.unwrap().unwrap().targets.len(), 1500);
        // Two that clean at the same time do not disturb each other, and what one leaves the other has.
        let lanes = HashSet::from([LANE]);
        let clean = || upkeep::clean(&database, &lanes, START + 8 * DAY + 1, 7 * DAY);
        let (one, other) = tokio::join!(clean(), clean());
        one.unwrap();
        other.unwrap();
        clean().await.unwrap();
        assert_eq!(store::find(&database, &campaign.id).await.unwrap(), None);
        let rest = upkeep::forget_targets(&database, std::slice::from_ref(&campaign.id)).await.unwrap();
        assert_eq!(rest, 0, "no target without its notification");
        // The young one is over by then, and its record is kept.
        assert_eq!(target(&database, &young).await.state, TargetState::Expired);
    }
}

#[tokio::test]
async fn pushes_of_an_app_that_was_removed_end() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (sending, _) = enqueue_until(&database, &device, &clock, START + 2 * HOUR).await;
        let (tried_once, _) = enqueue_until(&database, &device, &clock, 0).await;
        let claimed = store::claim(&database, LANE, "a", Room::wide(2), START, START + 60_000).await.unwrap();
        assert_eq!(claimed.targets.len(), 2);
        let (once, _) = enqueue_until(&database, &device, &clock, 0).await;
        let none = HashSet::new();
        let state = async |notification: &str| target(&database, notification).await.state;
        // Somebody else may have the app, or it may come back: nothing ends at once, …
        upkeep::clean(&database, &none, START + HOUR - 1, 7 * DAY).await.unwrap();
        for notification in [&sending, &tried_once] {
            assert_eq!(state(notification).await, TargetState::Sending);
        }
        assert_eq!(state(&once).await, TargetState::Queued);
        // … and never while its lane is there, …
        upkeep::clean(&database, &HashSet::from([LANE]), START + 2 * HOUR - 1, 7 * DAY).await.unwrap();
        assert_eq!(state(&once).await, TargetState::Queued);
        assert_eq!(state(&tried_once).await, TargetState::Sending);
        assert_eq!(state(&sending).await, TargetState::Sending);
        // … but an hour later. What was being sent may have been taken.
        upkeep::clean(&database, &none, START + 2 * HOUR, 7 * DAY).await.unwrap();
        for (notification, expected) in
            [(&sending, TargetState::Unknown), (&tried_once, TargetState::Unknown), (&once, TargetState::Expired)]
        {
            let found = target(&database, notification).await;
            assert_eq!((found.state, found.reason.as_deref()), (expected, Some("expired")));
        }
        assert_eq!(upkeep::depths(&database).await.unwrap(), []);
        upkeep::clean(&database, &none, START + 10 * DAY, 7 * DAY).await.unwrap();
        assert_eq!(store::find(&database, &sending).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_push_that_is_being_sent_is_not_ended_under_its_sender() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (notification, _) = enqueue_until(&database, &device, &clock, START + 1000).await;
        // The time of the push ends while its lease goes on, and shortly after the lease a late answer may come.
        store::claim(&database, LANE, "a", Room::wide(1), START, START + 60_000).await.unwrap();
        for now in [START + 1000, START + 60_000 + HOUR - 1] {
            upkeep::clean(&database, &HashSet::from([LANE]), now, 7 * DAY).await.unwrap();
            assert_eq!(target(&database, &notification).await.state, TargetState::Sending);
        }
        upkeep::clean(&database, &HashSet::from([LANE]), START + 60_000 + HOUR, 7 * DAY).await.unwrap();
        assert_eq!(target(&database, &notification).await.state, TargetState::Unknown);
    }
}
