//! What a device gets once: requests with one key, news within a window, pushes that take each other's place.

use std::collections::HashSet;
use std::sync::Arc;

use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Notification, Priority, Push, Target, TargetState};
use tidings_shared::storage::Database;
use tidings_shared::storage::testing::databases;

use crate::ids::Ids;
use crate::queue::intake::{Intake, IntakeError};
use crate::queue::slots::Room;
use crate::queue::store::{self, Stored, Submission, upkeep};
use crate::queue::{NewNotification, NewTarget};
use crate::testing::{DAY, START, target, token_target};

const LANE: &str = "apns:default";

fn push(clock: &Clock, token: &str) -> Submission {
    let ids = Ids::new(clock.clone());
    let now = clock.now_ms();
    let notification = NewNotification {
        id: ids.next(),
        push: Arc::new(Push::Wake {}),
        collapse_id: None,
        created_at: now,
        expires_at: now + DAY,
        priority: Priority::Normal,
        localized: None,
    };
    let target = NewTarget::of_token(ids.next(), &token_target(token));
    Submission { notification, targets: vec![target], dedup_until: 0, idempotency: None, expansion: None }
}

fn replacing(clock: &Clock, token: &str, due_at: Option<i64>) -> Submission {
    let mut submission = push(clock, token);
    let target = &mut submission.targets[0];
    target.collapse_key = Some(target.key("score"));
    target.due_at = due_at;
    submission
}

fn news(clock: &Clock, token: &str, key: &str, window: i64) -> Submission {
    let mut submission = push(clock, token);
    let target = &mut submission.targets[0];
    target.dedup_key = Some(target.key(key));
    submission.dedup_until = clock.now_ms() + window;
    submission
}

fn keyed(clock: &Clock, key: &str, hash: &str) -> Submission {
    Submission { idempotency: Some((key.to_owned(), hash.to_owned())), ..push(clock, "aa") }
}

async fn submit(database: &Database, submissions: Vec<Submission>, clock: &Clock) -> Vec<Stored> {
    store::submit(database, &submissions, clock.now_ms()).await.unwrap()
}

/// What the sender was told of the one target.
fn told(stored: &Stored) -> Target {
    let Stored::New(answer) = stored else { panic!("{stored:?}") };
    serde_json::from_str::<Notification>(answer).unwrap().targets.remove(0)
}

async fn state(database: &Database, submission: &Submission) -> (TargetState, Option<String>) {
    let found = target(database, &submission.notification.id).await;
    (found.state, found.reason)
}

fn over(reason: &str) -> (TargetState, Option<String>) {
    (TargetState::Expired, Some(reason.to_owned()))
}

const QUEUED: (TargetState, Option<String>) = (TargetState::Queued, None);

#[tokio::test]
async fn a_newer_push_takes_the_place_of_one_that_waits_on_the_same_device() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let (first, elsewhere) = (replacing(&clock, "aa", None), replacing(&clock, "bb", None));
        let plain = push(&clock, "aa");
        submit(&database, vec![first.clone(), elsewhere.clone(), plain.clone()], &clock).await;
        clock.advance(1_000);
        let second = replacing(&clock, "aa", None);
        submit(&database, vec![second.clone()], &clock).await;
        assert_eq!(state(&database, &first).await, over("superseded"));
        for kept in [&second, &elsewhere, &plain] {
            assert_eq!(state(&database, kept).await, QUEUED);
        }
        // What is being sent is not stopped by what comes now.
        store::claim(&database, LANE, "a", Room::wide(9), clock.now_ms(), clock.now_ms() + DAY).await.unwrap();
        let third = replacing(&clock, "aa", None);
        submit(&database, vec![third.clone()], &clock).await;
        assert_eq!(state(&database, &second).await.0, TargetState::Sending);
        assert_eq!(state(&database, &third).await, QUEUED);
    }
}

#[tokio::test]
async fn in_one_transaction_the_last_one_stays_and_a_scheduled_one_leaves_what_goes_before_it() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let all: Vec<_> = (0..3).map(|_| replacing(&clock, "aa", None)).collect();
        let stored = submit(&database, all.clone(), &clock).await;
        let told: Vec<_> = stored.iter().map(|stored| told(stored).reason).collect();
        assert_eq!(told, [Some("superseded".to_owned()), Some("superseded".to_owned()), None]);
        let tomorrow = replacing(&clock, "aa", Some(START + DAY));
        submit(&database, vec![tomorrow.clone()], &clock).await;
        assert_eq!(state(&database, &all[2]).await, QUEUED, "it goes before the one of tomorrow");
        let now = replacing(&clock, "aa", None);
        submit(&database, vec![now.clone()], &clock).await;
        assert_eq!(state(&database, &tomorrow).await, over("superseded"), "it would bring back what is old");
        assert_eq!(state(&database, &all[2]).await, over("superseded"));
        assert_eq!(state(&database, &now).await, QUEUED);
    }
}

#[tokio::test]
async fn a_device_gets_the_same_news_once_within_the_window() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let stored = submit(
            &database,
            vec![
                news(&clock, "aa", "goal", 60_000),
                news(&clock, "aa", "goal", 60_000),
                news(&clock, "bb", "goal", 60_000),
                news(&clock, "aa", "end", 60_000),
            ],
            &clock,
        )
        .await;
        let reasons: Vec<_> = stored.iter().map(|stored| told(stored).reason).collect();
        assert_eq!(reasons, [None, Some("duplicate".to_owned()), None, None]);
        clock.advance(59_999);
        let again = news(&clock, "aa", "goal", 60_000);
        submit(&database, vec![again.clone()], &clock).await;
        assert_eq!(state(&database, &again).await, over("duplicate"));
        clock.advance(1);
        upkeep::clean(&database, &HashSet::new(), clock.now_ms(), 7 * DAY).await.unwrap();
        let later = news(&clock, "aa", "goal", 60_000);
        submit(&database, vec![later.clone()], &clock).await;
        assert_eq!(state(&database, &later).await, QUEUED);
        let at_once = news(&clock, "aa", "goal", 60_000);
        assert_eq!(told(&submit(&database, vec![at_once], &clock).await[0]).reason.as_deref(), Some("duplicate"));
    }
}

#[tokio::test]
async fn an_idempotency_key_is_remembered_for_a_day() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let first = submit(&database, vec![keyed(&clock, "key", "h1")], &clock).await.remove(0);
        let Stored::New(answer) = first else { panic!("{first:?}") };
        clock.advance(DAY);
        assert_eq!(submit(&database, vec![keyed(&clock, "key", "h1")], &clock).await, [Stored::Repeated(answer)]);
        assert_eq!(submit(&database, vec![keyed(&clock, "key", "h2")], &clock).await, [Stored::KeyReused]);
        clock.advance(1);
        // In one transaction too, and only the first is stored.
        let batch = vec![
            keyed(&clock, "key", "h2"),
            keyed(&clock, "key", "h2"),
            keyed(&clock, "key", "h3"),
            push(&clock, "bb"),
        ];
        let stored = submit(&database, batch, &clock).await;
        let Stored::New(answer) = &stored[0] else { panic!("{stored:?}") };
        assert_eq!(stored[1..3], [Stored::Repeated(answer.clone()), Stored::KeyReused]);
        assert!(matches!(&stored[3], Stored::New(_)));
        assert_eq!(crate::testing::notifications(&database).await.len(), 3);
    }
}

#[tokio::test]
async fn what_is_cancelled_is_not_sent_and_what_is_being_sent_is_not_tried_again() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let (waits, sending) = (push(&clock, "aa"), push(&clock, "bb"));
        submit(&database, vec![sending.clone()], &clock).await;
        store::claim(&database, LANE, "a", Room::wide(9), START, START + 1_000).await.unwrap();
        submit(&database, vec![waits.clone()], &clock).await;
        for submission in [&waits, &sending, &waits] {
            assert!(store::cancel(&database, &submission.notification.id, START).await.unwrap());
        }
        assert!(!store::cancel(&database, "0199", START).await.unwrap());
        assert_eq!(state(&database, &waits).await, over("cancelled"));
        assert_eq!(state(&database, &sending).await.0, TargetState::Sending);
        clock.advance(1_000);
        let again =
            store::claim(&database, LANE, "b", Room::wide(9), clock.now_ms(), START + 9_000).await.unwrap().targets;
        assert_eq!((again.len(), again[0].cancelled), (1, true));
        let (settled, answer) = crate::queue::settle::before_sending(&again[0], clock.now_ms()).unwrap();
        assert_eq!((settled.state, answer.reason.as_deref()), (TargetState::Unknown, Some("cancelled")));
    }
}

#[tokio::test]
async fn a_request_that_the_database_refuses_takes_no_other_with_it() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let stored = push(&clock, "aa");
        submit(&database, vec![stored.clone()], &clock).await;
        let (intake, _tasks) = Intake::start(&database, &clock);
        // On SQLite both come into one transaction: they gather while somebody else writes.
        let turn = database.turn().wait().await;
        let (good, bad) = (push(&clock, "bb"), stored);
        let both = [good.clone(), bad].map(|submission| {
            let intake = intake.clone();
            tokio::spawn(async move { intake.submit(vec![submission]).await })
        });
        tokio::task::yield_now().await;
        drop(turn);
        let [good_stored, bad_stored] = both;
        assert!(matches!(good_stored.await.unwrap().unwrap()[..], [Stored::New(_)]));
        assert_eq!(bad_stored.await.unwrap(), Err(IntakeError::Refused));
        assert_eq!(state(&database, &good).await, QUEUED);
    }
}
