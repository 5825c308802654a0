//! Every client loses its connection and comes back at the same moment, as after a network outage, while one more client
//! logs in again and again and notes how long that takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Client, Visit, connect_all};
use super::peer::{Peer, inbox};
use super::table::Figures;
use crate::cli::BrokerBench;

/// The first pause of a client that was turned away; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// `--storm` clients.
///
/// # Errors
/// When they cannot connect in the first place, or are not all back within a minute.
pub(super) async fn run(peer: &Peer, load: &BrokerBench) -> anyhow::Result<Figures> {
    let clients = connect_all(peer, load.storm, false, |device| vec![inbox(device)]).await?;
    let over = Arc::new(AtomicBool::new(false));
    let probe = probe_apart(peer.device(load.storm, false), over.clone());
    sleep(Duration::from_millis(500)).await;
    let cpu = peer.cpu_s()?;
    let begin = Instant::now();
    drop(clients);
    let mut returning = JoinSet::new();
    for device in 0..load.storm {
        returning.spawn(come_back(peer.device(device, false), inbox(device)));
    }
    let mut turned_away = 0;
    let mut clients = Vec::with_capacity(load.storm);
    let back = async {
        while let Some(client) = returning.join_next().await {
            let (client, attempts) = client??;
            turned_away += attempts - 1;
            clients.push(client);
        }
        anyhow::Ok(())
    };
    let outcome = timeout(PATIENCE, back).await;
    let (took, cpu) = (begin.elapsed(), peer.cpu_s()? - cpu);
    over.store(true, Ordering::Relaxed);
    let probed = tokio::task::spawn_blocking(move || probe.join()).await?;
    let probed = probed.map_err(|_| anyhow::anyhow!("the probe ended early"))??;
    anyhow::ensure!(outcome.is_ok(), "after {} s {} of {} clients are back", took.as_secs(), clients.len(), load.storm);
    outcome??;
    Ok(vec![
        ("all back after s", took.as_secs_f64()),
        ("returns/s", load.storm as f64 / took.as_secs_f64()),
        ("CPU us/return", cpu * 1e6 / load.storm as f64),
        ("turned away, tried again", turned_away as f64),
        ("CONNECT of another: worst ms", probed.worst.as_secs_f64() * 1e3),
        ("its attempts", probed.count as f64),
    ])
}

/// Connects and subscribes, again after a pause when it is turned away.
async fn come_back(visit: Visit, filter: String) -> anyhow::Result<(Client, u64)> {
    let mut pause = PAUSE;
    for attempt in 1.. {
        let client = async {
            let mut client = Client::connect(&visit).await?;
            client.subscribe(std::slice::from_ref(&filter)).await?;
            anyhow::Ok(client)
        };
        if let Ok(client) = client.await {
            return Ok((client, attempt));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    anyhow::bail!("unreachable: attempts do not end")
}

/// The probe in a thread of its own: what it waits for is the broker, not its turn behind the returning clients.
fn probe_apart(visit: Visit, over: Arc<AtomicBool>) -> std::thread::JoinHandle<anyhow::Result<Probed>> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(probe(visit, over))
    })
}

struct Probed {
    worst: Duration,
    count: u64,
}

/// Logs in again and again until it is over. Being turned away counts as waiting.
async fn probe(visit: Visit, over: Arc<AtomicBool>) -> anyhow::Result<Probed> {
    let mut probed = Probed { worst: Duration::ZERO, count: 0 };
    while !over.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let client = loop {
            match Client::connect(&visit).await {
                Ok(client) => break client,
                Err(error) if begin.elapsed() > PATIENCE => return Err(error),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        };
        probed.worst = probed.worst.max(begin.elapsed());
        probed.count += 1;
        drop(client);
        sleep(Duration::from_millis(10)).await;
    }
    Ok(probed)
}
