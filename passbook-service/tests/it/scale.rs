//! A measurement, not a promise: a campaign over a million devices. By hand, with `TIDINGS_TEST_POSTGRES` for PostgreSQL too:
//! `cargo test --workspace --test it -- --ignored --nocapture campaign_of_a_million`. `TIDINGS_SCALE` is another number.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tidings_shared::storage::{Database, testing};
use tokio::time::Instant;

use crate::support::Running;

/// Rows of one statement, and of one transaction.
const STATEMENT: u64 = 500;
const TRANSACTION: u64 = 10_000;

/// Devices with a pass each, as an import leaves them.
async fn fill(url: &str, devices: u64) {
    let database = Database::connect(url, 2).await.unwrap();
    let zeros = "0".repeat(56);
    let tables: [(&str, Row); 3] = [
        // A template that is not here: nothing is rendered anew meanwhile.
        (
            "wallet_passes (pass_type, serial, template, fields, token_algorithm, token_hash, basis, fingerprint, last_modified, revision, created_at, updated_at)",
            Box::new(|i, _| {
                format!(
                    "('pass.dev.tidings.example', 'old-{i}', 'elsewhere', '{{}}', 'sha1', 'h', 'b', 'f', 1, 1, 1, 1)"
                )
            }),
        ),
        (
            "wallet_devices (device, push_token, token_at, created_at)",
            Box::new(move |i, device| format!("('device-{device}', '{zeros}{i}', 0, 1)")),
        ),
        (
            "wallet_registrations (device, pass_type, serial, registered_at)",
            Box::new(|i, device| format!("('device-{device}', 'pass.dev.tidings.example', 'old-{i}', 1)")),
        ),
    ];
    for begin in (0..devices).step_by(TRANSACTION as usize) {
        let mut transaction = database.begin().await.unwrap();
        for (table, row) in &tables {
            let end = devices.min(begin + TRANSACTION);
            for begin in (begin..end).step_by(STATEMENT as usize) {
                // Devices come in another order than their passes.
                let rows: Vec<_> = (begin..end.min(begin + STATEMENT))
                    .map(|i| row(10_000_000 + i, 10_000_000 + (i * 7919) % devices))
                    .collect();
                let text = format!("INSERT INTO {table} VALUES {}", rows.join(", "));
                sqlx::query(sqlx::AssertSqlSafe(text)).persistent(false).execute(&mut *transaction).await.unwrap();
            }
        }
        transaction.commit().await.unwrap();
    }
    sqlx::query("ANALYZE").execute(database.pool()).await.unwrap();
    database.close().await;
}

/// A row's values, from its number and its device's.
type Row = Box<dyn Fn(u64, u64) -> String>;

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
