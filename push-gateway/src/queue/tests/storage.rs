use std::collections::HashSet;

use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Environment, TargetState};
use tidings_shared::storage::Database;
use tidings_shared::storage::testing::databases;

use crate::provider::{Answer, Outcome, Retry, TokenGone};
use crate::queue::settle::{CIRCUIT_OPEN, put_back, settle};
use crate::queue::slots::Room;
use crate::queue::store::{self, SendResult, upkeep};
use crate::queue::{Claimed, Recipient, RetryPolicy};
use crate::testing::{DAY, START, answer, devices_of, enqueue, enqueue_until, register, registration, target};

const LANE: &str = "apns:default";
const LEASE: i64 = 60_000;
const POLICY: RetryPolicy = RetryPolicy {
    first: std::time::Duration::from_secs(10),
    longest: std::time::Duration::from_secs(900),
    give_up: std::time::Duration::from_secs(3600),
};

async fn claim(database: &Database, lease: &str, limit: usize, clock: &Clock) -> Vec<Claimed> {
    let now = clock.now_ms();
    store::claim(database, LANE, lease, Room::wide(limit), now, now + LEASE).await.unwrap().targets
}

async fn record(database: &Database, target: &Claimed, answer: Answer, clock: &Clock) {
    let settlement = settle(target, &answer, true, &POLICY, clock.now_ms());
    let result = SendResult { target: target.clone(), answer, settlement };
    store::record(database, &[result], false, clock.now_ms()).await.unwrap();
}

fn taken() -> Answer {
    Answer { outcome: Outcome::Accepted, status: Some(200), reason: None, provider_id: Some("p".to_owned()) }
}

#[tokio::test]
async fn a_target_goes_from_queued_through_sending_to_accepted() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (notification, id) = enqueue(&database, &device, &clock).await;
        assert_eq!(target(&database, &notification).await.state, TargetState::Queued);
        let claimed = claim(&database, "a", 10, &clock).await;
        assert_eq!(claimed.len(), 1);
        assert_eq!((claimed[0].id.as_str(), claimed[0].attempts), (id.as_str(), 1));
        assert!(matches!(&claimed[0].recipient, Recipient::Device { token, generation: 1, .. } if token == "aa"));
        assert_eq!(target(&database, &notification).await.state, TargetState::Sending);
        assert!(claim(&database, "b", 10, &clock).await.is_empty());
        record(&database, &claimed[0], taken(), &clock).await;
        let found = target(&database, &notification).await;
        assert_eq!((found.state, found.attempts, found.provider_status), (TargetState::Accepted, 1, Some(200)));
        assert_eq!((found.provider_id.as_deref(), found.maybe_repeated), (Some("p"), false));
        assert_eq!(store::next_due(&database, LANE, Room::wide(1)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_push_of_a_dead_worker_comes_back_when_its_lease_ends_and_says_so() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (notification, _) = enqueue(&database, &device, &clock).await;
        drop(claim(&database, "dead", 10, &clock).await);
        clock.advance(LEASE - 1);
        assert!(claim(&database, "b", 10, &clock).await.is_empty());
        assert_eq!(store::next_due(&database, LANE, Room::wide(1)).await.unwrap(), Some(START + LEASE));
        clock.advance(1);
        let again = claim(&database, "b", 10, &clock).await;
        assert_eq!(again.len(), 1);
        assert!(again[0].maybe_taken);
        assert_eq!(again[0].attempts, 2);
        record(&database, &again[0], taken(), &clock).await;
        let found = target(&database, &notification).await;
        assert_eq!((found.state, found.maybe_repeated), (TargetState::Accepted, true));
    }
}

#[tokio::test]
async fn a_late_result_changes_nothing_unless_it_is_an_acceptance() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        for (late, expected) in
            [(answer(Outcome::Dead, "BadTopic"), TargetState::Sending), (taken(), TargetState::Accepted)]
        {
            let (notification, _) = enqueue(&database, &device, &clock).await;
            let slow = claim(&database, "slow", 1, &clock).await;
            clock.advance(LEASE);
            let quick = claim(&database, "quick", 1, &clock).await;
            assert_eq!(quick[0].id, slow[0].id);
            record(&database, &slow[0], late, &clock).await;
            assert_eq!(target(&database, &notification).await.state, expected);
            record(&database, &quick[0], taken(), &clock).await;
            let found = target(&database, &notification).await;
            // It was sent twice, whoever records it.
            assert_eq!((found.state, found.maybe_repeated), (TargetState::Accepted, true), "{expected:?}");
        }
    }
}

/// What is put back unsent was no attempt, and does not undo the ones before.
#[tokio::test]
async fn the_time_in_which_a_provider_errs_is_not_begun_anew_by_a_push_that_is_put_back() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (notification, _) = enqueue(&database, &device, &clock).await;
        let unsent = async |claimed: &Claimed| {
            let (settlement, answer) = put_back(claimed, clock.now_ms(), CIRCUIT_OPEN);
            let result = SendResult { target: claimed.clone(), answer, settlement };
            store::record(&database, &[result], false, clock.now_ms()).await.unwrap();
        };
        let never_sent = claim(&database, "a", 1, &clock).await;
        unsent(&never_sent[0]).await;
        clock.advance(7_200_000);
        let first = claim(&database, "b", 1, &clock).await;
        let begun = clock.now_ms();
        assert_eq!((first[0].attempts, first[0].first_attempt_at), (1, begun), "no attempt before");
        record(&database, &first[0], answer(Retry::soon(), "ServiceUnavailable"), &clock).await;
        clock.advance(60_000);
        let second = claim(&database, "c", 1, &clock).await;
        unsent(&second[0]).await;
        clock.advance(3_600_000);
        let third = claim(&database, "d", 1, &clock).await;
        assert_eq!((third[0].attempts, third[0].first_attempt_at), (2, begun));
        record(&database, &third[0], answer(Retry::soon(), "ServiceUnavailable"), &clock).await;
        assert_eq!(target(&database, &notification).await.state, TargetState::Dead);
    }
}

/// Nobody knows whether it woke the phone: the next missed message wakes it.
#[tokio::test]
async fn a_wake_push_that_ends_unknown_leaves_its_device_to_be_woken() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let wake = async || {
            let (_, id) = enqueue_until(&database, &device, &clock, clock.now_ms() + 120_000).await;
            sqlx::query("UPDATE push_devices SET wake_at = 1, wake_target = $1")
                .bind(id.as_str())
                .execute(database.pool())
                .await
                .unwrap();
            let claimed = claim(&database, &id, 1, &clock).await;
            record(&database, &claimed[0], answer(Retry::unanswered(), "timeout"), &clock).await;
            assert!(marked(&database).await, "it is tried again");
            id
        };
        // Another attempt is refused.
        let id = wake().await;
        clock.advance(60_000);
        let again = claim(&database, "again", 1, &clock).await;
        record(&database, &again[0], answer(Outcome::Dead, "BadTopic"), &clock).await;
        assert_eq!(again[0].id, id);
        assert!(!marked(&database).await);
        // Its time ends while it waits.
        wake().await;
        clock.advance(120_000);
        upkeep::clean(&database, &HashSet::new(), clock.now_ms(), 7 * DAY).await.unwrap();
        assert!(!marked(&database).await);
    }
}

async fn marked(database: &Database) -> bool {
    let row = sqlx::query("SELECT COUNT(*) AS marked FROM push_devices WHERE wake_target IS NOT NULL")
        .fetch_one(database.pool())
        .await
        .unwrap();
    sqlx::Row::get::<i64, _>(&row, "marked") == 1
}

#[tokio::test]
async fn workers_claim_different_targets() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        for _ in 0..40 {
            enqueue(&database, &device, &clock).await;
        }
        let workers = (0..4).map(|worker| {
            let (database, clock) = (database.clone(), clock.clone());
            tokio::spawn(async move {
                let mut claimed = Vec::new();
                for round in 0..10 {
                    claimed.extend(claim(&database, &format!("{worker}-{round}"), 3, &clock).await);
                }
                claimed
            })
        });
        let mut ids = Vec::new();
        for worker in workers.collect::<Vec<_>>() {
            ids.extend(worker.await.unwrap().into_iter().map(|claimed| claimed.id));
        }
        assert_eq!(ids.len(), 40);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 40);
    }
}

#[tokio::test]
async fn what_waits_goes_to_the_devices_present_token_or_to_nobody() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        enqueue(&database, &device, &clock).await;
        register(&database, &registration("1", "phone", "bb"), &clock).await;
        let claimed = claim(&database, "a", 1, &clock).await;
        assert!(matches!(&claimed[0].recipient, Recipient::Device { token, generation: 2, .. } if token == "bb"));
        // The phone changes hands: what was meant for the first user never reaches the second.
        enqueue(&database, &device, &clock).await;
        register(&database, &registration("2", "phone", "bb"), &clock).await;
        let claimed = claim(&database, "b", 1, &clock).await;
        assert!(matches!(claimed[0].recipient, Recipient::Gone));
    }
}

#[tokio::test]
async fn a_gone_token_ends_the_registration_unless_it_is_newer() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let gone = async |user: &str, gone: TokenGone, meanwhile: &[&str]| {
            let device = register(&database, &registration(user, "phone", &format!("{user}1")), &clock).await;
            let (notification, _) = enqueue(&database, &device, &clock).await;
            let claimed = claim(&database, user, 1, &clock).await;
            for token in meanwhile {
                register(&database, &registration(user, "phone", token), &clock).await;
            }
            record(&database, &claimed[0], answer(Outcome::DropToken(gone), "Unregistered"), &clock).await;
            let found = target(&database, &notification).await;
            assert_eq!(found.state, TargetState::Dead);
            (devices_of(&database, user).await.len(), found.token_gone)
        };
        assert_eq!(gone("a", TokenGone::Now, &[]).await, (0, true));
        assert_eq!(gone("b", TokenGone::At(START + 1), &[]).await, (0, true));
        assert_eq!(gone("c", TokenGone::At(START), &[]).await, (1, false));
        assert_eq!(gone("d", TokenGone::At(START + 1), &["d2"]).await.0, 1);
        assert_eq!(gone("e", TokenGone::Now, &["e2"]).await.0, 1);
    }
}

#[tokio::test]
async fn the_environment_that_worked_is_remembered() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        enqueue(&database, &device, &clock).await;
        let first = claim(&database, "a", 1, &clock).await;
        assert_eq!(first[0].environment, Environment::Production);
        record(&database, &first[0], answer(Outcome::OtherEnvironment, "BadDeviceToken"), &clock).await;
        let second = claim(&database, "b", 1, &clock).await;
        assert_eq!((second[0].environment, second[0].tried_other), (Environment::Sandbox, true));
        record(&database, &second[0], taken(), &clock).await;
        assert_eq!(devices_of(&database, "1").await[0].registration.environment, Environment::Sandbox);
    }
}

#[tokio::test]
async fn a_retry_waits_and_keeps_the_providers_words() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (notification, _) = enqueue(&database, &device, &clock).await;
        let first = claim(&database, "a", 1, &clock).await;
        let busy = Answer { status: Some(503), ..answer(Retry::soon(), "ServiceUnavailable") };
        record(&database, &first[0], busy, &clock).await;
        let found = target(&database, &notification).await;
        assert_eq!((found.state, found.provider_status), (TargetState::Retrying, Some(503)));
        assert_eq!(found.reason.as_deref(), Some("ServiceUnavailable"));
        let due = found.next_attempt_at_ms.unwrap();
        assert!(claim(&database, "b", 1, &clock).await.is_empty());
        clock.advance(due - START);
        assert_eq!(claim(&database, "b", 1, &clock).await.len(), 1);
    }
}

#[tokio::test]
async fn nobody_sends_what_is_over_and_old_records_go() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let device = register(&database, &registration("1", "phone", "aa"), &clock).await;
        let (short, _) = enqueue_until(&database, &device, &clock, START + 1000).await;
        let (long, _) = enqueue(&database, &device, &clock).await;
        upkeep::clean(&database, &HashSet::new(), START + 1000, 7 * DAY).await.unwrap();
        assert_eq!(target(&database, &short).await.state, TargetState::Expired);
        assert_eq!(target(&database, &long).await.state, TargetState::Queued);
        let depths = upkeep::depths(&database).await.unwrap();
        assert_eq!((depths.len(), depths[0].length, depths[0].oldest_ms), (1, 1, START));
        // The long one is over too by then; its record is kept for as long as the other's was.
        upkeep::clean(&database, &HashSet::new(), START + 8 * DAY, 7 * DAY).await.unwrap();
        assert_eq!(target(&database, &long).await.state, TargetState::Expired);
        upkeep::clean(&database, &HashSet::new(), START + 15 * DAY + 1, 7 * DAY).await.unwrap();
        assert_eq!(store::find(&database, &short).await.unwrap(), None);
        assert_eq!(store::find(&database, &long).await.unwrap(), None);
    }
}
