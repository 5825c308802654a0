//! The settings of the push-gateway (`push.*`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidings_shared::auth::VerifierConfig;
use tidings_shared::config::{Setting, Settings};

use crate::provider::WakeStyle;

mod registry;
mod settings;

use settings::OWN;

pub use registry::{GorushConfig, RegistryConfig, WebhookConfig};

/// Settings of this service, besides the shared ones.
pub const SETTINGS: &[Setting] = &joined();

const fn joined() -> [Setting; OWN.len() + registry::SETTINGS.len()] {
    let mut all = [OWN[0]; OWN.len() + registry::SETTINGS.len()];
    let mut index = 0;
    while index < all.len() {
        all[index] = if index < OWN.len() { OWN[index] } else { registry::SETTINGS[index - OWN.len()] };
        index += 1;
    }
    all
}

/// The service's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Database URL.
    pub database: String,
    /// Connections to it.
    pub database_connections: u32,
    /// The broker, for wake pushes.
    pub broker: BrokerConfig,
    /// How wake pushes look.
    pub wake_style: WakeStyle,
    /// How long wake pushes are worth delivering.
    pub wake_ttl: Duration,
    /// How long other pushes are, unless they say so themselves.
    pub ttl: Duration,
    /// How long finished notifications are kept.
    pub keep: Duration,
    /// Pushes at once for one app at one provider.
    pub concurrency: usize,
    /// How long a push may be under way.
    pub lease: Duration,
    /// How often refused credentials are tried again.
    pub recheck: Duration,
    /// First pause, longest pause, and when to give up.
    pub retry: RetryConfig,
    /// What each class of priority leaves to each one above it.
    pub reserved: usize,
    /// The zone of devices that have told none.
    pub time_zone: String,
    /// How much may wait, and how fast it goes.
    pub limits: LimitsConfig,
    /// When a provider counts as away.
    pub breaker: BreakerConfig,
    /// Largest body of a batch in bytes.
    pub max_batch_body: usize,
    /// Devices of one user.
    pub max_devices: u64,
    /// Largest request body in bytes.
    pub max_body: usize,
    /// Further trusted certificates.
    pub ca_file: Option<PathBuf>,
    /// Connections to one APNs address.
    pub apns_connections: usize,
    /// How long APNs may take to answer.
    pub apns_request_timeout: Duration,
    /// How often credential files are looked at.
    pub credentials_check: Duration,
    /// Messages a minute of one Firebase project.
    pub fcm_per_minute: u64,
    /// How long bulk keeps away from the full quarter hours.
    pub fcm_quarter_hour_pause: Duration,
    /// Where Web Push may go.
    pub webpush: WebPushPolicy,
    /// When devices are forgotten, and how long events are kept.
    pub registry: RegistryConfig,
    /// How webhooks work.
    pub webhooks: WebhookConfig,
    /// The routes of gorush.
    pub gorush: GorushConfig,
    /// The apps, by name.
    pub apps: Vec<AppConfig>,
    /// How app tokens are verified.
    pub auth: VerifierConfig,
    /// Keys to log in to the broker with.
    pub handler_keys: Vec<String>,
    /// Keys that backends use here.
    pub service_keys: Vec<String>,
}

/// Where Web Push may go, and how.
#[derive(Clone, Debug)]
pub struct WebPushPolicy {
    /// Networks and host names besides the public internet.
    pub allow: Vec<String>,
    /// Ports of everybody else.
    pub ports: Vec<String>,
    /// `http://` is enough for what `allow` names.
    pub plain_http: bool,
    /// Requests at once to one push service.
    pub per_origin: usize,
    /// How long a push service may take to answer.
    pub request_timeout: Duration,
}

/// Where the broker's events come from.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Whether this process listens to them.
    pub enabled: bool,
    /// `mqtt://HOST:PORT` or `mqtts://HOST:PORT`.
    pub url: String,
    /// MQTT client id.
    pub client_id: String,
}

/// Pauses between attempts.
#[derive(Clone, Copy, Debug)]
pub struct RetryConfig {
    /// After the first failure; doubles from there.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
    /// After this time of errors a push is given up.
    pub give_up: Duration,
}

/// How much may wait, and how fast it goes.
#[derive(Clone, Copy, Debug)]
pub struct LimitsConfig {
    /// Pushes that wait, in all.
    pub queue: u64,
    /// Pushes of one app at one provider that wait.
    pub queue_per_app: u64,
    /// Pushes a second of one app at one provider; 0: no limit.
    pub per_app: u64,
    /// Pushes to one device in `device_window`; 0: no limit.
    pub per_device: u64,
    /// See `per_device`.
    pub device_window: Duration,
}

/// When a provider counts as away, and for how long it is left alone.
#[derive(Clone, Copy, Debug)]
pub struct BreakerConfig {
    /// After so many failures without an answer in between …
    pub failures: u32,
    /// … over so long a time at least.
    pub window: Duration,
    /// The first pause.
    pub pause: Duration,
    /// The longest.
    pub longest: Duration,
}

/// One named app.
#[derive(Clone, Debug)]
pub struct AppConfig {
    /// Its name in registrations and notifications.
    pub name: String,
    /// At Apple.
    pub apns: Option<ApnsConfig>,
    /// At Google.
    pub fcm: Option<FcmConfig>,
    /// At the push services of browsers and of UnifiedPush.
    pub webpush: Option<WebPushConfig>,
}

/// An app at Apple.
#[derive(Clone, Debug, Default)]
pub struct ApnsConfig {
    /// Bundle id or pass type identifier.
    pub topic: Option<String>,
    /// `.p8` key.
    pub key_file: Option<PathBuf>,
    /// Its id.
    pub key_id: Option<String>,
    /// The team's id.
    pub team_id: Option<String>,
    /// Client certificate, instead of a key.
    pub certificate_file: Option<PathBuf>,
    /// Its private key, if that is in another file.
    pub certificate_key_file: Option<PathBuf>,
    /// Production address.
    pub url: Option<String>,
    /// Sandbox address.
    pub sandbox_url: Option<String>,
    /// Further credentials.
    pub credentials_folder: Option<PathBuf>,
    /// The broadcast channels' management.
    pub channels_url: Option<String>,
    /// The same of the sandbox.
    pub sandbox_channels_url: Option<String>,
}

/// An app at Google.
#[derive(Clone, Debug, Default)]
pub struct FcmConfig {
    /// The service account's JSON.
    pub service_account_file: Option<PathBuf>,
    /// The project's id, if it is not the account's.
    pub project: Option<String>,
    /// FCM's address.
    pub url: Option<String>,
    /// Further service accounts.
    pub credentials_folder: Option<PathBuf>,
    /// The service for topic subscriptions.
    pub topics_url: Option<String>,
}

/// An app towards push services.
#[derive(Clone, Debug, Default)]
pub struct WebPushConfig {
    /// The VAPID key.
    pub private_key_file: Option<PathBuf>,
    /// Whom push services write to.
    pub contact: Option<String>,
}

impl Config {
    /// Reads the checked settings.
    #[must_use]
    pub fn from_settings(settings: &Settings) -> Self {
        Self {
            listen: settings.address("push.listen"),
            database: settings.database_or_data("push.database", "push.db"),
            database_connections: u32::try_from(settings.count("push.database_connections")).unwrap_or(u32::MAX),
            broker: BrokerConfig {
                enabled: settings.flag("push.wake.enabled"),
                url: settings.text("push.broker"),
                client_id: settings.text("push.wake.client_id"),
            },
            wake_style: match settings.text("push.wake.style").as_str() {
                "visible" => WakeStyle::Visible {
                    title: settings.text("push.wake.title"),
                    body: settings.text("push.wake.body"),
                },
                _ => WakeStyle::Silent,
            },
            wake_ttl: settings.duration("push.wake.ttl"),
            ttl: settings.duration("push.ttl"),
            keep: settings.duration("push.keep"),
            concurrency: usize::try_from(settings.count("push.concurrency")).unwrap_or(usize::MAX),
            lease: settings.duration("push.lease").max(Duration::from_secs(2)),
            recheck: settings.duration("push.recheck"),
            retry: RetryConfig {
                first: settings.duration("push.retry.first"),
                longest: settings.duration("push.retry.longest"),
                give_up: settings.duration("push.retry.give_up"),
            },
            reserved: usize::try_from(settings.count("push.reserved")).unwrap_or(usize::MAX),
            time_zone: settings.text("push.time_zone"),
            limits: LimitsConfig {
                queue: settings.count("push.limits.queue"),
                queue_per_app: settings.count("push.limits.queue_per_app"),
                per_app: settings.count("push.limits.per_app"),
                per_device: settings.count("push.limits.per_device"),
                device_window: settings.duration("push.limits.per_device_window"),
            },
            breaker: BreakerConfig {
                failures: u32::try_from(settings.count("push.breaker.failures")).unwrap_or(u32::MAX),
                window: settings.duration("push.breaker.window"),
                pause: settings.duration("push.breaker.pause"),
                longest: settings.duration("push.breaker.longest"),
            },
            max_batch_body: settings.bytes("push.max_batch_body"),
            max_devices: settings.count("push.max_devices_per_user"),
            max_body: settings.bytes("push.max_body"),
            ca_file: settings.optional_path("push.ca_file"),
            apns_connections: usize::try_from(settings.count("push.apns.connections")).unwrap_or(1),
            apns_request_timeout: settings.duration("push.apns.request_timeout"),
            credentials_check: settings.duration("push.credentials_check").max(Duration::from_millis(100)),
            fcm_per_minute: settings.count("push.fcm.per_minute"),
            fcm_quarter_hour_pause: settings.duration("push.fcm.quarter_hour_pause"),
            webpush: WebPushPolicy {
                allow: settings.texts("push.webpush.allow"),
                ports: settings.texts("push.webpush.ports"),
                plain_http: settings.flag("push.webpush.plain_http"),
                per_origin: usize::try_from(settings.count("push.webpush.per_origin")).unwrap_or(usize::MAX),
                request_timeout: settings.duration("push.webpush.request_timeout"),
            },
            registry: RegistryConfig::read(settings),
            webhooks: WebhookConfig::read(settings),
            gorush: GorushConfig::read(settings),
            apps: settings.names("push.apps").iter().map(|name| AppConfig::read(settings, name)).collect(),
            auth: VerifierConfig::from_settings(settings),
            handler_keys: settings.texts("keys.handler"),
            service_keys: settings.texts("keys.service"),
        }
    }
}

impl AppConfig {
    fn read(settings: &Settings, name: &str) -> Self {
        let path = |setting: &str| settings.optional_path(&Settings::named("push.apps", name, setting));
        let text = |setting: &str| settings.optional_text(&Settings::named("push.apps", name, setting));
        let apns = ApnsConfig {
            topic: text("apns.topic"),
            key_file: path("apns.key_file"),
            key_id: text("apns.key_id"),
            team_id: text("apns.team_id"),
            certificate_file: path("apns.certificate_file"),
            certificate_key_file: path("apns.certificate_key_file"),
            url: text("apns.url"),
            sandbox_url: text("apns.sandbox_url"),
            credentials_folder: path("apns.credentials_folder"),
            channels_url: text("apns.channels_url"),
            sandbox_channels_url: text("apns.sandbox_channels_url"),
        };
        let fcm = FcmConfig {
            service_account_file: path("fcm.service_account_file"),
            project: text("fcm.project"),
            url: text("fcm.url"),
            credentials_folder: path("fcm.credentials_folder"),
            topics_url: text("fcm.topics_url"),
        };
        let webpush =
            WebPushConfig { private_key_file: path("webpush.private_key_file"), contact: text("webpush.contact") };
        Self {
            name: name.to_owned(),
            apns: apns.mentioned().then_some(apns),
            fcm: fcm.mentioned().then_some(fcm),
            webpush: webpush.mentioned().then_some(webpush),
        }
    }
}

impl ApnsConfig {
    fn mentioned(&self) -> bool {
        let texts = [
            &self.topic,
            &self.key_id,
            &self.team_id,
            &self.url,
            &self.sandbox_url,
            &self.channels_url,
            &self.sandbox_channels_url,
        ];
        let paths = [&self.key_file, &self.certificate_file, &self.certificate_key_file, &self.credentials_folder];
        texts.iter().any(|text| text.is_some()) || paths.iter().any(|path| path.is_some())
    }
}

impl FcmConfig {
    fn mentioned(&self) -> bool {
        let texts = [&self.project, &self.url, &self.topics_url];
        let paths = [&self.service_account_file, &self.credentials_folder];
        texts.iter().any(|text| text.is_some()) || paths.iter().any(|path| path.is_some())
    }
}

impl WebPushConfig {
    fn mentioned(&self) -> bool {
        self.private_key_file.is_some() || self.contact.is_some()
    }
}
