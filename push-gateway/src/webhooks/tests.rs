use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::post;
use http::StatusCode;
use prometheus_client::registry::Registry;
use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Outcome, Provider, TargetState};
use tidings_shared::storage::Database;
use tidings_shared::storage::testing::databases;
use tokio::task::JoinSet;

use super::deliver::Courier;
use super::store::deliveries;
use super::*;
use crate::events::{self, NewEvent};
use crate::metrics::Metrics;
use crate::testing::{DAY, START};

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
    webhook_at(database, name, "https://example.org").await
}

async fn webhook_at(database: &Database, name: &str, url: &str) -> store::Stored {
    let webhook = store::Stored {
        name: name.to_owned(),
        url: url.to_owned(),
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

/// A receiver that takes nothing, its address, and how often it was told.
async fn failing() -> (Arc<AtomicUsize>, String) {
    let told = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&told);
    let answer = post(async move || {
        counting.fetch_add(1, Ordering::Relaxed);
        StatusCode::INTERNAL_SERVER_ERROR
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hook", answer)).await });
    (told, url)
}

/// Tells what is due, and waits for what comes of it; whether the webhook wants more.
async fn look(courier: &Courier, database: &Database) -> bool {
    let mut sending = JoinSet::new();
    let wants = courier.round(database, "crm", &mut sending).await.unwrap().is_some();
    while let Some(done) = sending.join_next().await {
        done.unwrap();
    }
    wants
}

#[tokio::test]
async fn a_webhook_that_takes_nothing_for_days_is_disabled_and_says_why() {
    for database in databases().await {
        let clock = Clock::manual(START);
        let mut registry = Registry::default();
        let courier =
            Courier { metrics: Arc::new(Metrics::register(&mut registry)), ..crate::testing::rooms(&clock).courier };
        let (told, url) = failing().await;
        webhook_at(&database, "crm", &url).await;
        let shown = async || {
            let mut connection = database.pool().acquire().await.unwrap();
            let stored = store::find(&mut connection, "crm").await.unwrap().unwrap();
            drop(connection);
            stored.shown(deliveries::counts(&database, "crm").await.unwrap(), clock.now_ms())
        };

        // One event is told ten times within four days, and given up: the webhook is not.
        happen(&database, TargetState::Dead, 1).await;
        for attempt in 1..=10 {
            assert!(look(&courier, &database).await);
            assert_eq!(told.load(Ordering::Relaxed), attempt);
            let due = deliveries::next_due(&database, "crm").await.unwrap();
            assert_eq!(due.is_some(), attempt < 10, "{due:?}");
            clock.advance(due.map_or(0, |due| due - clock.now_ms()));
        }
        assert!(clock.now_ms() < START + 4 * DAY);
        let failing = shown().await;
        assert!(failing.enabled, "{failing:?}");
        assert_eq!((failing.waiting, failing.given_up, failing.failing_since_ms), (0, 1, Some(START)));
        assert!(failing.last_error.as_deref().unwrap().contains("500"), "{failing:?}");

        // A moment before the fifth day is over, and after it.
        clock.advance(START + 5 * DAY - 1 - clock.now_ms());
        happen(&database, TargetState::Dead, 1).await;
        look(&courier, &database).await;
        assert!(shown().await.enabled);
        clock.advance(deliveries::next_due(&database, "crm").await.unwrap().unwrap() - clock.now_ms());
        look(&courier, &database).await;
        let disabled = shown().await;
        assert_eq!((disabled.enabled, disabled.disabled_reason.as_deref()), (false, Some("failing")));
        assert_eq!((disabled.waiting, disabled.failing_since_ms), (1, Some(START)));
        assert!(disabled.last_error.unwrap().contains("500"));
        let mut metrics = String::new();
        prometheus_client::encoding::text::encode(&mut metrics, &registry).unwrap();
        assert!(metrics.contains("webhook_disabled{webhook=\"crm\"} 1"), "{metrics}");

        // Nothing is told to it any more.
        clock.advance(DAY);
        happen(&database, TargetState::Dead, 1).await;
        assert!(!look(&courier, &database).await);
        assert_eq!(told.load(Ordering::Relaxed), 12);
    }
}
