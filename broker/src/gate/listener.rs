//! Accepts sockets. Nothing here waits for a peer: everything else happens in the connection's own task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use socket2::{SockRef, TcpKeepalive};
use tidings_shared::http::Server;
use tidings_shared::tls::ServerTls;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::entrance::{Inside, receive};
use super::guest::Guest;
use super::metrics::{By, Transport};
use super::{Gate, Inner};

/// How many sockets are accepted before others have a turn.
const AT_ONCE: u32 = 1024;
/// How long accepting rests after an error such as too many open files: the next call would fail at once again.
const REST: Duration = Duration::from_millis(100);
/// An accept error is logged at most this often.
const QUIET: Duration = Duration::from_secs(10);
/// When TCP asks a silent peer whether it is still there: a client without keep-alive may otherwise stay for ever.
const PROBE: Duration = Duration::from_secs(300);

impl Gate {
    /// Serves MQTT over plain TCP until the shutdown.
    pub async fn serve_tcp(&self, listener: TcpListener) {
        self.0.serve(listener, Inside::Plain).await;
    }

    /// Serves MQTT over TLS until the shutdown.
    pub async fn serve_tls(&self, listener: TcpListener, tls: ServerTls) {
        self.0.serve(listener, Inside::Tls(tls)).await;
    }

    /// Serves HTTP until the shutdown; who owns the server lets requests under way finish.
    pub async fn serve_http(&self, listener: TcpListener, server: Server) {
        self.0.serve(listener, Inside::Http(server)).await;
    }
}

impl Inner {
    async fn serve(self: &Arc<Self>, listener: TcpListener, inside: Inside) {
        let mut logged: Option<Instant> = None;
        let mut accepted_so_far = 0_u32;
        loop {
            // Without tokio's budget of operations: when thousands come back at once, the queue of the system would
            // overflow while this task waits for its next turn, and who is turned away there comes again seconds later.
            let accepted = tokio::task::unconstrained(async {
                tokio::select! {
                    biased;
                    () = self.closing.wait() => None,
                    accepted = listener.accept() => Some(accepted),
                }
            });
            let Some(accepted) = accepted.await else { break };
            accepted_so_far = accepted_so_far.wrapping_add(1);
            if accepted_so_far.is_multiple_of(AT_ONCE) {
                tokio::task::yield_now().await;
            }
            match accepted {
                Ok((socket, peer)) => self.accepted(socket, peer, &inside),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    self.metrics.accept_errors.inc();
                    if logged.is_none_or(|at| at.elapsed() > QUIET) {
                        logged = Some(Instant::now());
                        tracing::error!(
                            %error,
                            transport = inside.transport().name(),
                            "a socket could not be accepted; clients wait (too many open files? raise the limit, see `ulimit -n`)"
                        );
                    }
                    sleep(REST).await;
                }
            }
        }
        // Who is in the queue already is told that the broker stops.
        while let Some(Ok((socket, peer))) = listener.accept().now_or_never() {
            self.accepted(socket, peer, &inside);
        }
    }

    fn accepted(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr, inside: &Inside) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let transport = inside.transport();
        self.metrics.accepted.get_or_create(&By { transport }).inc();
        let refuse = |code| {
            self.metrics.refuse(code);
            tracing::debug!(%peer, transport = transport.name(), code, "connection refused");
        };
        let proxied = self.limits.proxies.iter().any(|network| network.contains(peer.ip()));
        let in_time = proxied || self.lobby.is_in_time(peer.ip());
        if !in_time && transport == Transport::Tls {
            // A handshake only to say no would cost what is to be saved.
            return refuse("connect_rate");
        }
        let pass = if proxied { self.lobby.enter_unnamed() } else { self.lobby.enter(peer.ip()) };
        let pass = match pass {
            Ok(pass) => pass,
            Err(full) => return refuse(full.code()),
        };
        // Neither option is needed to serve the client.
        let _ = socket.set_nodelay(true);
        let _ = SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE));
        let deadline = Instant::now() + self.limits.connect_deadline;
        let guest = Guest { peer, transport, deadline, pass, in_time, secured: false, certified_until_ms: None };
        self.tasks.spawn(receive(Arc::clone(self), socket, guest, inside.clone(), proxied));
    }
}

/// Errors of one peer that gave up in the queue: the next `accept` may work at once.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
