//! What the runtime counts.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Counters of the runtime. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) messages: Family<Outcome, Counter>,
    pub(super) retries: Family<ByRoute, Counter>,
    pub(super) seconds: Family<ByRoute, Histogram>,
    pub(super) in_flight: Gauge,
    pub(super) published: Counter,
    pub(super) publish_retries: Counter,
    pub(super) reconnects: Counter,
    pub(super) dropped: Counter,
    pub(super) dead_letters: Gauge,
}

/// A route's pattern, as it was written: never a topic, so that the number of series is bounded.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct ByRoute {
    pub(super) route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) route: String,
    pub(super) outcome: Finished,
}

/// How a message ended.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) enum Finished {
    /// The handler succeeded and what it published is acknowledged.
    Handled,
    /// It had been handled before.
    Duplicate,
    /// It could not be handled and is kept.
    Dead,
    /// The service stops; the broker delivers it again.
    Abandoned,
}

impl EncodeLabelValue for Finished {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> fmt::Result {
        let name = match self {
            Self::Handled => "handled",
            Self::Duplicate => "duplicate",
            Self::Dead => "dead",
            Self::Abandoned => "abandoned",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            messages: Family::default(),
            retries: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 2.0, 18))),
            in_flight: Gauge::default(),
            published: Counter::default(),
            publish_retries: Counter::default(),
            reconnects: Counter::default(),
            dropped: Counter::default(),
            dead_letters: Gauge::default(),
        }
    }
}

impl Metrics {
    /// How many messages of a route (its pattern as it was written) are done: handled, known from before, or dead.
    #[must_use]
    pub fn finished_now(&self, route: &str) -> u64 {
        let count = |outcome| self.messages.get_or_create(&Outcome { route: route.to_owned(), outcome }).get();
        [Finished::Handled, Finished::Duplicate, Finished::Dead].into_iter().map(count).sum()
    }

    /// How many attempts at messages of a route (its pattern as it was written) have failed and were followed by another.
    #[must_use]
    pub fn retries_now(&self, route: &str) -> u64 {
        self.retries.get_or_create(&ByRoute { route: route.to_owned() }).get()
    }

    /// Adds the counters to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tidings_handlers");
        registry.register("messages", "Messages by how they ended", self.messages.clone());
        registry.register("retries", "Attempts that failed and were followed by another", self.retries.clone());
        registry.register("seconds", "Time from the first attempt to the end, in seconds", self.seconds.clone());
        registry.register(
            "in_flight",
            "Messages that are being handled or wait for their sender's turn",
            self.in_flight.clone(),
        );
        registry.register("published", "Messages published and acknowledged by the broker", self.published.clone());
        registry.register("publish_retries", "Publishes that had to be repeated", self.publish_retries.clone());
        registry.register(
            "reconnects",
            "Connections to the broker that ended without being asked to",
            self.reconnects.clone(),
        );
        registry.register("dropped", "QoS 0 messages that arrived while too many were in flight", self.dropped.clone());
        registry.register(
            "dead_letters",
            "Dead letters in the database, counted once a minute",
            self.dead_letters.clone(),
        );
    }
}
