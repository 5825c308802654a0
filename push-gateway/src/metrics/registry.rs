//! What is counted of devices, segments, receipts, webhooks and streams.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tidings_shared::push_api::ReceiptEvent;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Event {
    event: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Hook {
    webhook: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HookResult {
    webhook: String,
    result: &'static str,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct RegistryMetrics {
    pruned: Family<Reason, Counter>,
    expanded: Counter,
    expansion_waits: Counter,
    receipts: Family<Event, Counter>,
    webhooks: Family<HookResult, Counter>,
    disabled: Family<Hook, Gauge>,
    streams: Gauge,
}

impl RegistryMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("devices_forgotten", "Devices removed, by reason", self.pruned.clone());
        registry.register("segment_targets", "Targets made for notifications to segments", self.expanded.clone());
        registry.register(
            "segment_waits",
            "Times that a notification to a segment waited because the queue is full",
            self.expansion_waits.clone(),
        );
        registry.register("receipts", "What apps reported of pushes, repetitions left out", self.receipts.clone());
        registry.register("webhook_deliveries", "Events told to webhooks, by result", self.webhooks.clone());
        registry.register("webhook_disabled", "1 while the gateway has disabled the webhook", self.disabled.clone());
        registry.register("streams", "Open streams of outcomes", self.streams.clone());
    }

    pub(crate) fn pruned(&self, reason: &'static str, devices: u64) {
        self.pruned.get_or_create(&Reason { reason }).inc_by(devices);
    }

    pub(crate) fn expanded(&self, targets: u64) {
        self.expanded.inc_by(targets);
    }

    pub(crate) fn expansion_waits(&self) {
        self.expansion_waits.inc();
    }

    pub(crate) fn receipts(&self, event: ReceiptEvent, new: u64) {
        self.receipts.get_or_create(&Event { event: event.as_str() }).inc_by(new);
    }

    pub(crate) fn webhook(&self, webhook: &str, result: &'static str) {
        self.webhooks.get_or_create(&HookResult { webhook: webhook.to_owned(), result }).inc();
    }

    pub(crate) fn webhook_disabled(&self, webhook: &str, disabled: bool) {
        self.disabled.get_or_create(&Hook { webhook: webhook.to_owned() }).set(i64::from(disabled));
    }

    /// The webhook is gone: its series end.
    pub(crate) fn webhook_removed(&self, webhook: &str) {
        self.disabled.remove(&Hook { webhook: webhook.to_owned() });
        for result in ["taken", "failed", "given_up"] {
            self.webhooks.remove(&HookResult { webhook: webhook.to_owned(), result });
        }
    }

    pub(crate) fn stream_opened(&self) {
        self.streams.inc();
    }

    pub(crate) fn stream_closed(&self) {
        self.streams.dec();
    }
}
