//! `tidings bench broker`: QoS 1 publishes to many inboxes, for us (with the durable log) and for mosquitto where it is
//! installed (in memory), one after the other.

use std::fmt::Write;

use crate::bench::load::{self, Figures};
use crate::bench::peer::Peer;
use crate::cli::BrokerBench;
use crate::commands::say;

/// Runs the load and prints the figures.
///
/// # Errors
/// When a broker cannot be started or a client fails.
pub(crate) async fn run(load: &BrokerBench) -> anyhow::Result<()> {
    anyhow::ensure!(
        load.devices > 0 && load.publishers > 0 && load.rate > 0,
        "devices, publishers and rate are at least 1"
    );
    say(&format!(
        "{} devices with one inbox each, {} publishers, {}-byte payloads, QoS 1; {} s at {} publishes/s for the latencies, then {} s as fast as it goes\n",
        load.devices, load.publishers, load.payload, load.seconds, load.rate, load.seconds
    ))?;
    let mut rows = Vec::new();
    for peer in [Peer::tidings(load.devices).await, Peer::mosquitto().await] {
        match peer {
            Ok(Some(peer)) => rows.push((peer.name, load::run(&peer, load).await?)),
            Ok(None) => say("mosquitto is not installed; measured without a peer\n")?,
            Err(error) => return Err(error),
        }
    }
    say(&table(&rows))
}

fn table(rows: &[(&'static str, Figures)]) -> String {
    let mut text = format!(
        "\n{:<10} {:>12} {:>10} {:>10} {:>14} {:>14} {:>8}\n",
        "broker", "msgs/s", "p50 ms", "p99 ms", "RSS idle MiB", "RSS after MiB", "lost"
    );
    for (name, figures) in rows {
        let _ = writeln!(
            text,
            "{name:<10} {:>12.0} {:>10.2} {:>10.2} {:>14.1} {:>14.1} {:>8}",
            figures.throughput,
            figures.p50_ms,
            figures.p99_ms,
            figures.rss_idle_mib,
            figures.rss_after_mib,
            figures.lost
        );
    }
    if let [(_, ours), (_, theirs)] = rows {
        let _ = writeln!(
            text,
            "{:<10} {:>12.2} {:>10.2} {:>10.2} {:>14.2} {:>14.2}",
            "ratio",
            ours.throughput / theirs.throughput,
            ours.p50_ms / theirs.p50_ms,
            ours.p99_ms / theirs.p99_ms,
            ours.rss_idle_mib / theirs.rss_idle_mib,
            ours.rss_after_mib / theirs.rss_after_mib
        );
    }
    text
}
