//! The APNs simulator: HTTP/2 over TLS, `POST /3/device/TOKEN`, with the checks, the error table and the connection
//! behaviour of the real service, and misbehaviour on request.
//!
//! A token that was never registered here is accepted by default, because a developer has no provider that
//! issues tokens; with [`ApnsOptions::strict_tokens`] it is answered with `BadDeviceToken`.

mod auth;
mod certificate;
mod channels;
mod connection;
mod exchange;
mod frames;
mod keys;
mod reason;
mod request;
mod server;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tidings_shared::clock::Clock;

pub use channels::MAX_CHANNELS;
pub use keys::{DEVELOPMENT_KEY, DEVELOPMENT_TEAM, DevelopmentKey, ProviderKey};
pub use reason::{REASONS, Refusal, status_of};

use crate::inbox::Inbox;
use crate::script::{RetryAfterForm, Script};
use auth::{ClientRoots, TokenChecker};
use channels::ChannelStore;
use connection::Connection;

/// Which of Apple's two services a connection, a token or a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// `api.push.apple.com`.
    Production,
    /// `api.sandbox.push.apple.com`.
    Sandbox,
}

/// How strict the simulator is.
#[derive(Clone, Debug)]
pub struct ApnsOptions {
    /// The streams that a connection may have open after its first success (1 until then).
    pub max_streams: u32,
    /// Whether a token that was never registered is refused.
    pub strict_tokens: bool,
    /// The least time in ms between two provider tokens of one key; 0 allows any (Apple: 20 minutes).
    pub token_update_interval_ms: u64,
    /// PEM files with the roots that client certificates may come from.
    pub client_roots: Vec<PathBuf>,
}

impl Default for ApnsOptions {
    fn default() -> Self {
        Self { max_streams: 1000, strict_tokens: false, token_update_interval_ms: 0, client_roots: Vec::new() }
    }
}

/// A device token as a phone registers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceToken {
    /// Hex.
    pub token: String,
    /// The app it belongs to; pushes of another topic are refused with `DeviceTokenNotForTopic`.
    #[serde(default)]
    pub topic: Option<String>,
    /// The environment it belongs to; in the other one it is a `BadDeviceToken`.
    #[serde(default)]
    pub environment: Option<Environment>,
    /// Since when (ms since 1970) the token is dead: 410 with this timestamp.
    #[serde(default)]
    pub gone_at_ms: Option<i64>,
    /// The reason of the 410: `Unregistered` (default) or `ExpiredToken`.
    #[serde(default)]
    pub gone_reason: Option<String>,
}

/// What a script can make the simulator do with a push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApnsAction {
    /// Answers like this.
    Answer(ScriptedAnswer),
    /// Accepts it as usual (for a delay alone).
    Accept,
    /// Never answers.
    Stall,
    /// Resets the stream (INTERNAL_ERROR).
    Reset,
    /// Cuts the TCP connection.
    Cut,
    /// Says GOAWAY with this reason, see [`Goaway`].
    Goaway(Goaway),
    /// Accepts it, and changes the stream limit of its connection.
    StreamLimit(u32),
}

/// A scripted answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedAnswer {
    /// The HTTP status; that of the reason when absent.
    #[serde(default)]
    pub status: Option<u16>,
    /// The reason, also one that is in no table; with none the body is empty.
    #[serde(default)]
    pub reason: Option<String>,
    /// The `timestamp` (ms since 1970) in the body.
    #[serde(default)]
    pub timestamp: Option<i64>,
    /// The `retry-after` header, in seconds.
    #[serde(default)]
    pub retry_after: Option<u64>,
    /// How it is written: `seconds` or `date`.
    #[serde(default)]
    pub retry_after_form: RetryAfterForm,
}

impl ScriptedAnswer {
    /// The answer that APNs gives for this reason.
    #[must_use]
    pub fn reason(reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), ..Self::default() }
    }
}

/// A GOAWAY frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goaway {
    /// The reason in its debug data: `{"reason":…}`.
    pub reason: String,
    /// Whether the push that caused it is left out (its stream is above the last one that GOAWAY names), so that
    /// it is safe to send it again. Else it is accepted and answered.
    #[serde(default)]
    pub unprocessed: bool,
}

/// What can be done to all connections at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionCommand {
    /// GOAWAY with this reason; what was sent before is still answered.
    Goaway(String),
    /// Announces another stream limit; it stays until the next command.
    StreamLimit(u32),
    /// Cuts the TCP connection.
    Cut,
    /// Does not read, write or answer for so many ms.
    StallMs(u64),
}

/// Counters of the simulator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApnsStats {
    /// Pushes answered with 200.
    pub accepted: u64,
    /// Refusals by reason.
    pub refused: BTreeMap<String, u64>,
    /// Streams that a client opened above the limit that it had acknowledged.
    pub over_limit: u64,
    /// Connections ever opened.
    pub connections_opened: u64,
    /// Connections open now.
    pub connections: u64,
}

/// The simulator's state. Cheap to clone; clones are the same simulator.
#[derive(Clone)]
pub struct ApnsSimulator(Arc<Inner>);

struct Inner {
    options: ApnsOptions,
    clock: Clock,
    inbox: Inbox,
    checker: TokenChecker,
    roots: ClientRoots,
    tokens: Mutex<HashMap<String, DeviceToken>>,
    channels: ChannelStore,
    script: Script<ApnsAction>,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    opened: AtomicU64,
    accepted: AtomicU64,
    over_limit: AtomicU64,
    refused: Mutex<BTreeMap<String, u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ApnsSimulator {
    /// A simulator that delivers into `inbox`.
    #[must_use]
    pub fn new(options: ApnsOptions, inbox: Inbox, clock: Clock) -> Self {
        let interval_s = i64::try_from(options.token_update_interval_ms / 1000).unwrap_or(i64::MAX);
        Self(Arc::new(Inner {
            checker: TokenChecker::new(clock.clone(), interval_s),
            roots: ClientRoots(options.client_roots.clone()),
            options,
            clock,
            inbox,
            tokens: Mutex::default(),
            channels: ChannelStore::default(),
            script: Script::default(),
            connections: Mutex::default(),
            opened: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            over_limit: AtomicU64::new(0),
            refused: Mutex::default(),
        }))
    }

    /// Makes a provider key known.
    ///
    /// # Errors
    /// When its PEM is not a P-256 key.
    pub fn register_key(&self, key: &ProviderKey) -> anyhow::Result<()> {
        self.0.checker.keys().add(key)
    }

    /// Makes a device token known, or changes what is known of it.
    pub fn register_token(&self, mut token: DeviceToken) {
        token.token.make_ascii_lowercase();
        lock(&self.0.tokens).insert(token.token.clone(), token);
    }

    /// What the simulator does with coming pushes.
    #[must_use]
    pub fn script(&self) -> &Script<ApnsAction> {
        &self.0.script
    }

    /// Does this to every connection that is open now; returns how many there are.
    pub fn command(&self, command: &ConnectionCommand) -> usize {
        let connections = lock(&self.0.connections);
        for connection in connections.values() {
            connection.command(command.clone());
        }
        connections.len()
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> ApnsStats {
        ApnsStats {
            accepted: self.0.accepted.load(Ordering::Relaxed),
            refused: lock(&self.0.refused).clone(),
            over_limit: self.0.over_limit.load(Ordering::Relaxed),
            connections_opened: self.0.opened.load(Ordering::Relaxed),
            connections: lock(&self.0.connections).len() as u64,
        }
    }

    /// Forgets scripts, device tokens, channels, seen provider tokens and counters. Keys and connections stay.
    pub fn reset(&self) {
        self.0.script.clear();
        self.0.checker.reset();
        lock(&self.0.tokens).clear();
        self.0.channels.clear();
        lock(&self.0.refused).clear();
        self.0.accepted.store(0, Ordering::Relaxed);
        self.0.over_limit.store(0, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for ApnsSimulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApnsSimulator").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
