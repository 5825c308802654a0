//! What is counted of Google Wallet, under `tidings_wallet_google_`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Form {
    form: &'static str,
}

/// Counters and gauges. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct GoogleMetrics {
    told: Family<Outcome, Counter>,
    links: Family<Form, Counter>,
    messages: Family<Form, Counter>,
    /// Objects that Google is to be told about, in the whole database.
    pub pending: Gauge,
}

impl GoogleMetrics {
    /// Registers everything.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("tidings_wallet_google");
        registry.register("told", "Attempts to tell Google of a pass", metrics.told.clone());
        registry.register("links", "Save links", metrics.links.clone());
        registry.register(
            "messages",
            "Messages about changes; silent ones are beyond the limit of notifications",
            metrics.messages.clone(),
        );
        registry.register(
            "pending",
            "Passes of which Google is to be told, in the whole database",
            metrics.pending.clone(),
        );
        metrics
    }

    /// Counts an attempt: `done`, `gone`, `refused`, `later`.
    pub(super) fn told(&self, outcome: &'static str) {
        self.told.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts a link: `embedded` or `short`.
    pub(super) fn link(&self, form: &'static str) {
        self.links.get_or_create(&Form { form }).inc();
    }

    /// Counts a message: `notified` or `silent`.
    pub(super) fn message(&self, form: &'static str) {
        self.messages.get_or_create(&Form { form }).inc();
    }
}
