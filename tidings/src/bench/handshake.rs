//! What a TLS handshake costs by itself, without sockets: both ends in this thread, the server's part timed. It is what no
//! broker on this TLS library can be cheaper than.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use tidings_shared::tls::{DevAuthority, client_config, server_config};
use tokio::time::Instant;

use super::table::Figures;

const ROUNDS: u32 = 1_000;

/// Full handshakes (TLS 1.3, ECDSA P-256) as our broker makes them, and with the library's own two session tickets.
///
/// # Errors
/// When the certificates cannot be made.
pub(super) fn run() -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir()?;
    let authority = DevAuthority::load_or_create(folder.path())?;
    let issued = authority.issue_server("server", &["localhost"])?;
    let ours = server_config(&issued.certificate, &issued.key, &[])?;
    let mut with_tickets = ServerConfig::clone(&ours);
    with_tickets.send_tls13_tickets = 2;
    let mut without = ServerConfig::clone(&ours);
    without.send_tls13_tickets = 0;
    let mut client = client_config(Some(&authority.certificate()), None, &[])?;
    client.resumption = rustls::client::Resumption::disabled();
    let client = Arc::new(client);
    let micros = |server: Arc<ServerConfig>| anyhow::Ok(time(&server, &client)?.as_secs_f64() * 1e6);
    let ours = micros(ours)?;
    Ok(vec![
        ("us of one core, as the broker does", ours),
        ("us without session tickets", micros(without.into())?),
        ("us with two session tickets", micros(with_tickets.into())?),
        ("handshakes/s on two cores", 2e6 / ours),
    ])
}

fn time(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> anyhow::Result<Duration> {
    let mut spent = Duration::ZERO;
    for round in 0..ROUNDS + ROUNDS / 10 {
        let mut far = ClientConnection::new(client.clone(), ServerName::try_from("localhost")?)?;
        let begin = Instant::now();
        let mut near = ServerConnection::new(server.clone())?;
        let mut took = begin.elapsed();
        let mut wire = Vec::new();
        while far.is_handshaking() || near.is_handshaking() || near.wants_write() {
            wire.clear();
            while far.wants_write() {
                far.write_tls(&mut wire)?;
            }
            let begin = Instant::now();
            let mut bytes = &wire[..];
            while !bytes.is_empty() {
                near.read_tls(&mut bytes)?;
                near.process_new_packets()?;
            }
            let mut answer = Vec::new();
            while near.wants_write() {
                near.write_tls(&mut answer)?;
            }
            took += begin.elapsed();
            let mut bytes = &answer[..];
            while !bytes.is_empty() {
                far.read_tls(&mut bytes)?;
                far.process_new_packets()?;
            }
        }
        // The first rounds warm up.
        if round >= ROUNDS / 10 {
            spent += took;
        }
    }
    Ok(spent / ROUNDS)
}
