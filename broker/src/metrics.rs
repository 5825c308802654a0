//! What the broker counts; every name is here. Prometheus adds `_total` to counters.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::core::EngineHandle;

/// Why stored messages are kept no longer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Dropped {
    /// `age`, `count`, `bytes` or `total`: which limit of `broker.log.retention`.
    pub reason: &'static str,
}

/// What the message log counts.
#[derive(Clone, Debug)]
pub struct LogMetrics {
    /// Messages made durable.
    pub messages: Counter,
    /// Their bytes on disk.
    pub bytes: Counter,
    /// Messages that were refused: full or failing disk.
    pub refused: Counter,
    /// Stored messages that turned out damaged.
    pub damaged: Counter,
    /// Messages that shared one commit.
    pub group: Histogram,
    /// How long one commit took.
    pub commit_seconds: Histogram,
    /// Segments on disk.
    pub segments: Gauge,
    /// Their bytes.
    pub size: Gauge,
    /// Messages that retention has dropped, by the limit that did.
    pub dropped: Family<Dropped, Counter>,
}

impl Default for LogMetrics {
    fn default() -> Self {
        Self {
            messages: Counter::default(),
            bytes: Counter::default(),
            refused: Counter::default(),
            damaged: Counter::default(),
            group: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            commit_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            segments: Gauge::default(),
            size: Gauge::default(),
            dropped: Family::default(),
        }
    }
}

impl LogMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("log_messages", "Messages made durable", self.messages.clone());
        registry.register_with_unit("log_written", "Bytes of messages made durable", Unit::Bytes, self.bytes.clone());
        registry.register("log_refused", "Messages refused by a full or failing disk", self.refused.clone());
        registry.register("log_damaged", "Stored messages found damaged", self.damaged.clone());
        registry.register("log_group_size", "Messages that shared one commit", self.group.clone());
        registry.register_with_unit("log_commit", "Duration of a commit", Unit::Seconds, self.commit_seconds.clone());
        registry.register("log_segments", "Segments on disk", self.segments.clone());
        registry.register_with_unit("log_size", "Segments on disk, all together", Unit::Bytes, self.size.clone());
        registry.register("log_dropped", "Messages dropped by retention, by its limit", self.dropped.clone());
    }
}

/// The status of an answer of the HTTP door.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
}

/// Why a stream of events ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    /// The word that the client was told, or `client_gone` or `client_slow`.
    pub reason: &'static str,
}

/// What the HTTP door counts.
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics {
    /// Answers, by status.
    pub answered: Family<Answered, Counter>,
    /// Polls that wait now, streams included.
    pub waiting: Gauge,
    /// Streams that are open now.
    pub streams: Gauge,
    /// Streams that have ended, by reason.
    pub streams_ended: Family<Ended, Counter>,
}

impl HttpMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("http_answers", "Answers of the HTTP door, by status", self.answered.clone());
        registry.register(
            "http_polls_waiting",
            "Polls and streams of the HTTP door that wait now",
            self.waiting.clone(),
        );
        registry.register("http_streams", "Streams of events that are open now", self.streams.clone());
        registry.register("http_streams_ended", "Streams of events, by their end", self.streams_ended.clone());
    }
}

/// Everything the broker counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// The message log.
    pub log: LogMetrics,
    /// The HTTP door.
    pub http: HttpMetrics,
}

impl Metrics {
    /// Makes all of it visible on `/metrics`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tidings_broker");
        self.log.register(registry);
        self.http.register(registry);
    }
}

/// Shows what the engine counts by itself (it has no metrics library inside).
pub struct EngineCollector(EngineHandle);

impl EngineCollector {
    /// Reads from this engine.
    #[must_use]
    pub fn new(engine: EngineHandle) -> Self {
        Self(engine)
    }
}

impl fmt::Debug for EngineCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineCollector")
    }
}

/// The QoS of a publish.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Qos {
    qos: u8,
}

impl Collector for EngineCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.0.stats();
        for (name, help, value) in [
            ("tidings_broker_engine_connections", "Connections that the engine serves", stats.connections),
            ("tidings_broker_sessions", "Sessions, connected or not", stats.sessions),
            ("tidings_broker_subscriptions", "Subscriptions", stats.subscriptions),
            ("tidings_broker_retained", "Retained messages", stats.retained),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        for (name, help, values) in [
            ("tidings_broker_publishes_received", "Publishes that came in, by QoS", stats.received),
            ("tidings_broker_publishes_sent", "Publishes sent to clients, by QoS", stats.sent),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (qos, value) in (0..).zip(values) {
                ConstCounter::new(value).encode(family.encode_family(&Qos { qos })?)?;
            }
        }
        for (name, help, value) in [
            ("tidings_broker_publishes_stored", "Publishes appended to the log", stats.stored),
            ("tidings_broker_publishes_duplicate", "Publishes whose message id was known", stats.duplicates),
            (
                "tidings_broker_topics_refused",
                "Publishes, wills and subscriptions that the topic rules forbade",
                stats.refused,
            ),
            ("tidings_broker_publishes_not_stored", "Publishes that could not be stored", stats.not_stored),
            (
                "tidings_broker_deliveries_dropped",
                "QoS 0 deliveries left out: too many waited for a slow client",
                stats.dropped,
            ),
            ("tidings_broker_deliveries_expired", "Deliveries left out: the message had expired", stats.expired),
            (
                "tidings_broker_deliveries_too_large",
                "Deliveries left out: larger than the client takes",
                stats.too_large,
            ),
            ("tidings_broker_takeovers", "Connections taken over by the same client", stats.takeovers),
            (
                "tidings_broker_group_reassigned",
                "Messages of shared groups given to another member because the first did not acknowledge in time",
                stats.reassigned,
            ),
            (
                "tidings_broker_group_stalled",
                "Times that a member of a shared group was passed over for it",
                stats.stalled,
            ),
            (
                "tidings_broker_recovery_holes",
                "Times that retention had dropped messages before their reader got to them",
                stats.holes,
            ),
            ("tidings_broker_wakes", "Users reported as unacked", stats.wakes),
            ("tidings_broker_wills_lost", "Wills that could not be stored", stats.wills_lost),
        ] {
            ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        Ok(())
    }
}
