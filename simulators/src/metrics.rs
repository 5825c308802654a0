//! The simulators' counters for Prometheus.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::Simulators;
use crate::apns::ApnsSimulator;
use crate::fcm::FcmSimulator;

#[derive(Debug)]
struct Counters {
    apns: ApnsSimulator,
    fcm: FcmSimulator,
}

/// A registry that reads the simulators' own counters whenever it is asked.
pub(crate) fn registry(simulators: &Simulators) -> Registry {
    let mut registry = Registry::with_prefix("tidings_simulators");
    let counters = Counters { apns: simulators.apns().clone(), fcm: simulators.fcm().clone() };
    registry.register_collector(Box::new(counters));
    registry
}

impl Collector for Counters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (apns, fcm) = (self.apns.stats(), self.fcm.stats());
        for (name, help, value) in [
            ("apns_accepted", "Pushes that the APNs simulator accepted", apns.accepted),
            ("apns_refused", "Pushes that the APNs simulator refused", apns.refused.values().sum()),
            ("apns_connections_opened", "Connections to the APNs simulator", apns.connections_opened),
            ("apns_over_limit", "Streams opened above the announced limit", apns.over_limit),
            ("fcm_accepted", "Messages that the FCM simulator accepted", fcm.accepted),
            ("fcm_refused", "Messages that the FCM simulator refused", fcm.refused),
            ("fcm_tokens_issued", "Access tokens that the FCM simulator issued", fcm.tokens_issued),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let open = ConstGauge::new(i64::try_from(apns.connections).unwrap_or(i64::MAX));
        let help = "Open connections to the APNs simulator";
        open.encode(encoder.encode_descriptor("apns_connections", help, None, open.metric_type())?)
    }
}
