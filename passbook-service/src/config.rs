//! The settings under `wallet.*`, and the shared ones that this service reads.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidings_shared::auth::ServiceKeys;
use tidings_shared::config::{Kind, Setting, Settings};

mod limits;
mod signing;

pub use limits::LimitConfig;
pub use signing::TypeConfig;

use crate::google::GoogleConfig;

/// Every setting of the passbook-service.
pub const SETTINGS: &[Setting] = &joined::<{ length(PARTS) }>(PARTS);

/// Each part of the service declares its own.
const PARTS: &[&[Setting]] =
    &[OWN, signing::SETTINGS, limits::SETTINGS, crate::google::SETTINGS, crate::order::SETTINGS];

const fn length(parts: &[&[Setting]]) -> usize {
    let (mut part, mut count) = (0, 0);
    while part < parts.len() {
        count += parts[part].len();
        part += 1;
    }
    count
}

const fn joined<const N: usize>(parts: &[&[Setting]]) -> [Setting; N] {
    let mut all = [parts[0][0]; N];
    let (mut part, mut index, mut next) = (0, 0, 0);
    while part < parts.len() {
        if index < parts[part].len() {
            all[next] = parts[part][index];
            (index, next) = (index + 1, next + 1);
        } else {
            (part, index) = (part + 1, 0);
        }
    }
    all
}

const OWN: &[Setting] = &[
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
        "Pass type identifier: the UID of the signing certificate. Further types stand under wallet.types.",
    ),
    Setting::new("wallet.team", Kind::Text, "TIDINGSDEV", "Team identifier: the OU of the signing certificate."),
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
    Setting::optional(
        "wallet.diagnosis.webhook",
        Kind::Url,
        "Who is told of the first report of a cause by devices: an address that takes POST requests (Standard Webhooks).",
    ),
    Setting::optional(
        "wallet.diagnosis.webhook_secret",
        Kind::Secret,
        "Signs these requests: `whsec_` and Base64, as Standard Webhooks have it. Unset: they are not signed.",
    ),
    Setting::new(
        "wallet.devices.unanswered",
        Kind::Count { min: 1, max: 1_000_000 },
        "20",
        "A device goes into quarantine after this many pushes without a question, if they span wallet.devices.silent.",
    ),
    Setting::new(
        "wallet.devices.silent",
        Kind::Duration,
        "60d",
        "A device goes into quarantine when it was not heard of for this long, in spite of wallet.devices.unanswered pushes.",
    ),
    Setting::new(
        "wallet.devices.quarantine",
        Kind::Duration,
        "30d",
        "A device in quarantine is forgotten after this, unless it is heard of.",
    ),
    Setting::new("wallet.devices.check", Kind::Duration, "1h", "How often devices that do not answer are looked for."),
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
    Setting::new(
        "wallet.history.versions",
        Kind::Count { min: 0, max: 100_000 },
        "50",
        "How many former versions of each pass are kept; 0 keeps none.",
    ),
    Setting::new("wallet.history.age", Kind::Duration, "365d", "How long former versions of passes are kept."),
    Setting::optional(
        "wallet.links.key",
        Kind::Secret,
        "Seals the links to download pages, 32 characters or more; the same for all processes. Unset: made of wallet.token_key, or in the data folder.",
    ),
    Setting::new(
        "wallet.links.ttl",
        Kind::Duration,
        "7d",
        "How long a link to a download page opens, unless it is made for another time.",
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
    /// What is signed here; the first one is the default.
    pub types: Vec<TypeConfig>,
    /// Refuse key files that others may read.
    pub check_key_permissions: bool,
    /// How often the open routes may be asked.
    pub limits: LimitConfig,
    /// How often certificate files are looked at.
    pub signing_watch: Duration,
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
    /// Who is told of the first report of a cause.
    pub diagnosis_webhook: Option<String>,
    /// Signs what they are told.
    pub diagnosis_secret: Option<String>,
    /// When devices that do not answer are given up.
    pub prune: crate::prune::Limits,
    /// How often the sequencer looks by itself.
    pub sequencer_interval: Duration,
    /// Most changes in a batch.
    pub sequencer_batch: i64,
    /// How long a change waits for its tag.
    pub tag_wait: Duration,
    /// Former versions kept of each pass.
    pub history_versions: i64,
    /// How long they are kept, ms.
    pub history_age_ms: i64,
    /// Seals links; `None`: of the token key or of a file.
    pub links_key: Option<String>,
    /// How long a link opens, ms.
    pub links_ttl_ms: i64,
    /// Google Wallet, if it is configured.
    pub google: Option<GoogleConfig>,
    /// Folder of order templates.
    pub order_templates: Option<PathBuf>,
}

impl Config {
    /// The configuration from checked settings.
    ///
    /// # Errors
    /// What settings say together cannot be: all faults in one text.
    pub fn from_settings(settings: &Settings) -> anyhow::Result<Self> {
        let mut faults = Vec::new();
        let types = signing::types(settings, &mut faults);
        let limits = limits::limits(settings, &mut faults);
        let public_url = settings.optional_text("wallet.public_url");
        let allow_http = settings.flag("wallet.allow_http");
        match &public_url {
            Some(url) if url.starts_with("http://") && !allow_http => faults.push(format!(
                "wallet.public_url: found `{url}`; phones accept https:// only. For development set wallet.allow_http = true"
            )),
            Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => {
                faults.push(format!("wallet.public_url: found `{url}`; give an https:// address"));
            }
            None if types.iter().any(|one| !one.certificates.is_empty()) => faults.push(
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
        let links_key = settings.optional_text("wallet.links.key");
        if let Some(key) = &links_key
            && key.len() < 32
        {
            faults.push(format!(
                "wallet.links.key: {} characters; a key has 32 or more, for example from `openssl rand -hex 32`",
                key.len()
            ));
        }
        let google = GoogleConfig::from_settings(settings, &mut faults);
        anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(Self {
            listen: settings.address("wallet.listen"),
            data: settings.path("data"),
            public_url,
            allow_http,
            database: settings.database_or_data("wallet.database", "wallet.db"),
            database_connections: u32::try_from(settings.count("wallet.database_connections")).unwrap_or(16),
            templates: settings.optional_path("wallet.templates"),
            types,
            limits,
            check_key_permissions: settings.flag("wallet.check_key_permissions"),
            signing_watch: settings.duration("wallet.signing.watch"),
            tokens,
            gateway_url: settings.text("wallet.gateway.url"),
            gateway_ca: settings.optional_path("wallet.gateway.ca_file"),
            service_keys: ServiceKeys::new(settings.texts("keys.service")),
            push_interval_ms: settings.duration_ms("wallet.push.interval"),
            diagnosis_webhook: settings.optional_text("wallet.diagnosis.webhook"),
            diagnosis_secret: settings.optional_text("wallet.diagnosis.webhook_secret"),
            prune: crate::prune::Limits {
                unanswered: i64::try_from(settings.count("wallet.devices.unanswered")).unwrap_or(i64::MAX),
                silent_ms: settings.duration_ms("wallet.devices.silent"),
                quarantine_ms: settings.duration_ms("wallet.devices.quarantine"),
                every: settings.duration("wallet.devices.check"),
            },
            sequencer_interval: settings.duration("wallet.sequencer.interval"),
            sequencer_batch: i64::try_from(settings.count("wallet.sequencer.batch")).unwrap_or(500),
            tag_wait: settings.duration("wallet.tag_wait"),
            history_versions: i64::try_from(settings.count("wallet.history.versions")).unwrap_or(50),
            history_age_ms: settings.duration_ms("wallet.history.age"),
            links_key,
            links_ttl_ms: settings.duration_ms("wallet.links.ttl"),
            google,
            order_templates: settings.optional_path("wallet.orders.templates"),
        })
    }
}
