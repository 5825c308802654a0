//! From the accepted socket to the stream in which MQTT or HTTP is spoken: the PROXY header, TLS.

use std::sync::Arc;

use http::StatusCode;
use tidings_shared::http::{ApiError, Server};
use tidings_shared::tls::{ServerTls, expires_at_ms};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::Inner;
use super::greeting::greet;
use super::guest::{Guest, HURRY, LOOK, WaitsFor};
use super::metrics::{By, Transport};
use super::proxy::{self, Source};
use super::tls::TlsStream;

/// What is spoken on a listener.
#[derive(Clone)]
pub(super) enum Inside {
    /// MQTT as it is.
    Plain,
    /// MQTT in TLS.
    Tls(ServerTls),
    /// HTTP, and MQTT over WebSocket.
    Http(Server),
}

impl Inside {
    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Plain => Transport::Tcp,
            Self::Tls(_) => Transport::Tls,
            Self::Http(_) => Transport::Http,
        }
    }
}

/// Leads an accepted connection to its greeting, or out.
pub(super) async fn receive(gate: Arc<Inner>, mut socket: TcpStream, mut guest: Guest, inside: Inside, proxied: bool) {
    if proxied && let Err(code) = introduce(&gate, &mut socket, &mut guest).await {
        return gate.turn_away(&guest, code);
    }
    match inside {
        Inside::Plain => Box::pin(greet(gate, socket, guest)).await,
        Inside::Tls(tls) => match Box::pin(secure(&gate, socket, &mut guest, &tls)).await {
            Ok(stream) => Box::pin(greet(gate, stream, guest)).await,
            Err(code) => gate.turn_away(&guest, code),
        },
        Inside::Http(server) => {
            // Not one of the gate's tasks: HTTP has a patience of its own when the broker stops.
            tokio::spawn(speak_http(gate, socket, guest, server));
        }
    }
}

impl Inner {
    /// Counts and notes a connection that is closed without an answer.
    pub(super) fn turn_away(&self, guest: &Guest, code: &'static str) {
        self.metrics.refuse(code);
        tracing::debug!(peer = %guest.peer, transport = guest.transport.name(), code, "connection refused");
    }
}

/// Reads the PROXY header; from then on the client's address counts.
async fn introduce(gate: &Inner, socket: &mut TcpStream, guest: &mut Guest) -> Result<(), &'static str> {
    let source = guest.step(gate, WaitsFor::Peer, proxy::read(socket)).await?;
    let peer = match source {
        Ok(Source::Client(peer)) => peer,
        Ok(Source::Proxy) => return Ok(()),
        Err(why) => {
            let proxy = guest.peer;
            if gate.budget.allows(gate.clock.now_s()) {
                tracing::warn!(%proxy, why, code = "proxy_header", "connection refused: its PROXY header cannot be used (broker.proxy_protocol.trusted names this address)");
            }
            return Err("proxy_header");
        }
    };
    guest.peer = peer;
    guest.pass.name(peer.ip()).map_err(super::lobby::Full::code)?;
    guest.in_time = gate.lobby.is_in_time(peer.ip());
    Ok(())
}

/// The TLS handshake. A peer that is silent costs no more than a socket.
async fn secure(
    gate: &Inner,
    socket: TcpStream,
    guest: &mut Guest,
    tls: &ServerTls,
) -> Result<TlsStream<TcpStream>, &'static str> {
    if !guest.in_time {
        return Err("connect_rate");
    }
    guest.step(gate, WaitsFor::Peer, socket.readable()).await?.map_err(|_| "gone")?;
    let place = guest.step(gate, WaitsFor::Us, gate.tls_places.acquire()).await;
    let _place = place.map_err(|code| if code == "connect_deadline" { "tls_handshake_limit" } else { code })?;
    let handshake = TlsStream::accept(tls.current(), socket);
    match guest.step(gate, WaitsFor::PeerInTls, handshake).await? {
        Ok(stream) => {
            guest.secured = true;
            let shown = stream.peer_certificates().and_then(<[_]>::first);
            guest.certified_until_ms = shown.and_then(|certificate| expires_at_ms(certificate));
            Ok(stream)
        }
        Err(error) => {
            tracing::debug!(peer = %guest.peer, %error, "TLS handshake failed");
            Err("tls_handshake")
        }
    }
}

/// Serves an HTTP connection. Until its first request it is a guest like every other.
async fn speak_http(gate: Arc<Inner>, socket: TcpStream, guest: Guest, server: Server) {
    let Ok(_place) = Arc::clone(&gate.http_places).try_acquire_owned() else {
        return gate.turn_away(&guest, "http_connections_limit");
    };
    let refusal = (!guest.in_time).then(|| {
        gate.metrics.refuse("connect_rate");
        let why = "too many connections from this address; try again shortly";
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "connect_rate", why).retry_after(1)
    });
    match guest.step(&gate, WaitsFor::Peer, socket.readable()).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return gate.turn_away(&guest, "gone"),
        Err(code) => return gate.turn_away(&guest, code),
    }
    let (peer, deadline) = (guest.peer, guest.deadline);
    let by = By { transport: Transport::Http };
    gate.metrics.connections.get_or_create(&by).inc();
    let (serving, heard) = server.connection(socket, peer, guest, refusal);
    let mut serving = std::pin::pin!(serving);
    let patient_until = Instant::now() + HURRY;
    let mut look = Instant::now() + LOOK;
    loop {
        tokio::select! {
            () = &mut serving => break,
            () = sleep_until(look), if !heard.is_heard() => {
                look = Instant::now() + LOOK;
                let crowded = look > patient_until && heard.with(|guest| guest.pass.is_crowded()).unwrap_or(false);
                if (crowded || look > deadline) && let Some(guest) = heard.take() {
                    let code = if crowded { "unauthenticated_limit" } else { "connect_deadline" };
                    gate.turn_away(&guest, code);
                    break;
                }
            }
        }
    }
    gate.metrics.connections.get_or_create(&by).dec();
}
