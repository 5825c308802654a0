//! Log-ins over TLS: handshake, CONNECT with a token, CONNACK, and gone.

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::client::Client;
use super::peer::Peer;
use super::table::Figures;
use super::wire::DISCONNECT;
use crate::cli::BrokerBench;

/// Handshakes at the same time: enough for two cores, few enough that nobody waits long.
const AT_ONCE: usize = 32;

/// `--tls-connects` log-ins. The clients use the same processors as the broker, so the broker's own processor time says
/// how many it could take on two cores with the clients elsewhere.
///
/// # Errors
/// When a client fails.
pub(super) async fn run(peer: &Peer, load: &BrokerBench) -> anyhow::Result<Figures> {
    let count = load.tls_connects;
    let one = |device: usize| {
        // Without the earlier session: each handshake is a full one, as after a long sleep.
        let mut visit = peer.device(device, true);
        async move {
            if let Some(config) = &visit.tls {
                let mut fresh = rustls::ClientConfig::clone(config);
                fresh.resumption = rustls::client::Resumption::disabled();
                visit.tls = Some(fresh.into());
            }
            let mut client = Client::connect(&visit).await?;
            client.send(&DISCONNECT).await
        }
    };
    stream::iter(0..count / 10).map(one).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    let (cpu, begin) = (peer.cpu_s()?, Instant::now());
    stream::iter(0..count).map(one).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    let (took, cpu) = (begin.elapsed().as_secs_f64(), peer.cpu_s()? - cpu);
    let each = cpu / count as f64;
    Ok(vec![
        ("CONNECTs/s beside the clients", count as f64 / took),
        ("CPU us/CONNECT", each * 1e6),
        ("CONNECTs/s that two cores allow", 2.0 / each),
    ])
}
