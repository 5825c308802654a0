//! Keys that rotate, instances that collide: each says what to do.

use std::time::Duration;

use tidings_handlers::runtime::Router;
use tokio::process::Command;

use crate::support::{Handlers, Mosquitto, Phone, database, options, until};

async fn nothing() {}

fn router() -> Router {
    Router::new().topic("t", nothing)
}

#[tokio::test]
async fn a_refused_key_is_told_and_the_next_one_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    let made =
        Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&passwords).args(["handler", "new"]).status().await;
    assert!(made.unwrap().success());
    // `user root` in the broker's configuration: the file may stay where it is.
    let broker = Mosquitto::with(&format!("password_file {}\nallow_anonymous false", passwords.display())).await;
    let database = database().await;

    let mut wrong = options(&broker);
    wrong.broker.keys = vec!["old".to_owned()];
    let handlers = Handlers::begin(router(), &database, wrong);
    until("the key is named", async || handlers.health.missing().join(" ").contains("refuses the handler key")).await;
    handlers.stop().await;

    let mut rotating = options(&broker);
    rotating.broker.keys = vec!["old".to_owned(), "new".to_owned()];
    let handlers = Handlers::begin(router(), &database, rotating);
    handlers.ready().await;
    handlers.stop().await;
}

#[tokio::test]
async fn two_instances_of_one_name_are_told_apart() {
    let (broker, database) = (Mosquitto::start().await, database().await);
    let first = Handlers::start(router(), &database, &broker).await;
    let second = Handlers::begin(router(), &database, options(&broker));
    until("the collision is named", async || {
        let missing = [first.health.missing(), second.health.missing()].concat().join(" ");
        missing.contains("another process") && missing.contains("handlers-1") && missing.contains("handlers.instance")
    })
    .await;
    first.stop().await;
    second.stop().await;
}

/// What a crashed instance has committed but not published, and what no broker delivers again, is published at last.
#[tokio::test]
async fn publishes_that_were_left_over_leave_at_the_next_start() {
    let (broker, database) = (Mosquitto::start().await, database().await);
    let long_ago = tidings_shared::clock::Clock::system().now_ms() - Duration::from_secs(600).as_millis() as i64;
    sqlx::query(
        "INSERT INTO handlers_processed (group_name, message_id, processed_at_ms, outbox) VALUES ('handlers', 'm1', $1, $2)",
    )
    .bind(long_ago)
    .bind(r#"[{"topic":"1_late","payload":"ImxhdGUi","message_id":"derived"}]"#)
    .execute(database.pool())
    .await
    .unwrap();
    let mut phone = Phone::connect(&broker, "1", &["1_late"]).await;
    let handlers = Handlers::start(router(), &database, &broker).await;
    assert_eq!(phone.next().await.json(), "late");
    handlers.stop().await;
}
