//! Promises: there is one sequencer at a time; while it is stuck, changes are committed and answered, and listed later;
//! imported tokens are hashed anew when they are used.

use reqwest::Method;
use serde_json::{Value, json};
use tidings_shared::clock::Clock;
use tidings_shared::storage::{Database, testing};

use crate::support::{Gateway, NOW, PASS_TYPE, Running, eventually, push_token};

#[tokio::test]
async fn a_stuck_sequencer_delays_the_tag_not_the_change_and_another_takes_over() {
    // SQLite has one process, and its lock is the writers' own.
    let Some(database) = testing::urls().await.into_iter().find(|url| url.starts_with("postgres")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start().await;
    let extra = [("wallet.tag_wait", "300ms")];
    let service = Running::start_in(folder.path(), &database, gateway, Clock::manual(NOW), &extra).await;
    let pass = service.create("1").await;
    service.register("device", &pass, &push_token(1)).await;
    let before = service.list("device", None).await.unwrap().tag;

    // Another process holds the lock and does not go on.
    let other = Database::connect(&database, 1).await.unwrap();
    let mut stuck = other.begin().await.unwrap();
    sqlx::query("SELECT last_tag FROM wallet_clock WHERE id = 1 FOR UPDATE").fetch_one(&mut *stuck).await.unwrap();
    let path = format!("/api/passes/{PASS_TYPE}/1");
    let answer = service.api(Method::PATCH, &path).json(&json!({"fields": {"points": 1}})).send().await.unwrap();
    assert_eq!(answer.status(), 202, "committed, and its tag comes later");
    let answer: Value = answer.json().await.unwrap();
    assert_eq!((&answer["changed"], &answer["tag"]), (&json!(true), &Value::Null));
    assert_eq!(service.list("device", Some(&before)).await, None);
    assert!(service.gateway.pushed().is_empty(), "no push before the change is listed");

    // It dies: its connection goes, and its lock with it.
    drop(stuck);
    other.close().await;
    service.gateway.wait_for(1).await;
    assert_eq!(service.list("device", Some(&before)).await.unwrap().serials, ["1"]);
}

#[tokio::test]
async fn a_new_epoch_after_a_restored_backup_lists_everything() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        service.register("device", &pass, &push_token(1)).await;
        let tag = service.patch("1", json!({"points": 1})).await["tag"].as_str().unwrap().to_owned();
        assert_eq!(service.list("device", Some(&tag)).await, None);
        let again = service
            .restart(&[], async |url| {
                let database = Database::connect(url, 1).await.unwrap();
                sqlx::query("DELETE FROM wallet_clock").execute(database.pool()).await.unwrap();
                database.close().await;
            })
            .await;
        let listed = again.list("device", Some(&tag)).await.unwrap();
        assert_ne!(listed.tag.split('.').next(), tag.split('.').next());
        assert_eq!(again.list("device", Some(&listed.tag)).await, None);
        again.stop().await;
    }
}

#[tokio::test]
async fn an_imported_token_is_accepted_and_hashed_anew() {
    for service in Running::on_each_database(&[]).await {
        let mut pass = service.create("1").await;
        let database = Database::connect(&service.database, 1).await.unwrap();
        // SHA-1 of the text below, as another provider stored it.
        pass.token = "imported-token-of-old".to_owned();
        let output = std::process::Command::new("sh")
            .args(["-c", "printf %s imported-token-of-old | openssl dgst -sha1 -r"])
            .output()
            .unwrap();
        let sha1 = String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned();
        sqlx::query(
            "UPDATE wallet_passes SET token_algorithm = 'sha1', token_hash = $1, token_nonce = NULL WHERE serial = '1'",
        )
        .bind(sha1)
        .execute(database.pool())
        .await
        .unwrap();
        let path = format!("/api/passes/{PASS_TYPE}/1");
        let algorithm = async || {
            let state: Value = service.api(Method::GET, &path).send().await.unwrap().json().await.unwrap();
            state["tokenAlgorithm"].as_str().unwrap().to_owned()
        };
        assert_eq!(algorithm().await, "sha1");
        for _ in 0..2 {
            assert_eq!(service.fetch(&pass, None).await.status(), 200);
            eventually("the new hash", async || (algorithm().await == "sha384").then_some(())).await;
        }
        let metrics = service.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("tidings_wallet_token_uplifts_total 1"), "{metrics}");
        database.close().await;
    }
}

#[tokio::test]
async fn an_older_process_does_not_take_back_what_a_newer_one_made() {
    let Some(url) = testing::urls().await.into_iter().find(|url| url.starts_with("postgres")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (gateway, clock) = (Gateway::start().await, Clock::manual(NOW));
    let older = Running::start_in(folder.path(), &url, gateway.clone(), clock.clone(), &[]).await;
    let pass = older.create("1").await;
    older.register("a", &pass, &push_token(1)).await;
    let first = older.list("a", None).await.unwrap();
    clock.advance(5_000);
    let other = [("wallet.public_url", "https://passes.example.org")];
    let newer = Running::start_in(folder.path(), &url, gateway, clock.clone(), &other).await;
    let swept = eventually("the newer one's sweep", async || older.list("a", Some(&first.tag)).await).await;
    clock.advance(5_000);
    for service in [&older, &newer, &older, &newer] {
        assert_eq!(service.fetch(&pass, None).await.status(), 200);
    }
    assert_eq!(newer.list("a", Some(&swept.tag)).await, None, "nobody changed it");
    newer.stop().await;
    older.stop().await;
}
