//! A connection that has not logged in yet: where it comes from, how long it may take, and each step of its way in.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Inner;
use super::lobby::{Pass, network};
use super::metrics::Transport;
use super::turnstile::{Paced, Stage, Who};

/// How often it is looked whether there is room for somebody who dawdles.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// In a crowd, whoever keeps us waiting for longer loses their place.
pub(super) const HURRY: Duration = Duration::from_secs(2);
/// When the broker stops, who is on the way in has this long to say CONNECT and be told.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Where a connection comes from and how long it may take to log in.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) peer: SocketAddr,
    pub(super) transport: Transport,
    pub(super) deadline: Instant,
    pub(super) pass: Pass,
    /// False when too many came from this address lately: it is told so, and nothing is verified.
    pub(super) in_time: bool,
    /// Its TLS handshake is done.
    pub(super) secured: bool,
    /// When the client certificate that it has shown expires, ms since 1970; `None`: it has shown none.
    pub(super) certified_until_ms: Option<i64>,
}

/// Whether a step may be cut short when places are rare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// The peer has to say something.
    Peer,
    /// The same, in the middle of a TLS handshake.
    PeerInTls,
    /// We have something to do.
    Us,
}

impl Guest {
    /// How far it is: a handshake that has been computed is not left lying, nor is a CONNECT that has been read.
    fn who(&self, waits_for: WaitsFor) -> Who {
        let stage = match waits_for {
            WaitsFor::Us => Stage::Begun,
            WaitsFor::Peer if self.secured => Stage::Begun,
            WaitsFor::Peer => Stage::New,
            WaitsFor::PeerInTls => Stage::Begins,
        };
        Who { network: network(self.peer.ip()), stage }
    }

    /// Goes one step, within the deadline and with turns at the processor.
    ///
    /// # Errors
    /// The documented code of what has run out.
    pub(super) async fn step<F: Future>(
        &self,
        gate: &Inner,
        waits_for: WaitsFor,
        step: F,
    ) -> Result<F::Output, &'static str> {
        let mut step = Paced::new(&gate.turnstile, self.who(waits_for), step);
        let mut stopping = pin!(gate.shutdown.wait());
        let (mut deadline, mut code) = (self.deadline, "connect_deadline");
        let mut stops = false;
        loop {
            let look = deadline.min(Instant::now() + LOOK);
            let outcome = tokio::select! {
                outcome = timeout_at(look, &mut step) => outcome,
                () = &mut stopping, if !stops => {
                    stops = true;
                    deadline = deadline.min(Instant::now() + LAST_CALL);
                    code = "server_shutting_down";
                    continue;
                }
            };
            if let Ok(outcome) = outcome {
                return Ok(outcome);
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(code);
            }
            if waits_for != WaitsFor::Us && step.idle(now) >= HURRY {
                if waits_for == WaitsFor::PeerInTls && gate.tls_places.available_permits() == 0 {
                    return Err("tls_handshake_limit");
                }
                if self.pass.is_crowded() {
                    return Err("unauthenticated_limit");
                }
            }
        }
    }
}
