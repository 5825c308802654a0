//! The settings of the handlers' service (`handlers.*`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidings_shared::broker_address::BrokerAddress;
use tidings_shared::config::{Kind, Setting, Settings};
use tidings_shared::tls;

use crate::contacts::Limits;
use crate::runtime::{BrokerOptions, Options, RetryPolicy};

/// Settings of this service, besides the shared ones.
pub const SETTINGS: &[Setting] = &[
    Setting::new(
        "handlers.listen",
        Kind::Address,
        "127.0.0.1:8083",
        "Where health and metrics of the handlers' service are served.",
    ),
    Setting::optional(
        "handlers.database",
        Kind::Url,
        "Database of contacts, handled messages and dead letters; the file handlers.db in the data folder when unset.",
    ),
    Setting::new(
        "handlers.database_connections",
        Kind::Count { min: 1, max: 1000 },
        "16",
        "Connections to the database.",
    ),
    Setting::new(
        "handlers.broker",
        Kind::Url,
        "mqtt://127.0.0.1:1883",
        "The broker: mqtt://HOST:PORT or mqtts://HOST:PORT. Logs in with keys.handler.",
    ),
    Setting::optional(
        "handlers.ca_file",
        Kind::Path,
        "PEM certificates to trust at the broker and the push-gateway, besides the system's.",
    ),
    Setting::optional(
        "handlers.client_cert",
        Kind::Path,
        "PEM file: a client certificate to show the broker (mqtts://, its broker.tls.client_ca); then no keys.handler is needed.",
    ),
    Setting::optional("handlers.client_key", Kind::Path, "PEM file: the private key of handlers.client_cert."),
    Setting::new(
        "handlers.group",
        Kind::Text,
        "handlers",
        "Name of the shared subscription: the instances of one group share the messages. No '/', '+' or '#'.",
    ),
    Setting::new(
        "handlers.instance",
        Kind::Text,
        "1",
        "Names this instance; each instance of a group needs its own, the same after every restart. Group and instance are the MQTT client id.",
    ),
    Setting::new(
        "handlers.session_expiry",
        Kind::Duration,
        "7d",
        "How long the broker keeps this instance's session while it is away.",
    ),
    Setting::new(
        "handlers.in_flight",
        Kind::Count { min: 1, max: 65_535 },
        "256",
        "Messages that may be unacknowledged at once: being handled, waiting for their sender's turn, or waiting for another attempt.",
    ),
    Setting::new("handlers.concurrency", Kind::Count { min: 1, max: 10_000 }, "64", "Handlers that may run at once."),
    Setting::new("handlers.largest_packet", Kind::Bytes, "1MiB", "Largest MQTT packet that is accepted."),
    Setting::new(
        "handlers.retry.attempts",
        Kind::Count { min: 1, max: 1000 },
        "8",
        "Attempts at a message whose handler fails, before it becomes a dead letter.",
    ),
    Setting::new(
        "handlers.retry.first",
        Kind::Duration,
        "200ms",
        "Pause after the first failed attempt; it doubles from there.",
    ),
    Setting::new("handlers.retry.longest", Kind::Duration, "30s", "Longest pause between attempts."),
    Setting::new(
        "handlers.retry.unavailable_for",
        Kind::Duration,
        "10m",
        "How long to wait in all for something that a handler needs and that is away, such as the push-gateway.",
    ),
    Setting::new(
        "handlers.drain",
        Kind::Duration,
        "20s",
        "How long messages being handled may take after the stop began.",
    ),
    Setting::new(
        "handlers.remember",
        Kind::Duration,
        "8d",
        "How long a handled message is remembered, so that it is not handled again. Longer than the broker keeps messages.",
    ),
    Setting::new("handlers.dead_letters.keep", Kind::Duration, "30d", "How long dead letters are kept."),
    Setting::new(
        "handlers.gateway.url",
        Kind::Url,
        "http://127.0.0.1:8081",
        "Where the push-gateway is. It is called with keys.service.",
    ),
    Setting::new(
        "handlers.contacts.max_contacts",
        Kind::Count { min: 1, max: 100_000 },
        "5000",
        "Contacts that one user may have.",
    ),
    Setting::new(
        "handlers.contacts.max_requests",
        Kind::Count { min: 1, max: 100_000 },
        "500",
        "Open contact requests that one user may have made.",
    ),
];

/// The service's configuration.
#[derive(Clone)]
pub struct Config {
    /// Where health and metrics are served.
    pub listen: SocketAddr,
    /// Database URL.
    pub database: String,
    /// Connections to it.
    pub database_connections: u32,
    /// The runtime's options.
    pub runtime: Options,
    /// The push-gateway's address.
    pub gateway_url: String,
    /// Keys towards the push-gateway.
    pub service_keys: Vec<String>,
    /// Certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// How many contacts there may be.
    pub limits: Limits,
}

impl Config {
    /// The configuration from checked settings.
    ///
    /// # Errors
    /// What settings say together cannot be: all faults in one text.
    pub fn from_settings(settings: &Settings) -> anyhow::Result<Self> {
        let mut faults = Vec::new();
        let ca_file = settings.optional_path("handlers.ca_file");
        let group = settings.text("handlers.group");
        if group.contains(['/', '+', '#']) {
            faults.push(format!("handlers.group: found {group:?}; a group's name has no '/', '+' or '#'"));
        }
        let broker = broker(settings, &group, ca_file.as_ref(), &mut faults);
        let (first, longest) = (settings.duration("handlers.retry.first"), settings.duration("handlers.retry.longest"));
        if first > longest {
            faults
                .push(format!("handlers.retry.first ({first:?}) is longer than handlers.retry.longest ({longest:?})"));
        }
        let (Some(broker), true) = (broker, faults.is_empty()) else {
            anyhow::bail!("{}", faults.join("\n"));
        };
        Ok(Self {
            listen: settings.address("handlers.listen"),
            database: settings.database_or_data("handlers.database", "handlers.db"),
            database_connections: in_range(settings.count("handlers.database_connections")),
            runtime: Options {
                broker,
                group,
                concurrency: in_range(settings.count("handlers.concurrency")),
                retry: RetryPolicy {
                    attempts: in_range(settings.count("handlers.retry.attempts")),
                    first,
                    longest,
                    unavailable_for: settings.duration("handlers.retry.unavailable_for"),
                },
                drain: settings.duration("handlers.drain"),
                keep_processed: settings.duration("handlers.remember"),
                keep_dead_letters: settings.duration("handlers.dead_letters.keep"),
            },
            gateway_url: settings.text("handlers.gateway.url"),
            service_keys: settings.texts("keys.service"),
            ca_file,
            limits: Limits {
                contacts: in_range(settings.count("handlers.contacts.max_contacts")),
                requests: in_range(settings.count("handlers.contacts.max_requests")),
            },
        })
    }
}

fn broker(
    settings: &Settings,
    group: &str,
    ca_file: Option<&PathBuf>,
    faults: &mut Vec<String>,
) -> Option<BrokerOptions> {
    let keys = settings.texts("keys.handler");
    let certificate = settings.optional_path("handlers.client_cert");
    let key = settings.optional_path("handlers.client_key");
    if certificate.is_some() != key.is_some() {
        faults.push("handlers.client_cert and handlers.client_key: set both, or none".to_owned());
    }
    let identity = certificate.as_deref().zip(key.as_deref());
    if keys.is_empty() && identity.is_none() {
        faults.push(
            "keys.handler: none is set; it is the key with which handlers log in to the broker, and stands there too"
                .to_owned(),
        );
    }
    let address = match BrokerAddress::parse(&settings.text("handlers.broker")) {
        Ok(address) => address,
        Err(error) => {
            faults.push(format!("handlers.broker: {error}"));
            return None;
        }
    };
    let mut encryption = None;
    if address.tls {
        match tls::client_config(ca_file.map(PathBuf::as_path), identity, &[b"mqtt"]) {
            Ok(config) => encryption = Some(Arc::new(config)),
            Err(error) => faults.push(format!("handlers.ca_file, handlers.client_cert: {error}")),
        }
    } else if identity.is_some() {
        faults.push(
            "handlers.client_cert: it is shown over TLS only; let handlers.broker begin with mqtts://".to_owned(),
        );
    }
    Some(BrokerOptions {
        address,
        tls: encryption,
        keys,
        client_id: format!("{group}-{}", settings.text("handlers.instance")),
        session_expiry: Duration::from_millis(settings.count("handlers.session_expiry")),
        receive_maximum: in_range(settings.count("handlers.in_flight")),
        largest_packet: in_range(settings.count("handlers.largest_packet")),
    })
}

/// A count in the type that its user wants; its kind has checked the range already.
fn in_range<T: TryFrom<u64> + Bounded>(count: u64) -> T {
    T::try_from(count).unwrap_or(T::LARGEST)
}

trait Bounded {
    const LARGEST: Self;
}

macro_rules! bounded {
    ($($type:ty),*) => {$(impl Bounded for $type { const LARGEST: Self = <$type>::MAX; })*};
}

bounded!(u16, u32, usize, i64);

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_shared::config::{self, Loader};

    fn load(pairs: &[(&str, &str)]) -> anyhow::Result<Config> {
        let mut loader = Loader::new(&[config::SETTINGS, SETTINGS]);
        for (key, value) in pairs {
            loader = loader.flag("--set", key, *value);
        }
        Config::from_settings(&loader.load()?)
    }

    #[test]
    fn the_defaults_need_a_handler_key_and_nothing_else() {
        let config = load(&[("keys.handler", "k1,k2")]).unwrap();
        assert_eq!(config.runtime.broker.address.to_string(), "mqtt://127.0.0.1:1883");
        assert_eq!(config.runtime.broker.client_id, "handlers-1");
        assert_eq!(config.runtime.broker.keys, ["k1", "k2"]);
        assert_eq!(config.listen.port(), 8083);
        assert!(config.database.starts_with("sqlite://") && config.database.ends_with("handlers.db"));
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults = [("handlers.group", "a/b"), ("handlers.broker", "http://x"), ("handlers.retry.first", "1m")];
        let text = load(&faults).err().map(|error| error.to_string()).unwrap_or_default();
        for word in ["handlers.group", "handlers.broker", "handlers.retry.first", "keys.handler"] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }
}
