//! What the gateway counts.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tidings_shared::push_api::{Provider, TargetState};

use crate::provider::{Answer, webpush};

mod registry;

use registry::RegistryMetrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct App {
    provider: String,
    app: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CredentialLabels {
    provider: String,
    app: String,
    credential: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    provider: String,
    app: String,
    state: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProvider {
    provider: String,
}

/// How long the queue of one app at one provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueDepth {
    pub(crate) provider: String,
    pub(crate) app: String,
    pub(crate) length: i64,
    pub(crate) oldest_ms: i64,
    /// When the oldest one that could be sent now became due.
    pub(crate) due_ms: Option<i64>,
}

/// All metrics of the gateway; names begin with `tidings_push_`.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    queue_length: Family<App, Gauge>,
    queue_age: Family<App, Gauge>,
    due_age: Family<App, Gauge<f64, AtomicU64>>,
    circuit: Family<App, Gauge>,
    refused: Family<Kind, Counter>,
    outcomes: Family<OutcomeLabels, Counter>,
    paused: Family<App, Gauge>,
    credential_refused: Family<CredentialLabels, Gauge>,
    credential_expires: Family<CredentialLabels, Gauge>,
    events: Family<Kind, Counter>,
    wakes: Counter,
    accepted: Counter,
    latency: Latency,
    pub(crate) registry: RegistryMetrics,
}

#[derive(Debug)]
struct Latency(Family<ByProvider, Histogram, fn() -> Histogram>);

impl Default for Latency {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.005, 2.0, 12))))
    }
}

impl Metrics {
    /// Makes the metrics and puts them into the registry.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("tidings_push");
        registry.register("queue_length", "Pushes that are not final", metrics.queue_length.clone());
        registry.register("queue_age_seconds", "Age of the oldest push that is not final", metrics.queue_age.clone());
        registry.register(
            "queue_due_age_seconds",
            "How long the oldest push that could be sent now has waited for that",
            metrics.due_age.clone(),
        );
        registry.register(
            "circuit",
            "The circuit breaker: 0 closed, 1 trying one push (half-open), 2 open: the provider is away",
            metrics.circuit.clone(),
        );
        registry.register(
            "requests_refused",
            "Notifications refused because the queue is full",
            metrics.refused.clone(),
        );
        registry.register("outcomes", "Results of attempts, by state and reason", metrics.outcomes.clone());
        registry.register("paused", "1 while the provider refuses the app's credentials", metrics.paused.clone());
        registry.register(
            "credential_refused",
            "1 while the provider refuses this credential",
            metrics.credential_refused.clone(),
        );
        registry.register(
            "credential_expires_seconds",
            "Time until this credential ends; absent when it does not",
            metrics.credential_expires.clone(),
        );
        registry.register("events", "Events of the broker", metrics.events.clone());
        registry.register("wakes", "Wake pushes made", metrics.wakes.clone());
        registry.register("requests", "Notifications taken over HTTP", metrics.accepted.clone());
        registry.register("send_seconds", "Time from handing a push over to the answer", metrics.latency.0.clone());
        metrics.registry.register(registry);
        metrics
    }

    pub(crate) fn queue(&self, depths: &[QueueDepth], now_ms: i64) {
        self.queue_length.clear();
        self.queue_age.clear();
        self.due_age.clear();
        for depth in depths {
            let app = App { provider: depth.provider.clone(), app: depth.app.clone() };
            self.queue_length.get_or_create(&app).set(depth.length);
            self.queue_age.get_or_create(&app).set((now_ms - depth.oldest_ms).max(0) / 1000);
            let due = depth.due_ms.map_or(0, |due| (now_ms - due).max(0));
            self.due_age.get_or_create(&app).set(due as f64 / 1000.0);
        }
    }

    pub(crate) fn outcome(&self, provider: Provider, app: &str, state: TargetState, answer: &Answer) {
        // Anybody may register a push service of their own: its words would be labels without end.
        let reason = match provider {
            Provider::WebPush => webpush::label(answer),
            Provider::Apns | Provider::Fcm => answer.reason.as_deref(),
        };
        let labels = OutcomeLabels {
            provider: provider.as_str().to_owned(),
            app: app.to_owned(),
            state: state.as_str().to_owned(),
            reason: reason.unwrap_or("none").to_owned(),
        };
        self.outcomes.get_or_create(&labels).inc();
    }

    pub(crate) fn sent(&self, provider: Provider, time: Duration) {
        let labels = ByProvider { provider: provider.as_str().to_owned() };
        self.latency.0.get_or_create(&labels).observe(time.as_secs_f64());
    }

    pub(crate) fn paused(&self, provider: Provider, app: &str, paused: bool) {
        let labels = App { provider: provider.as_str().to_owned(), app: app.to_owned() };
        self.paused.get_or_create(&labels).set(i64::from(paused));
    }

    /// 0 closed, 1 half-open, 2 open.
    pub(crate) fn circuit(&self, provider: Provider, app: &str, state: i64) {
        let labels = App { provider: provider.as_str().to_owned(), app: app.to_owned() };
        self.circuit.get_or_create(&labels).set(state);
    }

    /// A notification was refused: `app` when one app's queue is full, `all` when the whole is.
    pub(crate) fn refused(&self, what: &'static str) {
        self.refused.get_or_create(&Kind { kind: what.to_owned() }).inc();
    }

    /// A credential that is gone is not shown any more.
    pub(crate) fn forget_credentials(&self) {
        self.credential_refused.clear();
        self.credential_expires.clear();
    }

    pub(crate) fn credential(&self, provider: Provider, app: &str, name: &str, refused: bool, left_s: Option<i64>) {
        let labels = CredentialLabels {
            provider: provider.as_str().to_owned(),
            app: app.to_owned(),
            credential: name.to_owned(),
        };
        self.credential_refused.get_or_create(&labels).set(i64::from(refused));
        if let Some(left_s) = left_s {
            self.credential_expires.get_or_create(&labels).set(left_s);
        }
    }

    pub(crate) fn event(&self, kind: &'static str) {
        self.events.get_or_create(&Kind { kind: kind.to_owned() }).inc();
    }

    pub(crate) fn woken(&self, devices: usize) {
        self.wakes.inc_by(u64::try_from(devices).unwrap_or(u64::MAX));
    }

    pub(crate) fn taken(&self) {
        self.accepted.inc();
    }
}
