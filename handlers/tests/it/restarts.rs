//! Brokers restart, handlers crash: nothing is lost and nothing is answered twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidings_handlers::runtime::{HandlerError, Publisher, Router, Sender, State, Text, Transaction};
use tidings_shared::storage::Database;
use tokio::sync::Notify;

use crate::support::{Handlers, Mosquitto, Phone, Shared, database, options, shared, until};

async fn note(
    Sender { user, .. }: Sender,
    Text(text): Text,
    mut transaction: Transaction,
    publisher: Publisher,
) -> Result<(), HandlerError> {
    sqlx::query("INSERT INTO noted (text) VALUES ($1)")
        .bind(&text)
        .execute(&mut **transaction)
        .await
        .map_err(HandlerError::unavailable)?;
    publisher.to_user(&user, "noted", &text)
}

async fn noting(database: &Database) -> Router {
    sqlx::query("CREATE TABLE IF NOT EXISTS noted (text TEXT NOT NULL)").execute(database.pool()).await.unwrap();
    Router::new().topic("note", note)
}

async fn noted(database: &Database) -> BTreeMap<String, usize> {
    let rows: Vec<(String,)> = sqlx::query_as("SELECT text FROM noted").fetch_all(database.pool()).await.unwrap();
    let mut counts = BTreeMap::new();
    for (text,) in rows {
        *counts.entry(text).or_insert(0) += 1;
    }
    counts
}

#[tokio::test]
async fn a_broker_that_restarts_in_the_middle_loses_nothing() {
    let (mut broker, database) = (Mosquitto::start().await, database().await);
    let handlers = Handlers::start(noting(&database).await, &database, &broker).await;
    let mut phone = Phone::connect(&broker, "1", &["1_noted"]).await;
    let mut answers: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    for round in 0..3 {
        let mut notices = Vec::new();
        for number in 0..30 {
            notices.push(phone.begin_send("note", format!("{round}-{number}"), &format!("m{round}-{number}")));
        }
        // The restart comes while messages are on their way in both directions.
        let first = phone.next().await;
        answers.entry(first.payload.clone()).or_default().push(first.message_id.clone());
        broker.pause().await;
        broker.resume().await;
        for notice in notices {
            // What was not acknowledged before the restart is sent again by the phone's session.
            let _ =
                tokio::time::timeout(Duration::from_secs(10), notice.wait_completion_async()).await.expect("PUBACK");
        }
        until("everything is noted", async || noted(&database).await.len() == 30 * (round + 1)).await;
        while answers.len() < 30 * (round + 1) {
            let answer = phone.next().await;
            answers.entry(answer.payload).or_default().push(answer.message_id);
        }
    }
    assert!(noted(&database).await.values().all(|count| *count == 1), "the work is done once for each message");
    for (text, ids) in &answers {
        assert!(
            ids.iter().all(|id| id == &ids[0] && id.is_some()),
            "a repeated answer to {text} has the same message id"
        );
    }
    handlers.stop().await;
}

#[tokio::test]
async fn a_broker_that_has_forgotten_everything_is_subscribed_to_again() {
    let (mut broker, database) = (Mosquitto::start().await, database().await);
    let handlers = Handlers::start(noting(&database).await, &database, &broker).await;
    broker.pause().await;
    until("it is noticed", async || !handlers.health.missing().is_empty()).await;
    let missing = handlers.health.missing().join(" ");
    assert!(
        missing.starts_with("broker: ") && missing.contains(&format!("mqtt://127.0.0.1:{}", broker.port())),
        "{missing}"
    );
    broker.forget();
    broker.resume().await;
    handlers.ready().await;
    let mut phone = Phone::connect(&broker, "1", &["1_noted"]).await;
    phone.send("note", "after", "m1").await;
    assert_eq!(phone.next().await.json(), "after");
    handlers.stop().await;
}

#[tokio::test]
async fn handlers_that_start_before_their_broker_wait_for_it() {
    let (mut broker, database) = (Mosquitto::start().await, database().await);
    broker.pause().await;
    let handlers = Handlers::begin(noting(&database).await, &database, options(&broker));
    until("it says what is missing", async || {
        handlers.health.missing().iter().any(|text| text.contains("no connection"))
    })
    .await;
    broker.resume().await;
    handlers.ready().await;
    handlers.stop().await;
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_handler_leads_to_another_delivery() {
    #[derive(Clone)]
    struct Gate {
        calls: Shared<u32>,
        open: Arc<Notify>,
    }
    async fn stuck_once(
        State(gate): State<Gate>,
        sender: Sender,
        text: Text,
        transaction: Transaction,
        publisher: Publisher,
    ) -> Result<(), HandlerError> {
        let first = {
            let mut calls = gate.calls.lock().unwrap();
            *calls += 1;
            *calls == 1
        };
        if first {
            gate.open.notified().await;
        }
        note(sender, text, transaction, publisher).await
    }
    let (broker, database) = (Mosquitto::start().await, database().await);
    drop(noting(&database).await);
    let gate = Gate { calls: shared(0), open: Arc::new(Notify::new()) };
    let router = || Router::new().topic("note", stuck_once).with_state(gate.clone());
    let handlers = Handlers::start(router(), &database, &broker).await;
    let mut phone = Phone::connect(&broker, "1", &["1_noted"]).await;
    phone.send("note", "x", "m1").await;
    until("the handler runs", async || *gate.calls.lock().unwrap() == 1).await;
    handlers.crash().await;
    // While nobody is there, messages wait in the session of the instance.
    phone.send("note", "y", "m2").await;
    assert!(noted(&database).await.is_empty());
    let handlers = Handlers::start(router(), &database, &broker).await;
    assert_eq!(phone.next().await.json(), "x");
    assert_eq!(phone.next().await.json(), "y");
    assert_eq!(noted(&database).await.len(), 2);
    handlers.stop().await;
}

/// The work was committed, but what it publishes had not left: the next delivery publishes it, and works no more.
#[tokio::test]
async fn a_crash_between_the_commit_and_the_publish_is_made_good() {
    let (broker, database) = (Mosquitto::start().await, database().await);
    let router = noting(&database).await;
    sqlx::query("INSERT INTO handlers_processed (group_name, message_id, processed_at_ms, outbox) VALUES ('handlers', 'm1', $2, $1)")
        .bind(r#"[{"topic":"1_noted","payload":"Imxvc3Qi","message_id":"derived"}]"#)
        .bind(tidings_shared::clock::Clock::system().now_ms())
        .execute(database.pool())
        .await
        .unwrap();
    let handlers = Handlers::start(router, &database, &broker).await;
    let mut phone = Phone::connect(&broker, "1", &["1_noted"]).await;
    phone.send("note", "x", "m1").await;
    let answer = phone.next().await;
    assert_eq!((answer.json(), answer.message_id.as_deref()), (serde_json::json!("lost"), Some("derived")));
    handlers.stop().await;
    assert!(noted(&database).await.is_empty());
    let row: (Option<String>,) =
        sqlx::query_as("SELECT outbox FROM handlers_processed").fetch_one(database.pool()).await.unwrap();
    assert_eq!(row.0, None);
}

#[tokio::test]
async fn a_soft_stop_finishes_what_is_being_handled() {
    async fn slow(
        State(begun): State<Arc<Notify>>,
        publisher: Publisher,
        Sender { user, .. }: Sender,
    ) -> Result<(), HandlerError> {
        begun.notify_one();
        tokio::time::sleep(Duration::from_millis(300)).await;
        publisher.to_user(&user, "done", "done")
    }
    let (broker, database) = (Mosquitto::start().await, database().await);
    let begun = Arc::new(Notify::new());
    let handlers =
        Handlers::start(Router::new().topic("slow", slow).with_state(begun.clone()), &database, &broker).await;
    let mut phone = Phone::connect(&broker, "1", &["1_done"]).await;
    phone.send("slow", "", "m1").await;
    begun.notified().await;
    handlers.stop().await;
    phone.next().await;
    // It was acknowledged: an instance that comes back has nothing to do.
    let again = Handlers::start(Router::new().topic("slow", slow).with_state(begun), &database, &broker).await;
    again.stop().await;
    assert_eq!(phone.rest(), []);
}
