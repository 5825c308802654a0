//! The settings under `wallet.*`, and the shared ones that this service reads.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidings_shared::auth::ServiceKeys;
use tidings_shared::config::{Kind, Setting, Settings};

use crate::package::CertificateFiles;

/// Every setting of the passbook-service.
pub const SETTINGS: &[Setting] = &[
    Setting::new(
        "wallet.listen",
        Kind::Address,
        "0.0.0.0:8082",
        "Where the passbook-service listens (plain HTTP; a proxy adds TLS).",
    ),
    Setting::optional(
        "wallet.public_url",
        Kind::Url,
        "The https:// address under which devices reach the service; it stands in every pass. Unset, with development certificates only: http://localhost and the port.",
    ),
    Setting::new(
        "wallet.allow_http",
        Kind::Flag,
        "false",
        "Development: allow http:// in wallet.public_url. A phone accepts https:// only.",
    ),
    Setting::optional("wallet.database", Kind::Url, "Database; wallet.db in the data folder when unset."),
    Setting::new(
        "wallet.database_connections",
        Kind::Count { min: 2, max: 1000 },
        "16",
        "Most connections to the database.",
    ),
    Setting::optional(
        "wallet.templates",
        Kind::Path,
        "Folder with one folder per pass template. The template `example` is built in.",
    ),
    Setting::new(
        "wallet.pass_type",
        Kind::Text,
        "pass.dev.tidings.example",
        "Pass type identifier: the UID of the signing certificate.",
    ),
    Setting::new("wallet.team", Kind::Text, "TIDINGSDEV", "Team identifier: the OU of the signing certificate."),
    Setting::optional(
        "wallet.signing.certificate",
        Kind::Path,
        "Pass Type ID certificate, PEM or DER. Unset (and no p12): development certificates are made in the data folder.",
    ),
    Setting::optional("wallet.signing.key", Kind::Path, "Its private key, PEM."),
    Setting::optional(
        "wallet.signing.p12",
        Kind::Path,
        "Certificate and key as a .p12 file, instead of certificate and key.",
    ),
    Setting::optional("wallet.signing.p12_password", Kind::Secret, "Password of the .p12 file."),
    Setting::optional(
        "wallet.signing.intermediate",
        Kind::Path,
        "Apple's WWDR certificate that issued the signing certificate, PEM or DER.",
    ),
    Setting::new(
        "wallet.tokens",
        Kind::Choice(&["derived", "random"]),
        "derived",
        "How authentication tokens are made: derived from a master key, so that packages can be downloaded with a service key, or random.",
    ),
    Setting::optional(
        "wallet.token_key",
        Kind::Secret,
        "Master key of derived tokens, 32 characters or more; the same for all processes. Unset: made in the data folder.",
    ),
    Setting::new(
        "wallet.gateway.url",
        Kind::Url,
        "http://127.0.0.1:8081",
        "Where the push-gateway is. It is called with the first of keys.service.",
    ),
    Setting::optional(
        "wallet.gateway.ca_file",
        Kind::Path,
        "PEM certificates to trust for wallet.gateway.url, besides the system's.",
    ),
    Setting::new(
        "wallet.push.interval",
        Kind::Duration,
        "1s",
        "At least this long between two pushes to the same device for the same pass type; changes in between share one.",
    ),
    Setting::new(
        "wallet.sequencer.interval",
        Kind::Duration,
        "200ms",
        "How often changes committed by other processes are looked for; a process's own are seen at once.",
    ),
    Setting::new(
        "wallet.sequencer.batch",
        Kind::Count { min: 1, max: 10_000 },
        "500",
        "Most changes that share one transaction of the sequencer.",
    ),
    Setting::new(
        "wallet.tag_wait",
        Kind::Duration,
        "5s",
        "How long a change waits for its tag before it is answered with 202.",
    ),
];

/// How authentication tokens are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenMode {
    /// HMAC of a master key. `None`: the key is made in the data folder.
    Derived(Option<String>),
    /// Random, known to the device alone.
    Random,
}

/// The passbook-service's configuration.
#[derive(Clone)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Folder for development certificates and the token key.
    pub data: PathBuf,
    /// The address in passes.
    pub public_url: Option<String>,
    /// Allow `http://` in it.
    pub allow_http: bool,
    /// Database URL.
    pub database: String,
    /// Most connections to it.
    pub database_connections: u32,
    /// Folder of templates.
    pub templates: Option<PathBuf>,
    /// Pass type identifier.
    pub pass_type: String,
    /// Team identifier.
    pub team: String,
    /// The signing identity; `None`: development certificates.
    pub signing: Option<CertificateFiles>,
    /// How tokens are made.
    pub tokens: TokenMode,
    /// The push-gateway.
    pub gateway_url: String,
    /// CA of the push-gateway.
    pub gateway_ca: Option<PathBuf>,
    /// Keys of the service API; the first is used towards the push-gateway.
    pub service_keys: ServiceKeys,
    /// Least time between two pushes to a device, ms.
    pub push_interval_ms: i64,
    /// How often the sequencer looks by itself.
    pub sequencer_interval: Duration,
    /// Most changes in a batch.
    pub sequencer_batch: i64,
    /// How long a change waits for its tag.
    pub tag_wait: Duration,
}

impl Config {
    /// The configuration from checked settings.
    ///
    /// # Errors
    /// What settings say together cannot be: all faults in one text.
    pub fn from_settings(settings: &Settings) -> anyhow::Result<Self> {
        let mut faults = Vec::new();
        let signing = signing(settings, &mut faults);
        let public_url = settings.optional_text("wallet.public_url");
        let allow_http = settings.flag("wallet.allow_http");
        match &public_url {
            Some(url) if url.starts_with("http://") && !allow_http => faults.push(format!(
                "wallet.public_url: found `{url}`; phones accept https:// only. For development set wallet.allow_http = true"
            )),
            Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => {
                faults.push(format!("wallet.public_url: found `{url}`; give an https:// address"));
            }
            None if signing.is_some() => faults.push(
                "wallet.public_url: unset; with a signing certificate of your own it is required: the https:// address under which devices reach this service".to_owned(),
            ),
            _ => {}
        }
        let tokens = match settings.text("wallet.tokens").as_str() {
            "random" => TokenMode::Random,
            _ => TokenMode::Derived(settings.optional_text("wallet.token_key")),
        };
        if let TokenMode::Derived(Some(key)) = &tokens
            && key.len() < 32
        {
            faults.push(format!(
                "wallet.token_key: {} characters; a master key has 32 or more, for example from `openssl rand -hex 32`",
                key.len()
            ));
        }
        anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(Self {
            listen: settings.address("wallet.listen"),
            data: settings.path("data"),
            public_url,
            allow_http,
            database: settings.database_or_data("wallet.database", "wallet.db"),
            database_connections: u32::try_from(settings.count("wallet.database_connections")).unwrap_or(16),
            templates: settings.optional_path("wallet.templates"),
            pass_type: settings.text("wallet.pass_type"),
            team: settings.text("wallet.team"),
            signing,
            tokens,
            gateway_url: settings.text("wallet.gateway.url"),
            gateway_ca: settings.optional_path("wallet.gateway.ca_file"),
            service_keys: ServiceKeys::new(settings.texts("keys.service")),
            push_interval_ms: settings.duration_ms("wallet.push.interval"),
            sequencer_interval: settings.duration("wallet.sequencer.interval"),
            sequencer_batch: i64::try_from(settings.count("wallet.sequencer.batch")).unwrap_or(500),
            tag_wait: settings.duration("wallet.tag_wait"),
        })
    }
}

fn signing(settings: &Settings, faults: &mut Vec<String>) -> Option<CertificateFiles> {
    let path = |name: &str| settings.optional_path(&format!("wallet.signing.{name}"));
    let intermediate = path("intermediate");
    match (path("certificate"), path("key"), path("p12")) {
        (None, None, None) => {
            if intermediate.is_some() {
                faults.push(
                    "wallet.signing.intermediate: stands alone; set wallet.signing.certificate and .key, or .p12, too"
                        .to_owned(),
                );
            }
            None
        }
        (None, None, Some(file)) => {
            let password = settings.optional_text("wallet.signing.p12_password").unwrap_or_default();
            Some(CertificateFiles::Pkcs12 { file, password, intermediate })
        }
        (Some(certificate), Some(key), None) => Some(CertificateFiles::Pem { certificate, key, intermediate }),
        (_, _, Some(_)) => {
            faults.push("wallet.signing.p12: stands beside certificate or key; give one or the other".to_owned());
            None
        }
        (Some(_), None, None) => {
            faults.push("wallet.signing.key: unset; the certificate's private key is required".to_owned());
            None
        }
        (None, Some(_), None) => {
            faults.push(
                "wallet.signing.certificate: unset; the certificate of wallet.signing.key is required".to_owned(),
            );
            None
        }
    }
}
