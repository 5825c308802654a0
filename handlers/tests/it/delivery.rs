//! Messages arrive, are handled once and in order, and answers leave once.

use std::time::Duration;

use tidings_handlers::runtime::{
    Attempt, Captures, HandlerError, Json, MessageId, Publisher, Reply, Router, Sender, State, Text, Topic, Transaction,
};
use tokio::sync::Notify;

use crate::support::{Handlers, Mosquitto, Phone, Shared, database, shared, until, user};

async fn echo(
    Sender { user, client }: Sender,
    Text(text): Text,
    topic: Topic,
    publisher: Publisher,
) -> Result<(), HandlerError> {
    publisher.to_user(&user, "echo", &format!("{client} on {}: {text}", topic.0))
}

#[tokio::test]
async fn a_published_message_is_answered_to_its_sender() {
    let (broker, database) = (Mosquitto::start().await, database().await);
    let handlers = Handlers::start(Router::new().topic("echo", echo), &database, &broker).await;
    let mut phone = Phone::connect(&broker, "42_3", &["42%5F3_echo"]).await;
    phone.send("echo", "hello", "m1").await;
    let answer = phone.next().await;
    assert_eq!(answer.topic, "42%5F3_echo");
    assert_eq!(answer.json(), format!("{} on echo: hello", phone.client_id()));
    assert!(answer.message_id.is_some_and(|id| MessageId::new(&id).is_ok()));
    handlers.stop().await;
}

#[tokio::test]
async fn wildcards_and_names_of_levels_lead_to_the_route_that_says_more() {
    async fn order(captures: Captures) -> Reply {
        Reply::json("saw", &format!("order {}", captures.get("order").unwrap_or("?")))
    }
    async fn other(topic: Topic) -> Reply {
        Reply::json("saw", &format!("other {}", topic.0))
    }
    let (broker, database) = (Mosquitto::start().await, database().await);
    let router = Router::new().topic("orders/{order}/paid", order).topic("orders/#", other);
    let handlers = Handlers::start(router, &database, &broker).await;
    let mut phone = Phone::connect(&broker, "1", &["1_saw"]).await;
    phone.send("orders/7/paid", "", "m1").await;
    assert_eq!(phone.next().await.json(), "order 7");
    phone.send("orders/7/sent", "", "m2").await;
    let answer = phone.next().await;
    assert_eq!(answer.json(), "other orders/7/sent");
    assert_eq!(answer.correlation_data.as_deref(), Some(&b"m2"[..]), "correlation data comes back");
    // Both subscriptions match the first message; it was delivered twice and handled once.
    handlers.stop().await;
    assert_eq!(phone.rest(), []);
}

#[tokio::test]
async fn the_same_message_id_is_handled_once_even_when_deliveries_overlap() {
    #[derive(Clone)]
    struct Gate {
        calls: Shared<u32>,
        open: std::sync::Arc<Notify>,
    }
    async fn slow(
        State(gate): State<Gate>,
        publisher: Publisher,
        Sender { user, .. }: Sender,
    ) -> Result<(), HandlerError> {
        *gate.calls.lock().unwrap() += 1;
        gate.open.notified().await;
        publisher.to_user(&user, "done", "done")
    }
    let (broker, database) = (Mosquitto::start().await, database().await);
    let gate = Gate { calls: shared(0), open: std::sync::Arc::new(Notify::new()) };
    let router = Router::new().topic("slow", slow).with_state(gate.clone());
    let handlers = Handlers::start(router, &database, &broker).await;
    let mut phone = Phone::connect(&broker, "1", &["1_done"]).await;
    phone.send("slow", "", "same").await;
    phone.send("slow", "", "same").await;
    until("the handler runs", async || *gate.calls.lock().unwrap() == 1).await;
    gate.open.notify_one();
    phone.next().await;
    phone.send("slow", "", "same").await;
    phone.send("slow", "", "other").await;
    until("the other message is handled", async || *gate.calls.lock().unwrap() == 2).await;
    gate.open.notify_one();
    phone.next().await;
    handlers.stop().await;
    assert_eq!(*gate.calls.lock().unwrap(), 2);
    assert_eq!(phone.rest(), [], "one answer for each message id");
}

/// Two instances of different sessions get the same message at once: its work is done once.
#[tokio::test]
async fn two_instances_with_the_same_message_change_the_database_once() {
    async fn count(mut transaction: Transaction) -> Result<(), HandlerError> {
        sqlx::query("UPDATE counted SET number = number + 1")
            .execute(&mut **transaction)
            .await
            .map_err(HandlerError::unavailable)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(())
    }
    for database in tidings_shared::storage::testing::databases().await {
        sqlx::query("CREATE TABLE counted (number BIGINT NOT NULL)").execute(database.pool()).await.unwrap();
        sqlx::query("INSERT INTO counted VALUES (0)").execute(database.pool()).await.unwrap();
        let brokers = [Mosquitto::start().await, Mosquitto::start().await];
        let mut instances = Vec::new();
        for broker in &brokers {
            instances.push(Handlers::start(Router::new().topic("count", count), &database, broker).await);
        }
        let phones = [Phone::connect(&brokers[0], "1", &[]).await, Phone::connect(&brokers[1], "1", &[]).await];
        for number in 0..10 {
            let id = format!("m{number}");
            tokio::join!(phones[0].send("count", "", &id), phones[1].send("count", "", &id));
        }
        for instance in instances {
            until("everything is acknowledged", async || instance.metrics.finished_now("count") == 10).await;
            instance.stop().await;
        }
        let row: (i64,) = sqlx::query_as("SELECT number FROM counted").fetch_one(database.pool()).await.unwrap();
        assert_eq!(row.0, 10);
    }
}

#[tokio::test]
async fn a_sender_is_served_in_order_and_waits_for_nobody_else() {
    type Log = Shared<Vec<(String, u32)>>;
    async fn note(
        State(log): State<Log>,
        Sender { user, .. }: Sender,
        Json(number): Json<u32>,
        Attempt(attempt): Attempt,
    ) -> Result<(), HandlerError> {
        // Some attempts fail, so that retries are in the way of the order.
        if number % 4 == 0 && attempt < 3 {
            return Err(HandlerError::retry("not yet"));
        }
        log.lock().unwrap().push((user.to_string(), number));
        Ok(())
    }
    let (broker, database) = (Mosquitto::start().await, database().await);
    let log: Log = shared(Vec::new());
    let handlers = Handlers::start(Router::new().topic("note", note).with_state(log.clone()), &database, &broker).await;
    let mut phones = Vec::new();
    for name in ["a", "b", "c"] {
        phones.push(Phone::connect(&broker, name, &[]).await);
    }
    let mut notices = Vec::new();
    for number in 0..40 {
        for (index, phone) in phones.iter().enumerate() {
            notices.push(phone.begin_send("note", number.to_string(), &format!("{index}-{number}")));
        }
    }
    for notice in notices {
        notice.wait_completion_async().await.unwrap();
    }
    until("all are handled", async || log.lock().unwrap().len() == 120).await;
    handlers.stop().await;
    for name in ["a", "b", "c"] {
        let log = log.lock().unwrap();
        let order: Vec<_> = log.iter().filter(|(by, _)| by == name).map(|(_, number)| *number).collect();
        assert_eq!(order, (0..40).collect::<Vec<_>>(), "{name}");
    }
}

#[tokio::test]
async fn one_sender_who_is_stuck_does_not_hold_up_the_others() {
    async fn stuck_for_a(Sender { user, .. }: Sender) -> Result<Reply, HandlerError> {
        if user.as_str() == "a" { Err(HandlerError::unavailable("never there")) } else { Ok(Reply::json("ok", &())) }
    }
    let (broker, database) = (Mosquitto::start().await, database().await);
    let handlers = Handlers::start(Router::new().topic("t", stuck_for_a), &database, &broker).await;
    let stuck = Phone::connect(&broker, "a", &[]).await;
    for number in 0..20 {
        stuck.send("t", "", &format!("a{number}")).await;
    }
    let mut other = Phone::connect(&broker, "b", &["b_ok"]).await;
    other.send("t", "", "b1").await;
    other.next().await;
    assert_eq!(user("b").as_str(), "b");
    // A stop does not wait for the stuck ones either: they stay with the broker.
    handlers.stop().await;
}
