//! The door: sockets, TLS, WebSocket, codec, limits before authentication, authentication, keep-alive.
//!
//! A connection walks through the files in this order: `listener` accepts it and takes a place in the `lobby`;
//! `entrance` reads its PROXY header (`proxy`) and does the TLS handshake (`websocket` the upgrade); `greeting` reads and
//! verifies its CONNECT (`login` says who it is, `backoff` whether that is looked at). Until then it is a `guest`: each of
//! its steps is under one deadline, and computes only in its turn (`turnstile`, `queue`). `connection` serves it from then on, no
//! faster than `throttle` says. [`wire`] turns bytes into packets; behind it, everything is MQTT 5.
//!
//! # Architecture invariants
//! - Nothing that a peer sends, or fails to send, blocks a listener, panics, or makes memory grow beyond [`Limits`].
//! - The engine sees only packets of logged-in clients that are well formed, and never a password or a token.
//! - An idle connection owns no buffer and no queue.
//!
//! Every code under which a connection is refused or ended is listed in [`codes`].

mod aliases;
mod backoff;
mod bucket;
mod budget;
pub mod codes;
mod connection;
mod door;
mod entrance;
mod greeting;
mod guest;
mod limits;
mod listener;
mod lobby;
mod login;
mod metrics;
pub mod outbox;
mod proxy;
mod queue;
#[cfg(test)]
mod raw;
mod stream;
#[cfg(test)]
mod tests;
mod throttle;
mod tls;
mod turnstile;
mod websocket;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::auth::{ServiceKeys, Verifier};
use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::core::EngineHandle;

pub use backoff::BackoffLimits;
pub use bucket::Rate;
pub use limits::Limits;
pub use login::{HANDLER_USER, TOKEN_USER};
pub use metrics::{GateMetrics, Transport};
pub use proxy::{InvalidNetwork, Network};
pub use throttle::{Rates, Throttles};

/// What the gate stands on.
#[derive(Clone)]
pub struct GateParts {
    /// The door of the engine.
    pub engine: EngineHandle,
    /// Verifies devices' tokens.
    pub verifier: Verifier,
    /// The keys of handlers.
    pub keys: ServiceKeys,
    /// What a connection may cost.
    pub limits: Limits,
    /// Counts.
    pub metrics: GateMetrics,
    /// Tells when a token has expired.
    pub clock: Clock,
    /// Stops the listeners; the engine ends the connections.
    pub shutdown: Shutdown,
}

/// The door of the broker. Cheap to clone; clones are the same door.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

/// What the clones of a gate share, and what every connection holds on to.
struct Inner {
    engine: EngineHandle,
    verifier: Verifier,
    keys: ServiceKeys,
    limits: Limits,
    metrics: GateMetrics,
    clock: Clock,
    shutdown: Shutdown,
    /// Closes the listeners: with the shutdown, or later when arrivals are to be sent elsewhere.
    closing: Shutdown,
    lobby: lobby::Lobby,
    turnstile: turnstile::Turnstile,
    tls_places: Semaphore,
    http_places: Arc<Semaphore>,
    backoff: backoff::Backoff,
    throttles: Throttles,
    budget: budget::LogBudget,
    tasks: TaskTracker,
}

impl Gate {
    /// A gate without listeners; see `serve_tcp`, `serve_tls` and `websocket_routes`.
    #[must_use]
    pub fn new(parts: GateParts) -> Self {
        let GateParts { engine, verifier, keys, limits, metrics, clock, shutdown } = parts;
        let waiting = metrics.unauthenticated.clone();
        let rate = limits.connects_per_address;
        let lobby = lobby::Lobby::new(limits.unauthenticated, limits.unauthenticated_per_address, rate, waiting);
        let closing = if limits.server_reference.is_some() { Shutdown::new() } else { shutdown.clone() };
        let tasks = TaskTracker::new();
        Self(Arc::new(Inner {
            closing,
            turnstile: turnstile::Turnstile::new(limits.at_once, metrics.waiting.clone()),
            tls_places: Semaphore::new(limits.tls_handshakes.min(Semaphore::MAX_PERMITS)),
            http_places: Arc::new(Semaphore::new(limits.http_connections.min(Semaphore::MAX_PERMITS))),
            backoff: backoff::Backoff::new(limits.backoff),
            throttles: Throttles::new(limits.device, metrics.throttled.clone()),
            engine,
            verifier,
            keys,
            limits,
            metrics,
            clock,
            shutdown,
            lobby,
            budget: budget::LogBudget::default(),
            tasks,
        }))
    }

    /// What users may publish, for the HTTP door.
    #[must_use]
    pub fn throttles(&self) -> Throttles {
        self.0.throttles.clone()
    }

    /// Closes the listeners, if they are still open so that arrivals can be sent elsewhere.
    pub fn close(&self) {
        self.0.closing.begin();
    }

    /// Waits until every connection has ended, at most `patience`. To be called after the engine has stopped, which
    /// ends them.
    pub async fn drained(&self, patience: Duration) {
        self.0.tasks.close();
        if tokio::time::timeout(patience, self.0.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.0.tasks.len(), "connections were cut off at the end");
        }
    }
}
