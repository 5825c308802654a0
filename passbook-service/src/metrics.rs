//! What this service counts, under `tidings_wallet_`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::campaign::Meter;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PushLabels {
    outcome: &'static str,
}

/// What became of an attempt to push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The gateway has it.
    Sent,
    /// It will never be sent.
    Dropped,
    /// It is tried again.
    Retried,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CauseLabels {
    cause: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LimitLabels {
    what: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClientLabels {
    client: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TypeLabels {
    pass_type: String,
}

/// Counters and gauges. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    pushes: Family<PushLabels, Counter>,
    device_logs: Family<CauseLabels, Counter>,
    diagnosis_alerts: Family<CauseLabels, Counter>,
    /// Which statuses this process has answered with since its start.
    answered: Arc<Mutex<BTreeSet<u16>>>,
    /// Passes that were made.
    pub passes_created: Counter,
    /// Changes that were committed.
    pub changes: Counter,
    /// Updates that changed nothing.
    pub no_ops: Counter,
    /// Packages that were built and signed.
    pub packages: Counter,
    /// Imported token hashes that were replaced by SHA-384.
    pub token_uplifts: Counter,
    /// Holders who signed up with their pass.
    pub personalizations: Counter,
    /// Passes that imports have taken over.
    pub imported_passes: Counter,
    /// Registrations that imports have taken over.
    pub imported_registrations: Counter,
    /// Pushes that campaigns have handed over.
    pub campaign_pushes: Counter,
    /// Pushes a second that the campaign of this process may make.
    pub campaign_rate: Gauge,
    /// How this process answers devices.
    pub load: Meter,
    /// Devices set apart because they do not answer.
    pub quarantined_silent: Counter,
    /// Devices set apart because Apple says that their push token is gone.
    pub quarantined_gone: Counter,
    /// Devices that were forgotten after their quarantine.
    pub devices_forgotten: Counter,
    /// Requests for a pass type that the certificate does not sign.
    pub foreign_pass_types: Counter,
    /// The greatest tag that this process gave.
    pub last_tag: Gauge,
    /// Pushes that wait, in the whole database.
    pub pushes_pending: Gauge,
    registrations: Family<ClientLabels, Counter>,
    limited: Family<LimitLabels, Counter>,
    certificate_expires: Family<TypeLabels, Gauge>,
}

impl Metrics {
    /// Registers everything.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("tidings_wallet");
        registry.register("requests", "Requests by route and status", metrics.requests.clone());
        registry.register("registrations", "New registrations, by kind of wallet app", metrics.registrations.clone());
        registry.register("limited", "Requests beyond a limit", metrics.limited.clone());
        registry.register("pushes", "Attempts to hand a push to the push-gateway", metrics.pushes.clone());
        registry.register("device_log_lines", "Lines that devices reported, by cause", metrics.device_logs.clone());
        registry.register("diagnosis_alerts", "First reports of a cause", metrics.diagnosis_alerts.clone());
        registry.register("passes_created", "Passes made", metrics.passes_created.clone());
        registry.register("changes", "Changes committed", metrics.changes.clone());
        registry.register("no_op_updates", "Updates that changed nothing", metrics.no_ops.clone());
        registry.register("packages", "Packages built and signed", metrics.packages.clone());
        registry.register(
            "personalizations",
            "Holders who signed up with their pass",
            metrics.personalizations.clone(),
        );
        registry.register("imported_passes", "Passes that imports have taken over", metrics.imported_passes.clone());
        registry.register(
            "imported_registrations",
            "Registrations that imports have taken over",
            metrics.imported_registrations.clone(),
        );
        registry.register("campaign_pushes", "Pushes that campaigns have handed over", metrics.campaign_pushes.clone());
        registry.register(
            "campaign_rate",
            "Pushes a second of the campaign of this process",
            metrics.campaign_rate.clone(),
        );
        registry.register(
            "devices_silent",
            "Devices set apart because they do not answer",
            metrics.quarantined_silent.clone(),
        );
        registry.register(
            "devices_gone",
            "Devices set apart because their push token is gone",
            metrics.quarantined_gone.clone(),
        );
        registry.register(
            "devices_forgotten",
            "Devices forgotten after their quarantine",
            metrics.devices_forgotten.clone(),
        );
        registry.register("token_uplifts", "Imported token hashes replaced by SHA-384", metrics.token_uplifts.clone());
        registry.register(
            "foreign_pass_types",
            "Requests for a pass type that the certificate does not sign",
            metrics.foreign_pass_types.clone(),
        );
        registry.register("pushes_pending", "Pushes that wait, in the whole database", metrics.pushes_pending.clone());
        registry.register("last_tag", "Greatest tag given by this process", metrics.last_tag.clone());
        registry.register(
            "certificate_expires_seconds",
            "Seconds until the last signing certificate of a type, or its intermediate, ends",
            metrics.certificate_expires.clone(),
        );
        metrics
    }

    /// Counts a request.
    pub fn request(&self, route: &str, status: u16) {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).insert(status);
        self.requests.get_or_create(&RequestLabels { route: route.to_owned(), status }).inc();
    }

    /// Counts a new registration.
    pub fn registered(&self, client: &'static str) {
        self.registrations.get_or_create(&ClientLabels { client }).inc();
    }

    /// Counts a request beyond a limit.
    pub fn limited(&self, what: &'static str) {
        self.limited.get_or_create(&LimitLabels { what }).inc();
    }

    /// Notes for how many seconds passes of a type can still be signed.
    pub fn certificate_expires(&self, pass_type: &str, seconds: i64) {
        self.certificate_expires.get_or_create(&TypeLabels { pass_type: pass_type.to_owned() }).set(seconds);
    }

    /// Whether this process has answered with a status since its start.
    #[must_use]
    pub fn has_answered(&self, status: u16) -> bool {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).contains(&status)
    }

    /// Counts the first report of a cause.
    pub fn diagnosis_alert(&self, cause: &str) {
        self.diagnosis_alerts.get_or_create(&CauseLabels { cause: cause.to_owned() }).inc();
    }

    /// Counts a push.
    pub fn push(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Sent => "sent",
            Outcome::Dropped => "dropped",
            Outcome::Retried => "retried",
        };
        self.pushes.get_or_create(&PushLabels { outcome }).inc();
    }

    /// Counts lines of a device's log.
    pub fn device_log(&self, cause: &str, lines: u64) {
        self.device_logs.get_or_create(&CauseLabels { cause: cause.to_owned() }).inc_by(lines);
    }
}
