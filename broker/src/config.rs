//! The settings of the broker (`broker.*`).

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::bail;
use tidings_shared::auth::{ServiceKeys, VerifierConfig};
use tidings_shared::config::{Kind, Setting, Settings};

use crate::{engine, gate, http, log};

/// Settings of this service, besides the shared ones.
pub const SETTINGS: &[Setting] = &[
    Setting::new(
        "broker.mqtt.listen",
        Kind::Address,
        "127.0.0.1:1883",
        "Where MQTT is served without TLS; tokens travel in the clear there, so by default only this machine reaches it.",
    ),
    Setting::new(
        "broker.mqtt_tls.listen",
        Kind::Address,
        "0.0.0.0:8883",
        "Where MQTT over TLS (1.2 and 1.3) is served, when broker.tls.cert is set.",
    ),
    Setting::new(
        "broker.http.listen",
        Kind::Address,
        "127.0.0.1:8080",
        "Where the HTTP door, MQTT over WebSocket (/mqtt), health and metrics are served, without TLS: put a proxy before it.",
    ),
    Setting::optional("broker.tls.cert", Kind::Path, "PEM file: the broker's certificate and its chain."),
    Setting::optional("broker.tls.key", Kind::Path, "PEM file: the certificate's private key."),
    Setting::optional(
        "broker.log.dir",
        Kind::Path,
        "Folder of the message log; the folder log in the data folder when unset.",
    ),
    Setting::new("broker.log.retention.age", Kind::Duration, "7d", "Messages older than this are dropped."),
    Setting::new(
        "broker.log.retention.per_user",
        Kind::Count { min: 1, max: 1_000_000 },
        "1000",
        "Messages kept for each user; the oldest are dropped.",
    ),
    Setting::new(
        "broker.log.retention.per_user_bytes",
        Kind::Bytes,
        "16MiB",
        "Bytes kept for each user, as they are stored; the oldest messages are dropped, the newest one stays. 0: no limit.",
    ),
    Setting::new(
        "broker.log.retention.total",
        Kind::Bytes,
        "0",
        "Size of the whole log; the oldest messages are dropped, whosever they are. 0: no limit but the disk. Not kept to the byte: files of an eighth of it are dropped as a whole, and records and indexes come on top.",
    ),
    Setting::new(
        "broker.log.retention.per_command_topic",
        Kind::Count { min: 1, max: 1_000_000_000 },
        "1000000",
        "Messages kept for each command topic, for handlers that are away; the oldest are dropped.",
    ),
    Setting::new(
        "broker.log.dedup.window",
        Kind::Duration,
        "10m",
        "How long a repeated message id is recognised and not stored again.",
    ),
    Setting::new(
        "broker.log.dedup.entries",
        Kind::Count { min: 0, max: 100_000_000 },
        "1000000",
        "Message ids remembered at most, whatever the window; about 100 bytes of memory each.",
    ),
    Setting::new("broker.log.segment", Kind::Bytes, "64MiB", "Files of the log are dropped as a whole; their size."),
    Setting::new(
        "broker.log.waiting",
        Kind::Bytes,
        "64MiB",
        "Publishes are refused while so many bytes wait for the disk.",
    ),
    Setting::new(
        "broker.limits.packet",
        Kind::Bytes,
        "1MiB",
        "The largest MQTT packet after the log-in, and the largest body of an HTTP publish.",
    ),
    Setting::new(
        "broker.limits.first_packet",
        Kind::Bytes,
        "64KiB",
        "The largest packet before the log-in: the token must fit.",
    ),
    Setting::new(
        "broker.limits.connect",
        Kind::Duration,
        "10s",
        "From the accepted socket to a verified log-in, TLS and WebSocket handshakes included.",
    ),
    Setting::new(
        "broker.limits.handshakes",
        Kind::Count { min: 1, max: 10_000_000 },
        "4096",
        "Connections that have not logged in yet, all together; more are closed at once.",
    ),
    Setting::new(
        "broker.limits.handshakes_per_address",
        Kind::Count { min: 1, max: 10_000_000 },
        "1024",
        "Connections that have not logged in yet from one address (IPv6: from one /64); more are closed at once.",
    ),
    Setting::optional(
        "broker.limits.keep_alive",
        Kind::Duration,
        "The longest MQTT keep-alive; MQTT 5 clients that ask for more are told this one. Unset: as the client asks.",
    ),
    Setting::new(
        "broker.limits.write",
        Kind::Duration,
        "30s",
        "A connection whose client takes nothing out of its socket for this long is closed.",
    ),
    Setting::new(
        "broker.limits.outbox",
        Kind::Bytes,
        "1MiB",
        "QoS 0 messages that wait for one slow connection; more are dropped and counted.",
    ),
    Setting::new(
        "broker.limits.receive_maximum",
        Kind::Count { min: 1, max: 65_535 },
        "256",
        "Publishes with QoS above 0 that a client may have unacknowledged.",
    ),
    Setting::new(
        "broker.limits.inflight",
        Kind::Count { min: 1, max: 65_535 },
        "256",
        "Messages with QoS above 0 sent to a client ahead of its acknowledgements.",
    ),
    Setting::new(
        "broker.limits.inflight_bytes",
        Kind::Bytes,
        "1MiB",
        "Their payload bytes; one message may always be sent.",
    ),
    Setting::new(
        "broker.limits.topic_alias",
        Kind::Count { min: 0, max: 65_535 },
        "16",
        "Topic aliases that an MQTT 5 client may set.",
    ),
    Setting::new(
        "broker.limits.subscriptions",
        Kind::Count { min: 1, max: 1_000_000 },
        "1000",
        "Subscriptions of one session.",
    ),
    Setting::new(
        "broker.limits.sessions_per_user",
        Kind::Count { min: 1, max: 1_000_000 },
        "100",
        "Sessions of one user, connected or not.",
    ),
    Setting::new(
        "broker.limits.session_expiry",
        Kind::Duration,
        "7d",
        "How long a session outlives its connection at most.",
    ),
    Setting::new(
        "broker.limits.retained",
        Kind::Count { min: 0, max: 100_000_000 },
        "100000",
        "Retained messages, all together.",
    ),
    Setting::new(
        "broker.limits.retained_bytes",
        Kind::Bytes,
        "256MiB",
        "Topics and payloads of retained messages, all together.",
    ),
    Setting::new(
        "broker.limits.polls_per_user",
        Kind::Count { min: 1, max: 100_000 },
        "10",
        "HTTP requests of one user that may wait for messages at the same time, polls and streams together.",
    ),
    Setting::new("broker.http.wait", Kind::Duration, "25s", "How long a poll waits when it does not say."),
    Setting::new(
        "broker.http.wait_max",
        Kind::Duration,
        "55s",
        "The longest wait of a poll: below the time-outs of the proxies on the way.",
    ),
    Setting::new(
        "broker.groups.ack_timeout",
        Kind::Duration,
        "30s",
        "A member of a shared group that keeps a message this long is passed over; at QoS 1 another member gets the message. 0s: never.",
    ),
    Setting::new(
        "broker.http.heartbeat",
        Kind::Duration,
        "15s",
        "How often a quiet stream of events is heard: below the time-outs of the proxies on the way.",
    ),
    Setting::new(
        "broker.wake.grace",
        Kind::Duration,
        "3s",
        "A message that no device of its user has acknowledged for this long asks for a wake push.",
    ),
    Setting::new(
        "broker.revocations.keep",
        Kind::Duration,
        "366d",
        "How long a revocation is kept that does not say when its tokens end: at least the longest life of a token. For ever when auth.require_expiry is false.",
    ),
    Setting::new(
        "broker.topics.commands",
        Kind::Texts,
        "",
        "Topics and filters that are commands although they look like a user's, for example ping_server or order/+.",
    ),
];

/// The service's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where MQTT is served.
    pub mqtt: SocketAddr,
    /// Where MQTT over TLS is served, when there is a certificate.
    pub mqtt_tls: SocketAddr,
    /// Where HTTP and WebSocket are served.
    pub http: SocketAddr,
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
}

/// The broker's certificate.
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM file of the certificate and its chain.
    pub cert: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
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

/// The smallest limit of the whole log, in bytes.
const SMALLEST_LOG: u64 = 8 << 20;

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
        let total_bytes = settings.count("broker.log.retention.total");
        if total_bytes > 0 && total_bytes < SMALLEST_LOG {
            bail!(
                "broker.log.retention.total is {total_bytes} bytes; it must be 0 (no limit) or at least {SMALLEST_LOG}, since whole files of an eighth of it are dropped"
            );
        }
        Ok(Self {
            mqtt: settings.address("broker.mqtt.listen"),
            mqtt_tls: settings.address("broker.mqtt_tls.listen"),
            http: settings.address("broker.http.listen"),
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
                total_bytes,
                waiting_bytes: settings.bytes("broker.log.waiting"),
                message_bytes: packet.saturating_add(ENVELOPE),
            },
            gate: gate(settings, packet),
            door,
            engine: engine(settings, packet),
            auth: VerifierConfig::from_settings(settings),
            handler_keys: settings.texts("keys.handler"),
            service_keys: settings.texts("keys.service"),
            admin: admin(settings),
        })
    }
}

fn tls(settings: &Settings) -> anyhow::Result<Option<Tls>> {
    match (settings.optional_path("broker.tls.cert"), settings.optional_path("broker.tls.key")) {
        (Some(cert), Some(key)) => Ok(Some(Tls { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => bail!("broker.tls.cert is set and broker.tls.key is not; set both, or none for no TLS"),
        (None, Some(_)) => bail!("broker.tls.key is set and broker.tls.cert is not; set both, or none for no TLS"),
    }
}

fn gate(settings: &Settings, packet: usize) -> gate::Limits {
    gate::Limits {
        connect_deadline: settings.duration("broker.limits.connect"),
        first_packet: settings.bytes("broker.limits.first_packet"),
        unauthenticated: settings.bytes("broker.limits.handshakes"),
        unauthenticated_per_address: settings.bytes("broker.limits.handshakes_per_address"),
        packet,
        keep_alive: settings.optional_count("broker.limits.keep_alive").map(std::time::Duration::from_millis),
        write_deadline: settings.duration("broker.limits.write"),
        outbox: settings.bytes("broker.limits.outbox"),
    }
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
        assert!(config.mqtt.ip().is_loopback() && config.http.ip().is_loopback());
        assert!(config.tls.is_none());
    }

    #[test]
    fn half_a_certificate_is_refused() {
        let refused = load(&[("broker.tls.cert", "broker.pem")]).unwrap_err();
        assert!(refused.to_string().contains("broker.tls.key is not"), "{refused}");
    }

    #[test]
    fn a_log_is_without_a_limit_or_large_enough_for_its_files() {
        assert_eq!(load(&[("broker.log.retention.total", "10GiB")]).unwrap().log.total_bytes, 10 << 30);
        assert_eq!(load(&[]).unwrap().log.total_bytes, 0);
        let refused = load(&[("broker.log.retention.total", "1MiB")]).unwrap_err();
        assert!(refused.to_string().contains("at least 8388608"), "{refused}");
    }

    #[test]
    fn a_wait_beyond_the_longest_is_refused() {
        let refused = load(&[("broker.http.wait", "2m")]).unwrap_err();
        assert!(refused.to_string().contains("broker.http.wait_max"), "{refused}");
    }
}
