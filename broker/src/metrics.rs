//! What the broker counts; every name is here. Prometheus adds `_total` to counters.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

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
    }
}

/// The status of an answer of the HTTP door.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
}

/// What the HTTP door counts.
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics {
    /// Answers, by status.
    pub answered: Family<Answered, Counter>,
    /// Polls that wait now.
    pub waiting: Gauge,
}

impl HttpMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("http_answers", "Answers of the HTTP door, by status", self.answered.clone());
        registry.register("http_polls_waiting", "Polls of the HTTP door that wait now", self.waiting.clone());
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
