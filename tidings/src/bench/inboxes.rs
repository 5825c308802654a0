//! Publishes at a steady rate to inboxes that nobody has published to before, each to another one.

use super::client::connect_all;
use super::load::{Received, Work, publish_paced, receive_all};
use super::peer::{Peer, inbox};
use super::table::Figures;
use crate::cli::BrokerBench;

/// One message to each of `--inboxes` at `--rate`.
///
/// # Errors
/// When a client fails, or nothing is delivered.
pub(super) async fn run(peer: &Peer, load: &BrokerBench) -> anyhow::Result<Figures> {
    let clients = connect_all(peer, load.inboxes, false, |device| vec![inbox(device)]).await?;
    let received = Received::new()?;
    let _devices = receive_all(clients, &received);
    let work = Work { publishers: load.publishers, devices: load.inboxes, payload: load.payload };
    let before = peer.cpu_s()?;
    let count = load.inboxes as u64;
    let acknowledged = publish_paced(peer, &received, work, load.rate, count).await?;
    let missing = received.wait_for(count).await;
    let cpu = peer.cpu_s()? - before;
    anyhow::ensure!(
        received.count() > 0,
        "of {count} publishes {acknowledged} were acknowledged and none was delivered within 10 s"
    );
    Ok(vec![
        ("p50 ms", received.quantile_ms(0.5)),
        ("p99 ms", received.quantile_ms(0.99)),
        ("p99.9 ms", received.quantile_ms(0.999)),
        ("CPU us/message", cpu * 1e6 / received.count() as f64),
        ("not delivered", missing as f64),
    ])
}
