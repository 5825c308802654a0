//! Many subscriptions on fewer connections, all alive: memory, and publishes that find their one receiver.

use super::client::connect_all;
use super::load::{Received, Work, publish_paced, receive_all};
use super::peer::{Peer, inbox};
use super::table::Figures;
use crate::cli::BrokerBench;

/// Subscriptions of one connection.
const EACH: usize = 10;

/// `--subscriptions` in all, ten on each connection; every connection gets one message for each ten publishes.
///
/// # Errors
/// When a client fails.
pub(super) async fn run(peer: &Peer, load: &BrokerBench) -> anyhow::Result<Figures> {
    let connections = (load.subscriptions / EACH).max(1);
    let before = peer.rss_kib()?;
    let filters = |device: usize| {
        let others = (1..EACH).map(|n| format!("u{device}/{n}"));
        std::iter::once(inbox(device)).chain(others).collect::<Vec<_>>()
    };
    let clients = connect_all(peer, connections, false, filters).await?;
    let after = peer.rss_kib()?;
    let received = Received::new()?;
    let _devices = receive_all(clients, &received);
    let work = Work { publishers: load.publishers, devices: connections, payload: load.payload };
    let cpu = peer.cpu_s()?;
    let count = connections as u64;
    publish_paced(peer, &received, work, load.rate, count).await?;
    let missing = received.wait_for(count).await;
    let cpu = peer.cpu_s()? - cpu;
    Ok(vec![
        ("subscriptions", (connections * EACH) as f64),
        ("RSS bytes/subscription", (after - before) * 1024.0 / (connections * EACH) as f64),
        ("p50 ms", received.quantile_ms(0.5)),
        ("p99 ms", received.quantile_ms(0.99)),
        ("CPU us/message", cpu * 1e6 / received.count().max(1) as f64),
        ("not delivered", missing as f64),
    ])
}
