//! The settings of the broker (`broker.*`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use tidings_shared::auth::{ServiceKeys, VerifierConfig};
use tidings_shared::config::Settings;
use tidings_shared::tls::{ClientCertificates, TlsFiles};

use crate::{engine, gate, http, log};

pub use crate::settings::SETTINGS;

/// The service's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where MQTT is served.
    pub mqtt: Vec<SocketAddr>,
    /// Where MQTT over TLS is served, when there is a certificate.
    pub mqtt_tls: Vec<SocketAddr>,
    /// Where HTTP and WebSocket are served.
    pub http: Vec<SocketAddr>,
    /// Certificate and key.
    pub tls: Option<Tls>,
    /// The message log.
    pub log: Log,
    /// Limits of the gate.
    pub gate: gate::Limits,
    /// Limits of the HTTP door.
    pub door: http::Limits,
    /// Limits and times of the engine.
    pub engine: engine::Settings,
    /// How tokens are verified.
    pub auth: VerifierConfig,
    /// Keys of handlers.
    pub handler_keys: Vec<String>,
    /// Keys of other services.
    pub service_keys: Vec<String>,
    /// The admin door.
    pub admin: http::admin::Admin,
    /// How long connections may take to end when the broker stops.
    pub stop_patience: Duration,
}

/// The broker's certificate.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate, key, and who signs those of clients.
    pub files: TlsFiles,
    /// How often the files are looked at; zero: only when asked.
    pub reload: Duration,
}

/// How the message log is kept.
#[derive(Clone, Debug)]
pub struct Log {
    /// Its folder.
    pub folder: PathBuf,
    /// How much is kept.
    pub limits: log::Limits,
    /// Size of a file, in bytes.
    pub segment_bytes: u64,
    /// Size of the whole log, in bytes; 0: no limit.
    pub total_bytes: u64,
    /// Bytes that may wait for the disk.
    pub waiting_bytes: usize,
    /// The longest message, with everything that travels along.
    pub message_bytes: usize,
}

/// What travels along with a message and is not in its packet: ids, sender, time.
const ENVELOPE: usize = 64 << 10;

impl Config {
    /// Reads the checked settings.
    ///
    /// # Errors
    /// When only one of certificate and key is set, or the waits do not fit each other.
    pub fn from_settings(settings: &Settings) -> anyhow::Result<Self> {
        let packet = settings.bytes("broker.limits.packet");
        let door = door(settings, packet);
        if door.wait > door.wait_max {
            bail!("broker.http.wait ({:?}) is longer than broker.http.wait_max ({:?})", door.wait, door.wait_max);
        }
        Ok(Self {
            mqtt: settings.addresses("broker.mqtt.listen"),
            mqtt_tls: settings.addresses("broker.mqtt_tls.listen"),
            http: settings.addresses("broker.http.listen"),
            tls: tls(settings)?,
            log: Log {
                folder: settings.path_or_data("broker.log.dir", "log"),
                limits: log::Limits {
                    age_ms: settings.duration_ms("broker.log.retention.age"),
                    per_user: settings.bytes("broker.log.retention.per_user"),
                    per_user_bytes: settings.count("broker.log.retention.per_user_bytes"),
                    per_command_topic: settings.bytes("broker.log.retention.per_command_topic"),
                    dedup_window_ms: settings.duration_ms("broker.log.dedup.window"),
                    dedup_entries: settings.bytes("broker.log.dedup.entries"),
                },
                segment_bytes: settings.count("broker.log.segment"),
                total_bytes: settings.count("broker.log.retention.total"),
                waiting_bytes: settings.bytes("broker.log.waiting"),
                message_bytes: packet.saturating_add(ENVELOPE),
            },
            gate: gate(settings, packet)?,
            door,
            engine: engine(settings, packet),
            auth: VerifierConfig::from_settings(settings),
            handler_keys: settings.texts("keys.handler"),
            service_keys: settings.texts("keys.service"),
            admin: admin(settings),
            stop_patience: settings.duration("broker.stop.patience"),
        })
    }
}

fn tls(settings: &Settings) -> anyhow::Result<Option<Tls>> {
    let client_ca = settings.optional_path("broker.tls.client_ca");
    let demand = match settings.text("broker.tls.client_cert").as_str() {
        "required" => Some(ClientCertificates::Required),
        "optional" => Some(ClientCertificates::Optional),
        _ => None,
    };
    if client_ca.is_none() && demand == Some(ClientCertificates::Required) {
        bail!(
            "broker.tls.client_cert is required and broker.tls.client_ca is not set; say who signs client certificates"
        );
    }
    let files = match (settings.optional_path("broker.tls.cert"), settings.optional_path("broker.tls.key")) {
        (Some(certificate), Some(key)) => TlsFiles { certificate, key, client_roots: client_ca.zip(demand) },
        (None, None) if client_ca.is_some() => {
            bail!("broker.tls.client_ca is set and broker.tls.cert is not; client certificates need TLS")
        }
        (None, None) => return Ok(None),
        (Some(_), None) => bail!("broker.tls.cert is set and broker.tls.key is not; set both, or none for no TLS"),
        (None, Some(_)) => bail!("broker.tls.key is set and broker.tls.cert is not; set both, or none for no TLS"),
    };
    Ok(Some(Tls { files, reload: settings.duration("broker.tls.reload") }))
}

fn gate(settings: &Settings, packet: usize) -> anyhow::Result<gate::Limits> {
    let proxies = settings.texts("broker.proxy_protocol.trusted");
    let proxies: Result<Vec<gate::Network>, _> = proxies.iter().map(|text| text.parse()).collect();
    let burst = settings.duration("broker.limits.burst");
    let rate = |path| gate::Rate { per_second: settings.count(path), burst };
    Ok(gate::Limits {
        connect_deadline: settings.duration("broker.limits.connect"),
        first_packet: settings.bytes("broker.limits.first_packet"),
        unauthenticated: settings.bytes("broker.limits.handshakes"),
        unauthenticated_per_address: settings.bytes("broker.limits.handshakes_per_address"),
        connects_per_address: rate("broker.limits.connects_per_address"),
        tls_handshakes: settings.bytes("broker.limits.tls_handshakes"),
        at_once: settings.bytes("broker.limits.logins_at_once"),
        http_connections: settings.bytes("broker.limits.http_connections"),
        backoff: gate::BackoffLimits {
            failures: small(settings, "broker.limits.login_failures"),
            failures_per_address: small(settings, "broker.limits.login_failures_per_address"),
            longest: settings.duration("broker.limits.login_backoff"),
            quiet: settings.duration("broker.limits.login_quiet"),
        },
        device: gate::Rates {
            messages_per_connection: rate("broker.limits.messages_per_connection"),
            bytes_per_connection: rate("broker.limits.bytes_per_connection"),
            messages_per_user: rate("broker.limits.messages_per_user"),
            bytes_per_user: rate("broker.limits.bytes_per_user"),
        },
        handler: gate::Rates {
            messages_per_connection: rate("broker.limits.messages_per_handler"),
            bytes_per_connection: rate("broker.limits.bytes_per_handler"),
            ..gate::Rates::OFF
        },
        patience: settings.duration("broker.limits.patience"),
        packet,
        keep_alive: settings.optional_count("broker.limits.keep_alive").map(Duration::from_millis),
        write_deadline: settings.duration("broker.limits.write"),
        outbox: settings.bytes("broker.limits.outbox"),
        proxies: proxies.context("broker.proxy_protocol.trusted")?,
        server_reference: settings.optional_text("broker.stop.server_reference"),
    })
}

fn small(settings: &Settings, path: &str) -> u32 {
    u32::try_from(settings.count(path)).unwrap_or(u32::MAX)
}

fn door(settings: &Settings, packet: usize) -> http::Limits {
    http::Limits {
        wait: settings.duration("broker.http.wait"),
        wait_max: settings.duration("broker.http.wait_max"),
        polls_per_user: settings.bytes("broker.limits.polls_per_user"),
        body: packet,
        heartbeat: settings.duration("broker.http.heartbeat"),
        write_deadline: settings.duration("broker.limits.write"),
        ..http::Limits::default()
    }
}

fn admin(settings: &Settings) -> http::admin::Admin {
    // A token that never expires may come at any time.
    let expire = settings.flag("auth.require_expiry");
    http::admin::Admin {
        keys: ServiceKeys::new(settings.texts("keys.admin")),
        keep_ms: expire.then(|| settings.duration_ms("broker.revocations.keep")),
    }
}

fn engine(settings: &Settings, packet: usize) -> engine::Settings {
    let small = |path| u16::try_from(settings.count(path)).unwrap_or(u16::MAX);
    let expiry = settings.duration("broker.limits.session_expiry").as_secs();
    engine::Settings {
        // The greatest value would mean "for ever" (MQTT 5, 3.1.2.11.2).
        max_session_expiry_s: u32::try_from(expiry).unwrap_or(u32::MAX).min(u32::MAX - 1),
        receive_maximum: small("broker.limits.receive_maximum"),
        max_inflight: small("broker.limits.inflight"),
        max_inflight_bytes: settings.bytes("broker.limits.inflight_bytes"),
        topic_alias_maximum: small("broker.limits.topic_alias"),
        max_packet_size: u32::try_from(packet).ok(),
        max_subscriptions: settings.bytes("broker.limits.subscriptions"),
        max_sessions_per_user: u32::try_from(settings.count("broker.limits.sessions_per_user")).unwrap_or(u32::MAX),
        max_retained: settings.bytes("broker.limits.retained"),
        max_retained_bytes: settings.bytes("broker.limits.retained_bytes"),
        wake_grace_ms: settings.duration_ms("broker.wake.grace"),
        group_ack_timeout_ms: settings.duration_ms("broker.groups.ack_timeout"),
        presence_keep_ms: settings.duration_ms("broker.log.retention.age"),
        commands: settings.texts("broker.topics.commands"),
        ..engine::Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_shared::config::Loader;

    fn load(flags: &[(&str, &str)]) -> anyhow::Result<Config> {
        let mut loader = Loader::new(&[tidings_shared::config::SETTINGS, SETTINGS]);
        for (key, value) in flags {
            loader = loader.flag("--set", key, *value);
        }
        Config::from_settings(&loader.load().unwrap())
    }

    #[test]
    fn the_defaults_are_those_of_the_parts() {
        let config = load(&[("data", "/var/lib/tidings")]).unwrap();
        assert_eq!(config.log.limits, log::Limits::default());
        assert_eq!(config.log.folder, PathBuf::from("/var/lib/tidings/log"));
        assert_eq!(format!("{:?}", config.gate), format!("{:?}", gate::Limits::default()));
        assert_eq!(format!("{:?}", config.door), format!("{:?}", http::Limits::default()));
        let expected = engine::Settings { max_packet_size: Some(1 << 20), ..engine::Settings::default() };
        assert_eq!(format!("{:?}", config.engine), format!("{expected:?}"));
        assert!(config.mqtt.iter().chain(&config.http).all(|address| address.ip().is_loopback()));
        assert!(config.tls.is_none());
    }

    #[test]
    fn half_a_certificate_is_refused() {
        let refused = load(&[("broker.tls.cert", "broker.pem")]).unwrap_err();
        assert!(refused.to_string().contains("broker.tls.key is not"), "{refused}");
    }

    #[test]
    fn a_wait_beyond_the_longest_is_refused() {
        let refused = load(&[("broker.http.wait", "2m")]).unwrap_err();
        assert!(refused.to_string().contains("broker.http.wait_max"), "{refused}");
    }
}
