//! End to end: from the request through the queue to the simulator that has the push.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use super::super::door::Door;
use super::super::table::Figures;
use super::stage::{Gateway, KEY, Simulators};
use super::{Mode, PushBench, Store, load};

/// How long nothing may arrive before the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(10);

/// One database, one way of sending.
///
/// # Errors
/// When a program fails.
pub(super) async fn run(load: &PushBench, store: Store, mode: Mode) -> anyhow::Result<Figures> {
    let simulators = Simulators::start().await?;
    let database = match store {
        Store::Sqlite => None,
        Store::Postgres => {
            let server = load.postgres.as_deref().context("no PostgreSQL is named")?;
            Some(tidings_shared::storage::testing::create_postgres(server).await)
        }
    };
    let gateway = Gateway::start(&simulators, database).await?;
    let figures = measure(load, mode, &simulators, &gateway).await;
    gateway.end().await;
    simulators.end().await;
    figures
}

async fn measure(load: &PushBench, mode: Mode, simulators: &Simulators, gateway: &Gateway) -> anyhow::Result<Figures> {
    let mut control = Door::open(simulators.control, KEY).await?;
    let (http, rss_before) = (gateway.http, gateway.rss_mib()?);
    let (cpu, simulators_cpu, begin) = (gateway.cpu_s()?, simulators.cpu_s()?, Instant::now());
    let sender = tokio::spawn({
        let load = load.clone();
        async move {
            let refused = load::fast(http, &load, mode).await?;
            anyhow::Ok((refused, begin.elapsed()))
        }
    });
    let mut rss_early = None;
    let (mut last, mut moved, mut most) = (0, Instant::now(), rss_before);
    let took = loop {
        tokio::time::sleep(LOOK).await;
        // One that failed is told below.
        if sender.is_finished() && moved.elapsed() >= PATIENCE {
            break begin.elapsed();
        }
        let arrived = arrived(&mut control).await?;
        if arrived >= load.pushes {
            break begin.elapsed();
        }
        if arrived > last {
            (last, moved) = (arrived, Instant::now());
        }
        if arrived >= load.pushes / 10 {
            rss_early.get_or_insert(gateway.rss_mib()?);
        }
        most = most.max(gateway.rss_mib()?);
    };
    let (refused, taken) = sender.await??;
    anyhow::ensure!(last + 1 >= load.pushes || moved.elapsed() < PATIENCE, "only {last} pushes have arrived");
    let count = load.pushes as f64;
    let (cpu, simulators_cpu) = (gateway.cpu_s()? - cpu, simulators.cpu_s()? - simulators_cpu);
    let rss_after = gateway.rss_mib()?;
    control.json("POST", "/reset", "").await?;
    let answered = load::steady(http, load, mode).await?;
    let mut latencies = latencies(&mut control, &answered).await?;
    latencies.sort_unstable();
    let at = |share: f64| -> f64 {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).copied().unwrap_or(0) as f64
    };
    Ok(vec![
        ("pushes/s", count / took.as_secs_f64()),
        ("taken/s", count / taken.as_secs_f64()),
        ("gateway CPU us/push", cpu * 1e6 / count),
        ("simulators CPU us/push", simulators_cpu * 1e6 / count),
        ("RSS before MiB", rss_before),
        ("RSS after a tenth MiB", rss_early.unwrap_or(rss_after)),
        ("RSS highest MiB", most),
        ("RSS after MiB", rss_after),
        ("refused (429, 503)", refused as f64),
        ("202 to APNs p50 ms", at(0.5)),
        ("202 to APNs p99 ms", at(0.99)),
        ("202 to APNs highest ms", at(1.0)),
    ])
}

async fn arrived(control: &mut Door) -> anyhow::Result<usize> {
    let stats = control.json("GET", "/apns/stats", "").await?;
    let accepted = stats["accepted"].as_u64().context("the simulators have other counters")?;
    Ok(usize::try_from(accepted)?)
}

/// From the answer to the sender to the arrival, in milliseconds; 0 where the push was faster than the answer.
async fn latencies(control: &mut Door, answered: &HashMap<String, i64>) -> anyhow::Result<Vec<i64>> {
    let deadline = Instant::now() + PATIENCE;
    while arrived(control).await? < answered.len() {
        anyhow::ensure!(Instant::now() < deadline, "not all pushes have arrived");
        tokio::time::sleep(LOOK).await;
    }
    let (mut latencies, mut after) = (Vec::with_capacity(answered.len()), 0);
    loop {
        let page = control.json("GET", &format!("/pushes?after={after}&limit=1000"), "").await?;
        let pushes = page["pushes"].as_array().map(Vec::as_slice).unwrap_or_default();
        if pushes.is_empty() {
            return Ok(latencies);
        }
        for push in pushes {
            let (id, at) = (push["id"].as_str().unwrap_or_default(), push["at_ms"].as_i64().unwrap_or(0));
            latencies.extend(answered.get(id).map(|answered| (at - answered).max(0)));
        }
        after = page["last"].as_u64().context("the simulators have other pages")?;
    }
}
