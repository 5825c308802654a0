//! Publishes as fast as they are acknowledged.

use std::time::Duration;

use tokio::time::Instant;

use super::client::connect_all;
use super::load::{Received, Work, publish_fast, receive_all};
use super::peer::{Peer, inbox};
use super::table::Figures;
use crate::cli::BrokerBench;

/// `--publishers` to `--devices` for `--seconds`.
///
/// # Errors
/// When a client fails.
pub(super) async fn run(peer: &Peer, load: &BrokerBench) -> anyhow::Result<Figures> {
    let clients = connect_all(peer, load.devices, false, |device| vec![inbox(device)]).await?;
    let received = Received::new()?;
    let _devices = receive_all(clients, &received);
    let (idle_kib, cpu, begin) = (peer.rss_kib()?, peer.cpu_s()?, Instant::now());
    let work = Work { publishers: load.publishers, devices: load.devices, payload: load.payload };
    let acknowledged = publish_fast(peer, &received, work, Duration::from_secs(load.seconds)).await?;
    let missing = received.wait_for(acknowledged).await;
    let (took, cpu) = (begin.elapsed().as_secs_f64(), peer.cpu_s()? - cpu);
    let count = received.count().max(1) as f64;
    Ok(vec![
        ("messages/s", count / took),
        ("CPU us/message", cpu * 1e6 / count),
        ("RSS before MiB", idle_kib / 1024.0),
        ("RSS after MiB", peer.rss_kib()? / 1024.0),
        ("RSS bytes/message", (peer.rss_kib()? - idle_kib) * 1024.0 / count),
        ("not delivered", missing as f64),
    ])
}
