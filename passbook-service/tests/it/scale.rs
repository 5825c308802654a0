//! A measurement, not a promise: a campaign over a million devices. By hand, with `TIDINGS_TEST_POSTGRES` for PostgreSQL too:
//! `cargo test --workspace --test it -- --ignored --nocapture campaign_of_a_million`. `TIDINGS_SCALE` is another number.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tidings_shared::storage::{Database, testing};
use tokio::time::Instant;

use crate::support::Running;

/// Devices with a pass each, as an import leaves them.
async fn fill(url: &str, devices: u64) {
    let database = Database::connect(url, 2).await.unwrap();
    let numbers = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {devices})");
    let zeros = "0".repeat(56);
    for rows in [
        // A template that is not here: nothing is rendered anew meanwhile.
        "INSERT INTO wallet_passes (pass_type, serial, template, fields, token_algorithm, token_hash, basis, fingerprint, last_modified, revision, created_at, updated_at) \
         SELECT 'pass.dev.tidings.example', 'old-' || (i + 10000000), 'elsewhere', '{}', 'sha1', 'h', 'b', 'f', 1, 1, 1, 1 FROM n"
            .to_owned(),
        format!(
            "INSERT INTO wallet_devices (device, push_token, token_at, created_at) SELECT 'device-' || ((i * 7919) % {devices}), '{zeros}' || (i + 10000000), 0, 1 FROM n"
        ),
        format!(
            "INSERT INTO wallet_registrations (device, pass_type, serial, registered_at) SELECT 'device-' || ((i * 7919) % {devices}), 'pass.dev.tidings.example', 'old-' || (i + 10000000), 1 FROM n"
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(format!("{numbers} {rows}"))).execute(database.pool()).await.unwrap();
    }
    sqlx::query("ANALYZE").execute(database.pool()).await.unwrap();
    database.close().await;
}

/// Memory of this process now and at its highest, MiB.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    (of("VmRSS"), of("VmHWM"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement that takes minutes"]
async fn a_campaign_of_a_million_devices() {
    let devices = std::env::var("TIDINGS_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000_u64);
    for url in testing::urls().await {
        let kind = url.split(':').next().unwrap_or_default().to_owned();
        let begin = Instant::now();
        fill(&url, devices).await;
        println!("{kind}: {devices} devices filled in within {:.0} s", begin.elapsed().as_secs_f64());
        let service = Running::start(&url, &[]).await;
        service.gateway.only_count();
        let body = json!({"name": "Move", "rate": {"floor": 100_000, "ceiling": 100_000}});
        let answer = service.api(Method::POST, "/api/campaigns").json(&body).send().await.unwrap();
        let id = answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
        let (begin, mut told) = (Instant::now(), 0);
        println!("{kind}: before the first push {} MiB", memory().0);
        loop {
            let answer = service.api(Method::GET, &format!("/api/campaigns/{id}")).send().await.unwrap();
            let campaign: Value = answer.json().await.unwrap();
            let tenth = campaign["lookedAt"].as_u64().unwrap() * 10 / devices;
            if tenth > told {
                told = tenth;
                let (now, most) = memory();
                println!(
                    "{kind}: {tenth} tenths after {:.0} s: {now} MiB, at most {most}",
                    begin.elapsed().as_secs_f64()
                );
            }
            if campaign["state"] == "done" {
                assert_eq!(campaign["counts"]["pushed"], devices);
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let seconds = begin.elapsed().as_secs_f64();
        assert_eq!(service.gateway.counted(), devices);
        println!("{kind}: {devices} pushes in {seconds:.0} s, {:.0} a second", devices as f64 / seconds);
        let begin = Instant::now();
        let answer = service.api(Method::GET, &format!("/api/campaigns/{id}/coverage")).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["uncovered"], devices);
        println!("{kind}: coverage counted in {:.1} s", begin.elapsed().as_secs_f64());
        service.stop().await;
    }
}
