//! Accepts sockets. Nothing here waits for a peer: the handshake happens in the connection's own task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};

use super::greeting::{Guest, greet};
use super::metrics::{By, Transport};
use super::tls::TlsStream;
use super::{Gate, Inner};

/// How long accepting rests after an error such as too many open files: the next call would fail at once again.
const REST: Duration = Duration::from_millis(100);
/// An accept error is logged at most this often.
const QUIET: Duration = Duration::from_secs(10);
/// When TCP asks a silent peer whether it is still there: a client without keep-alive may otherwise stay for ever.
const PROBE: Duration = Duration::from_secs(300);

impl Gate {
    /// Serves MQTT over plain TCP until the shutdown.
    pub async fn serve_tcp(&self, listener: TcpListener) {
        self.0.serve(listener, Transport::Tcp, None).await;
    }

    /// Serves MQTT over TLS until the shutdown.
    pub async fn serve_tls(&self, listener: TcpListener, config: Arc<rustls::ServerConfig>) {
        self.0.serve(listener, Transport::Tls, Some(config)).await;
    }
}

impl Inner {
    async fn serve(
        self: &Arc<Self>,
        listener: TcpListener,
        transport: Transport,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) {
        let mut logged: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.shutdown.wait() => return,
            };
            match accepted {
                Ok((socket, peer)) => self.accepted(socket, peer, transport, tls.clone()),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    self.metrics.accept_errors.inc();
                    if logged.is_none_or(|at| at.elapsed() > QUIET) {
                        logged = Some(Instant::now());
                        tracing::error!(
                            %error,
                            transport = transport.name(),
                            "a socket could not be accepted; clients wait (too many open files? raise the limit, see `ulimit -n`)"
                        );
                    }
                    sleep(REST).await;
                }
            }
        }
    }

    fn accepted(
        self: &Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
        transport: Transport,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) {
        self.metrics.accepted.get_or_create(&By { transport }).inc();
        let pass = match self.lobby.enter(peer.ip()) {
            Ok(pass) => pass,
            Err(full) => {
                self.metrics.refuse(full.code());
                tracing::debug!(%peer, code = full.code(), "connection refused");
                return;
            }
        };
        // Neither option is needed to serve the client.
        let _ = socket.set_nodelay(true);
        let _ = SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE));
        let guest = Guest { peer, transport, deadline: Instant::now() + self.limits.connect_deadline, pass };
        let gate = Arc::clone(self);
        match tls {
            None => drop(self.tasks.spawn(greet(gate, socket, guest))),
            Some(tls) => drop(self.tasks.spawn(async move {
                let handshake = tokio::select! {
                    handshake = timeout_at(guest.deadline, TlsStream::accept(tls, socket)) => handshake,
                    () = gate.shutdown.wait() => return,
                };
                match handshake {
                    Ok(Ok(stream)) => greet(gate, stream, guest).await,
                    Ok(Err(error)) => {
                        gate.metrics.refuse("tls_handshake");
                        tracing::debug!(%peer, %error, code = "tls_handshake", "connection refused");
                    }
                    Err(_) => gate.metrics.refuse("connect_deadline"),
                }
            })),
        }
    }
}

/// Errors of one peer that gave up in the queue: the next `accept` may work at once.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
