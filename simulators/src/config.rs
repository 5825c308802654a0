//! The simulators' settings.

use std::net::SocketAddr;
use std::path::PathBuf;

use tidings_shared::config::{Kind, Setting, Settings};

use crate::apns::ApnsOptions;
use crate::fcm::FcmOptions;

/// Every setting of the simulators.
pub const SETTINGS: &[Setting] = &[
    Setting::new(
        "simulators.apns.listen",
        Kind::Address,
        "127.0.0.1:8443",
        "Where the APNs simulator listens (HTTP/2 over TLS).",
    ),
    Setting::optional(
        "simulators.apns.sandbox_listen",
        Kind::Address,
        "A second APNs listener for the sandbox environment; the first one is production only then. Unset: one listener for both.",
    ),
    Setting::new(
        "simulators.apns.max_streams",
        Kind::Count { min: 1, max: 100_000 },
        "1000",
        "Concurrent streams that a connection may use after its first accepted push; 1 before.",
    ),
    Setting::new(
        "simulators.apns.strict_tokens",
        Kind::Flag,
        "false",
        "Answer BadDeviceToken for device tokens that were never registered with the simulator.",
    ),
    Setting::new(
        "simulators.apns.token_update_interval",
        Kind::Duration,
        "0s",
        "Answer TooManyProviderTokenUpdates when a key's provider token changes more often than this (Apple: 20m); 0s allows any.",
    ),
    Setting::new(
        "simulators.apns.client_roots",
        Kind::Texts,
        "",
        "PEM files of the authorities that client certificates may come from; when empty, the development root of the passbook service in the data folder (wallet/certificates/root.pem).",
    ),
    Setting::optional(
        "simulators.apns.keys.*.file",
        Kind::Path,
        "A provider key (public, or the .p8 itself); the name is its key id. A development key exists without any setting.",
    ),
    Setting::optional("simulators.apns.keys.*.team", Kind::Text, "The team id of that key."),
    Setting::new("simulators.fcm.listen", Kind::Address, "127.0.0.1:8444", "Where the FCM simulator listens (TLS)."),
    Setting::optional(
        "simulators.fcm.url",
        Kind::Url,
        "Where clients reach the FCM simulator, if it is not the address it listens on; the service account's token_uri.",
    ),
    Setting::new(
        "simulators.fcm.strict_tokens",
        Kind::Flag,
        "false",
        "Answer UNREGISTERED for registration tokens that were never registered with the simulator.",
    ),
    Setting::new(
        "simulators.control.listen",
        Kind::Address,
        "127.0.0.1:8090",
        "Where the control and the development token issuer listen (plain HTTP; anybody who reaches it gets tokens).",
    ),
    Setting::optional(
        "simulators.control.url",
        Kind::Url,
        "Where clients reach the control, if it is not the address it listens on; the iss of development tokens.",
    ),
    Setting::new(
        "simulators.inbox",
        Kind::Count { min: 1, max: 10_000_000 },
        "100000",
        "How many delivered pushes are kept; the oldest are forgotten.",
    ),
    Setting::optional(
        "simulators.folder",
        Kind::Path,
        "Folder of the simulators' keys; `simulators` in the data folder when unset.",
    ),
    Setting::optional(
        "simulators.tls.certificate_file",
        Kind::Path,
        "PEM certificate of the simulators; the development authority makes one when unset.",
    ),
    Setting::optional("simulators.tls.key_file", Kind::Path, "PEM private key of that certificate."),
    Setting::optional(
        "simulators.tls.authority",
        Kind::Path,
        "Folder of the development authority; `ca` in the data folder when unset.",
    ),
    Setting::new(
        "simulators.tls.names",
        Kind::Texts,
        "localhost,127.0.0.1,::1,simulators",
        "Names and addresses for the development authority's certificate.",
    ),
];

/// A provider key from the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// The `kid`.
    pub key_id: String,
    /// The `iss`.
    pub team_id: String,
    /// PEM.
    pub file: PathBuf,
}

/// Where the certificate of the TLS doors comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSource {
    /// Given.
    Files {
        /// PEM chain.
        certificate: PathBuf,
        /// PEM key.
        key: PathBuf,
    },
    /// Made by the development authority.
    Authority {
        /// Its folder.
        folder: PathBuf,
        /// Names and addresses in the certificate.
        names: Vec<String>,
    },
}

/// The simulators' configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where APNs listens.
    pub apns_listen: SocketAddr,
    /// Where the sandbox listens, if apart.
    pub apns_sandbox_listen: Option<SocketAddr>,
    /// How strict APNs is.
    pub apns: ApnsOptions,
    /// Provider keys besides the development key.
    pub apns_keys: Vec<KeyFile>,
    /// Where FCM listens.
    pub fcm_listen: SocketAddr,
    /// Where clients reach it.
    pub fcm_url: Option<String>,
    /// How strict FCM is.
    pub fcm: FcmOptions,
    /// Where the control listens.
    pub control_listen: SocketAddr,
    /// Where clients reach it.
    pub control_url: Option<String>,
    /// Pushes kept.
    pub inbox: usize,
    /// Folder of keys.
    pub folder: PathBuf,
    /// The certificate.
    pub tls: TlsSource,
}

impl Config {
    /// The configuration that the settings describe.
    #[must_use]
    pub fn from_settings(settings: &Settings) -> Self {
        let certificate = settings.optional_path("simulators.tls.certificate_file");
        let key = settings.optional_path("simulators.tls.key_file");
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => TlsSource::Files { certificate, key },
            _ => TlsSource::Authority {
                folder: settings.path_or_data("simulators.tls.authority", "ca"),
                names: settings.texts("simulators.tls.names"),
            },
        };
        let mut client_roots: Vec<PathBuf> =
            settings.texts("simulators.apns.client_roots").into_iter().map(PathBuf::from).collect();
        if client_roots.is_empty() {
            client_roots.push(settings.path("data").join("wallet/certificates/root.pem"));
        }
        let keys = settings.names("simulators.apns.keys").into_iter().filter_map(|key_id| {
            let file = settings.optional_path(&format!("simulators.apns.keys.{key_id}.file"))?;
            let team_id = settings.optional_text(&format!("simulators.apns.keys.{key_id}.team"))?;
            Some(KeyFile { key_id, team_id, file })
        });
        Self {
            apns_listen: settings.address("simulators.apns.listen"),
            apns_sandbox_listen: settings.optional_address("simulators.apns.sandbox_listen"),
            apns: ApnsOptions {
                max_streams: u32::try_from(settings.count("simulators.apns.max_streams")).unwrap_or(u32::MAX),
                strict_tokens: settings.flag("simulators.apns.strict_tokens"),
                token_update_interval_ms: settings.count("simulators.apns.token_update_interval"),
                client_roots,
            },
            apns_keys: keys.collect(),
            fcm_listen: settings.address("simulators.fcm.listen"),
            fcm_url: settings.optional_text("simulators.fcm.url"),
            fcm: FcmOptions { strict_tokens: settings.flag("simulators.fcm.strict_tokens") },
            control_listen: settings.address("simulators.control.listen"),
            control_url: settings.optional_text("simulators.control.url"),
            inbox: usize::try_from(settings.count("simulators.inbox")).unwrap_or(usize::MAX),
            folder: settings.path_or_data("simulators.folder", "simulators"),
            tls,
        }
    }
}
