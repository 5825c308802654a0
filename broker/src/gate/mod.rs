//! The door: sockets, TLS, WebSocket, codec, limits before authentication, authentication, keep-alive.
//!
//! A connection walks through the files in this order: `listener` (or `websocket`) accepts it and takes a place in
//! the `lobby`; `greeting` reads and verifies its CONNECT under one deadline (`login` says who it is);
//! `connection` serves it from then on. [`wire`] turns bytes into packets; behind it, everything is MQTT 5.
//!
//! # Architecture invariants
//! - Nothing that a peer sends, or fails to send, blocks a listener, panics, or makes memory grow beyond [`Limits`].
//! - The engine sees only packets of logged-in clients that are well formed, and never a password or a token.
//! - An idle connection owns no buffer and no queue.
//!
//! Every code under which a connection is refused or ended is listed in [`codes`].

mod aliases;
mod budget;
pub mod codes;
mod connection;
mod greeting;
mod limits;
mod listener;
mod lobby;
mod login;
mod metrics;
pub mod outbox;
#[cfg(test)]
mod raw;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod websocket;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::auth::{ServiceKeys, Verifier};
use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tokio_util::task::TaskTracker;

use crate::core::EngineHandle;

pub use limits::Limits;
pub use login::{HANDLER_USER, TOKEN_USER};
pub use metrics::{GateMetrics, Transport};

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
    lobby: lobby::Lobby,
    budget: budget::LogBudget,
    tasks: TaskTracker,
}

impl Gate {
    /// A gate without listeners; see `serve_tcp`, `serve_tls` and `websocket_routes`.
    #[must_use]
    pub fn new(parts: GateParts) -> Self {
        let GateParts { engine, verifier, keys, limits, metrics, clock, shutdown } = parts;
        let waiting = metrics.unauthenticated.clone();
        let lobby = lobby::Lobby::new(limits.unauthenticated, limits.unauthenticated_per_address, waiting);
        let tasks = TaskTracker::new();
        Self(Arc::new(Inner {
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

    /// Waits until every connection has ended, at most `patience`. To be called after the engine has stopped, which
    /// ends them.
    pub async fn drained(&self, patience: Duration) {
        self.0.tasks.close();
        if tokio::time::timeout(patience, self.0.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.0.tasks.len(), "connections were cut off at the end");
        }
    }
}
