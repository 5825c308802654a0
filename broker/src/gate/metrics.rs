//! What the gate counts.

use prometheus_client::encoding::{EncodeLabelSet, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// How a client reached the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Plain TCP.
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket on the HTTP listener.
    WebSocket,
    /// HTTP.
    Http,
}

impl Transport {
    /// The name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
            Self::Http => "http",
        }
    }
}

impl prometheus_client::encoding::EncodeLabelValue for Transport {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        prometheus_client::encoding::EncodeLabelValue::encode(&self.name(), encoder)
    }
}

/// The transport of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct By {
    /// How the client came in.
    pub transport: Transport,
}

/// Why a connection was refused or ended: a documented code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Why {
    /// The code.
    pub code: &'static str,
}

/// The limit that held somebody back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Held {
    /// The name of the setting below `broker.limits`.
    pub limit: &'static str,
}

/// The gate's counters. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct GateMetrics {
    /// Connections that have logged in and are open; of HTTP, those that have sent a byte.
    pub connections: Family<By, Gauge>,
    /// Connections that have not logged in yet.
    pub unauthenticated: Gauge,
    /// Sockets accepted.
    pub accepted: Family<By, Counter>,
    /// Times that accepting failed (for example: too many open files).
    pub accept_errors: Counter,
    /// Connections that ended before they were logged in, by code.
    pub refused: Family<Why, Counter>,
    /// Logged-in connections that ended, by code.
    pub closed: Family<Why, Counter>,
    /// Packets received after the log-in.
    pub packets_received: Counter,
    /// Bytes received after the log-in.
    pub bytes_received: Counter,
    /// Bytes sent after the log-in.
    pub bytes_sent: Counter,
    /// Handshakes and log-ins that wait for their turn at the processor.
    pub waiting: Gauge,
    /// Times that somebody who sent more than they may was held back (HTTP: refused), by limit.
    pub throttled: Family<Held, Counter>,
    /// Seconds until the TLS certificate expires; negative afterwards.
    pub certificate_expiry: Gauge,
    /// Times that changed TLS files were taken over.
    pub tls_reloads: Counter,
    /// Times that changed TLS files could not be used.
    pub tls_reload_failures: Counter,
}

impl GateMetrics {
    /// Adds the counters to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tidings_broker");
        registry.register(
            "connections",
            "Open connections (of MQTT: logged-in ones), by transport",
            self.connections.clone(),
        );
        registry.register(
            "unauthenticated_connections",
            "MQTT connections that have not logged in yet",
            self.unauthenticated.clone(),
        );
        registry.register("accepted", "Sockets accepted, by transport", self.accepted.clone());
        registry.register("accept_errors", "Times that accepting a socket failed", self.accept_errors.clone());
        registry.register("refused", "Connections that ended before the log-in, by code", self.refused.clone());
        registry.register("closed", "Logged-in connections that ended, by code", self.closed.clone());
        registry.register("packets_received", "MQTT packets received", self.packets_received.clone());
        registry.register("bytes_received", "MQTT bytes received", self.bytes_received.clone());
        registry.register("bytes_sent", "MQTT bytes sent", self.bytes_sent.clone());
        registry.register("logins_waiting", "Handshakes and log-ins that wait for their turn", self.waiting.clone());
        registry.register("throttled", "Times that a sender was held back, by limit", self.throttled.clone());
        registry.register("tls_reloads", "Times that changed TLS files were taken over", self.tls_reloads.clone());
        registry.register(
            "tls_reload_failures",
            "Times that changed TLS files could not be used",
            self.tls_reload_failures.clone(),
        );
        registry.register_with_unit(
            "tls_certificate_expiry",
            "Time until the TLS certificate expires",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
    }

    pub(super) fn refuse(&self, code: &'static str) {
        self.refused.get_or_create(&Why { code }).inc();
    }

    pub(super) fn hold(&self, limit: &'static str) {
        self.throttled.get_or_create(&Held { limit }).inc();
    }

    pub(super) fn close(&self, code: &'static str) {
        self.closed.get_or_create(&Why { code }).inc();
    }
}
