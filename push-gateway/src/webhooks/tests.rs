use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Outcome, Provider, TargetState};
use tidings_shared::storage::Database;
use tidings_shared::storage::testing::databases;

use super::store::deliveries;
use super::*;
use crate::events::{self, NewEvent};
use crate::testing::START;

#[test]
fn the_pauses_are_those_that_are_documented_each_up_to_a_fifth_longer() {
    for (attempts, pause_s) in (1_i64..).zip(PAUSES_S) {
        let mut seen = std::collections::BTreeSet::new();
        for id in 0..50 {
            let pause = next_attempt(&format!("msg_{id}"), attempts, START).unwrap() - START;
            assert!((pause_s * 1000..=pause_s * 1200).contains(&pause), "{attempts}: {pause}");
            seen.insert(pause);
        }
        assert!(seen.len() > 25, "what failed together does not come back together: {seen:?}");
    }
    assert_eq!(next_attempt("msg", 10, START), None);
}

#[test]
fn events_are_wanted_by_name_or_by_their_beginning() {
    let wants = |events: &[&str], kind| super::wants(&events.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>(), kind);
    assert!(wants(&[], "push.dead"));
    assert!(wants(&["push.*"], "push.dead"));
    assert!(wants(&["push.opened", "push.dead"], "push.dead"));
    assert!(!wants(&["push.opened"], "push.dead"));
}

async fn webhook(database: &Database, name: &str) -> store::Stored {
    let webhook = store::Stored {
        name: name.to_owned(),
        url: "https://example.org".to_owned(),
        events: vec!["push.dead".to_owned()],
        secret: signing::new_secret(),
        old_secret: None,
        old_secret_until: None,
        enabled: true,
        disabled_reason: None,
        failing_since: None,
        last_error: None,
        position: 0,
        updated_at: START,
    };
    let mut transaction = database.begin().await.unwrap();
    store::put(&mut transaction, &webhook).await.unwrap();
    transaction.commit().await.unwrap();
    webhook
}

async fn happen(database: &Database, state: TargetState, count: usize) {
    let event = NewEvent {
        kind: events::kind_of(state).unwrap(),
        outcome: Outcome {
            notification: "n".to_owned(),
            target: "t".to_owned(),
            device: None,
            provider: Provider::Apns,
            app: "default".to_owned(),
            state: Some(state),
            receipt: None,
            at_ms: START,
            provider_status: None,
            reason: None,
            provider_id: None,
            token_gone: false,
        },
    };
    let mut transaction = database.begin().await.unwrap();
    events::store::write(&mut transaction, &vec![event; count], START).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn what_a_webhook_wants_becomes_a_delivery_once_and_a_lease_that_ends_brings_it_back() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let hook = webhook(&database, "crm").await;
        happen(&database, TargetState::Accepted, 3).await;
        happen(&database, TargetState::Dead, 2).await;
        while deliveries::fill(&database, &hook, START).await.unwrap() {}
        while deliveries::fill(&database, &hook, START).await.unwrap() {}
        let first = deliveries::claim(&database, "crm", 10, clock.now_ms(), START + 1000).await.unwrap();
        assert_eq!(first.iter().map(|delivery| delivery.id.as_str()).collect::<Vec<_>>(), ["msg_crm_4", "msg_crm_5"]);
        assert_eq!(deliveries::claim(&database, "crm", 10, START, START + 1000).await.unwrap(), []);
        clock.advance(1000);
        let again = deliveries::claim(&database, "crm", 10, clock.now_ms(), START + 5000).await.unwrap();
        assert_eq!((again.len(), again[0].attempts), (2, 2));
        // Whoever had the first lease changes nothing any more.
        deliveries::failed(&database, &first[0], None).await.unwrap();
        deliveries::failed(&database, &again[0], None).await.unwrap();
        deliveries::taken(&database, &again[1].id).await.unwrap();
        let counts = deliveries::counts(&database, "crm").await.unwrap();
        assert_eq!(counts, store::Counts { waiting: 0, given_up: 1 });
    }
}

#[tokio::test]
async fn many_events_wait_in_the_log_and_not_as_deliveries() {
    for database in databases().await {
        let hook = webhook(&database, "slow").await;
        happen(&database, TargetState::Dead, 1500).await;
        while deliveries::fill(&database, &hook, START).await.unwrap() {}
        assert_eq!(deliveries::counts(&database, "slow").await.unwrap().waiting, 1000);
        for delivery in deliveries::claim(&database, "slow", 600, START, START + 1).await.unwrap() {
            deliveries::taken(&database, &delivery.id).await.unwrap();
        }
        while deliveries::fill(&database, &hook, START).await.unwrap() {}
        assert_eq!(deliveries::counts(&database, "slow").await.unwrap().waiting, 900);
    }
}
