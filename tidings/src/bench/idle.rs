//! Memory of connections that do nothing.

use super::client::connect_all;
use super::peer::{Peer, inbox};
use super::table::Figures;
use crate::cli::BrokerBench;

/// `--connections` plain ones, or `--tls-connections` over TLS, with one subscription each.
///
/// # Errors
/// When a client fails.
pub(super) async fn run(peer: &Peer, load: &BrokerBench, tls: bool) -> anyhow::Result<Figures> {
    let count = if tls { load.tls_connections } else { load.connections };
    // The first connections pay for what all share: code that is paged in, buffers of the threads.
    let _first = connect_all(peer, 1, tls, |_| vec!["u0/first".to_owned()]).await?;
    let before = peer.rss_kib()?;
    let clients = connect_all(peer, count, tls, |device| vec![inbox(device)]).await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let after = peer.rss_kib()?;
    drop(clients);
    Ok(vec![
        ("RSS KiB/connection", (after - before) / count as f64),
        ("RSS before MiB", before / 1024.0),
        ("RSS after MiB", after / 1024.0),
    ])
}
