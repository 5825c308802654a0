//! `wallet.limits` and `wallet.trusted_proxies`: how often somebody may ask who has shown nothing yet.

use tidings_shared::config::{Kind, Setting, Settings};
use tidings_shared::network::Network;

/// How often the open routes may be asked, each a number for a minute; 0: without a bound.
#[derive(Clone, Debug, Default)]
pub struct LimitConfig {
    /// "What changed?" by one device.
    pub list_per_device: u32,
    /// "What changed?" from one address.
    pub list_per_address: u32,
    /// Device logs from one address.
    pub log_per_address: u32,
    /// Failed authentications for one pass from one address.
    pub failures_per_pass: u32,
    /// Failed authentications from one address.
    pub failures_per_address: u32,
    /// Proxies whose word about the client's address is taken.
    pub trusted_proxies: Vec<Network>,
}

const RATE: Kind = Kind::Count { min: 0, max: 10_000_000 };

pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "wallet.trusted_proxies",
        Kind::Texts,
        "",
        "Networks (10.0.0.0/8) of proxies in front of the service: the address of a client is then the last one in X-Forwarded-For that is none of them.",
    ),
    Setting::new(
        "wallet.limits.list_per_device",
        RATE,
        "1200",
        "How often a minute one device may ask what changed, for each limit as many at once; 0: without a limit. Beyond it: 429.",
    ),
    Setting::new(
        "wallet.limits.list_per_address",
        RATE,
        "60000",
        "The same for one address (IPv6: /64), behind which a whole mobile network may stand. This machine's own addresses have no limits per address.",
    ),
    Setting::new(
        "wallet.limits.log_per_address",
        RATE,
        "600",
        "How many device logs a minute are read from one address; the rest is answered 200, dropped and counted.",
    ),
    Setting::new(
        "wallet.limits.failures_per_pass",
        RATE,
        "60",
        "Failed authentications a minute for one pass from one address; beyond them 429 until the token is one that was good lately.",
    ),
    Setting::new(
        "wallet.limits.failures_per_address",
        RATE,
        "1200",
        "Failed authentications a minute from one address, those of the service key too.",
    ),
];

pub(super) fn limits(settings: &Settings, faults: &mut Vec<String>) -> LimitConfig {
    let rate = |name: &str| u32::try_from(settings.count(&format!("wallet.limits.{name}"))).unwrap_or(u32::MAX);
    let mut trusted_proxies = Vec::new();
    for text in settings.texts("wallet.trusted_proxies") {
        match text.parse() {
            Ok(network) => trusted_proxies.push(network),
            Err(error) => faults.push(format!("wallet.trusted_proxies: {error}")),
        }
    }
    LimitConfig {
        list_per_device: rate("list_per_device"),
        list_per_address: rate("list_per_address"),
        log_per_address: rate("log_per_address"),
        failures_per_pass: rate("failures_per_pass"),
        failures_per_address: rate("failures_per_address"),
        trusted_proxies,
    }
}
