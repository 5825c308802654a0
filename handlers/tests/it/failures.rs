//! What fails is tried again, and at last kept.

use std::time::Duration;

use tidings_handlers::runtime::dead_letters::{self, Filter};
use tidings_handlers::runtime::{
    Attempt, HandlerError, Json, MessageId, Outgoing, Publisher, Reply, Router, Sender, State, Transaction, on,
};
use tidings_shared::clock::Clock;
use tidings_shared::storage::Database;
use tower::timeout::TimeoutLayer;

use crate::support::{Handlers, Mosquitto, Phone, Shared, database, options, shared, until};

async fn letters(database: &Database) -> Vec<dead_letters::DeadLetter> {
    dead_letters::list(database, &Filter::default()).await.unwrap()
}

async fn one_letter(database: &Database) -> dead_letters::DeadLetter {
    until("there is a dead letter", async || letters(database).await.len() == 1).await;
    letters(database).await.remove(0)
}

#[tokio::test]
async fn a_failing_attempt_is_repeated_and_publishes_nothing() {
    async fn third_time(
        Attempt(attempt): Attempt,
        publisher: Publisher,
        Sender { user, .. }: Sender,
    ) -> Result<(), HandlerError> {
        publisher.to_user(&user, "done", &attempt)?;
        if attempt < 3 { Err(HandlerError::retry("not yet")) } else { Ok(()) }
    }
    let (broker, database) = (Mosquitto::start().await, database().await);
    let handlers = Handlers::start(Router::new().topic("t", third_time), &database, &broker).await;
    let mut phone = Phone::connect(&broker, "1", &["1_done"]).await;
    phone.send("t", "", "m1").await;
    assert_eq!(phone.next().await.json(), 3);
    handlers.stop().await;
    assert_eq!(phone.rest(), []);
    assert!(letters(&database).await.is_empty());
}

#[tokio::test]
async fn a_handler_that_never_succeeds_leaves_a_dead_letter_that_can_be_replayed() {
    #[derive(Clone)]
    struct Works(Shared<bool>);
    async fn maybe(State(works): State<Works>, Sender { user, .. }: Sender) -> Result<Reply, HandlerError> {
        if *works.0.lock().unwrap() {
            Ok(Reply::json("done", &user))
        } else {
            Err(HandlerError::retry("the shop is closed"))
        }
    }
    let (broker, database) = (Mosquitto::start().await, database().await);
    let works = Works(shared(false));
    let handlers = Handlers::start(Router::new().topic("t", maybe).with_state(works.clone()), &database, &broker).await;
    let mut phone = Phone::connect(&broker, "1", &["1_done"]).await;
    phone.send("t", "the payload", "m1").await;
    let letter = one_letter(&database).await;
    assert_eq!((letter.error.as_str(), letter.attempts, letter.replays), ("the shop is closed", 4, 0));
    assert_eq!((letter.message.topic.as_str(), &letter.message.payload[..]), ("t", &b"the payload"[..]));
    assert_eq!(letter.message.sender().map(|sender| sender.user.to_string()).as_deref(), Some("1"));

    let now = Clock::system().now_ms();
    assert!(dead_letters::replay(&database, &letter.message_id, now).await.unwrap());
    assert!(!dead_letters::replay(&database, &letter.message_id, now).await.unwrap(), "one replay at a time");
    until("the replay has failed, too", async || {
        letters(&database)
            .await
            .first()
            .is_some_and(|letter| letter.replays == 1 && letter.state == dead_letters::State::Dead)
    })
    .await;
    assert_eq!(one_letter(&database).await.attempts, 8, "attempts add up");

    *works.0.lock().unwrap() = true;
    assert_eq!(dead_letters::replay_topic(&database, "t", now).await.unwrap(), 1);
    assert_eq!(phone.next().await.json(), "1");
    until("the dead letter is gone", async || letters(&database).await.is_empty()).await;
    handlers.stop().await;
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_not_tried_again() {
    async fn number(Json(_): Json<u32>) {}
    let (broker, database) = (Mosquitto::start().await, database().await);
    let handlers = Handlers::start(Router::new().topic("t", number), &database, &broker).await;
    let phone = Phone::connect(&broker, "1", &[]).await;
    phone.send("t", "seven", "m1").await;
    let letter = one_letter(&database).await;
    assert_eq!(letter.attempts, 1);
    assert!(
        letter.error.starts_with("the payload on t is not the JSON that is expected there: expected"),
        "{}",
        letter.error
    );
    handlers.stop().await;
}

#[tokio::test]
async fn a_panic_is_a_failure_of_that_message_alone() {
    async fn fragile(Json(number): Json<u32>) -> Reply {
        assert!(number != 7, "seven is too much");
        Reply::json("done", &number)
    }
    let (broker, database) = (Mosquitto::start().await, database().await);
    let handlers = Handlers::start(Router::new().topic("t", fragile), &database, &broker).await;
    let mut phone = Phone::connect(&broker, "1", &["1_done"]).await;
    phone.send("t", "7", "m1").await;
    phone.send("t", "8", "m2").await;
    assert_eq!(phone.next().await.json(), 8);
    assert_eq!(one_letter(&database).await.error, "the handler panicked: seven is too much");
    handlers.stop().await;
}

#[tokio::test]
async fn a_time_limit_of_tower_is_a_failure_like_any_other() {
    async fn forever() {
        std::future::pending::<()>().await;
    }
    let (broker, database) = (Mosquitto::start().await, database().await);
    let route = on(forever).layer(TimeoutLayer::new(Duration::from_millis(5)));
    let handlers = Handlers::start(Router::new().topic("t", route), &database, &broker).await;
    let phone = Phone::connect(&broker, "1", &[]).await;
    phone.send("t", "", "m1").await;
    assert_eq!(one_letter(&database).await.error, "the handler took longer than its time limit");
    handlers.stop().await;
}

#[tokio::test]
async fn what_fails_leaves_nothing_in_the_database_and_tells_what_it_wants_to_tell() {
    async fn half(mut transaction: Transaction, Sender { user, .. }: Sender) -> Result<(), HandlerError> {
        sqlx::query("INSERT INTO noted VALUES (1)").execute(&mut **transaction).await.map_err(HandlerError::retry)?;
        Err(HandlerError::permanent("no").tell(Outgoing::to_user(&user, "sorry", "no")?))
    }
    for database in tidings_shared::storage::testing::databases().await {
        sqlx::query("CREATE TABLE noted (number BIGINT NOT NULL)").execute(database.pool()).await.unwrap();
        let broker = Mosquitto::start().await;
        let handlers = Handlers::start(Router::new().topic("t", half), &database, &broker).await;
        let mut phone = Phone::connect(&broker, "1", &["1_sorry"]).await;
        phone.send("t", "", "m1").await;
        assert_eq!(phone.next().await.json(), "no");
        assert_eq!(one_letter(&database).await.error, "no");
        let rows = sqlx::query("SELECT * FROM noted").fetch_all(database.pool()).await.unwrap();
        assert!(rows.is_empty());
        handlers.stop().await;
    }
}

#[tokio::test]
async fn a_message_that_the_broker_can_never_take_is_kept_before_anything_is_committed() {
    async fn large(Sender { user, .. }: Sender, publisher: Publisher) -> Result<(), HandlerError> {
        publisher.publish(format!("{user}_large"), vec![b'x'; 5000])
    }
    let (broker, database) = (Mosquitto::with("max_packet_size 2000").await, database().await);
    let handlers = Handlers::begin(Router::new().topic("t", large), &database, options(&broker));
    handlers.ready().await;
    let phone = Phone::connect(&broker, "1", &[]).await;
    phone.send("t", "", "m1").await;
    let letter = one_letter(&database).await;
    assert!(letter.error.contains("largest packet is 2000"), "{}", letter.error);
    assert_eq!(dead_letters::get(&database, &MessageId::new("m1").unwrap()).await.unwrap(), Some(letter.clone()));
    assert!(dead_letters::delete(&database, &letter.message_id).await.unwrap());
    assert_eq!(dead_letters::count(&database).await.unwrap(), 0);
    handlers.stop().await;
}
