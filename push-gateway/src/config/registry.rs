//! The settings of the registry, of webhooks, streams and of the routes of gorush.

use std::time::Duration;

use tidings_shared::config::{Kind, Setting, Settings};

/// See the head of this file.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new(
        "push.devices.quarantine",
        Kind::Duration,
        "7d",
        "How long a device is kept whose token its provider calls gone. Nothing is sent to it meanwhile; it comes back when it registers again.",
    ),
    Setting::new(
        "push.devices.forget_unseen",
        Kind::Duration,
        "0s",
        "Devices are forgotten that have neither registered nor come back to the broker for so long; 0s: they are not.",
    ),
    Setting::new(
        "push.events.keep",
        Kind::Duration,
        "7d",
        "How long outcomes are kept for webhooks and streams that go on from where they were.",
    ),
    Setting::new(
        "push.events.heartbeat",
        Kind::Duration,
        "15s",
        "How often a silent stream of outcomes says that it lives.",
    ),
    Setting::new(
        "push.webhooks.allow_private",
        Kind::Flag,
        "false",
        "Webhooks may have http:// and addresses that are not of the public internet: receivers beside this server, tests.",
    ),
    Setting::new(
        "push.webhooks.disable_after",
        Kind::Duration,
        "5d",
        "A webhook that has taken nothing for so long, of what was told to it, is disabled.",
    ),
    Setting::new(
        "push.webhooks.secret_overlap",
        Kind::Duration,
        "1d",
        "How long the secret before signs beside a new one.",
    ),
    Setting::new("push.webhooks.timeout", Kind::Duration, "15s", "How long a webhook may take to answer."),
    Setting::new(
        "push.webhooks.concurrency",
        Kind::Count { min: 1, max: 1000 },
        "16",
        "Requests under way at once to one webhook.",
    ),
    Setting::new(
        "push.gorush.enabled",
        Kind::Flag,
        "false",
        "Serve POST /api/push as gorush does, for backends that move from it. Without push.gorush.key everybody who reaches the address may send.",
    ),
    Setting::optional(
        "push.gorush.key",
        Kind::Secret,
        "What such backends send as `Authorization: Bearer`; nothing when unset.",
    ),
    Setting::new(
        "push.gorush.app",
        Kind::Text,
        "default",
        "The app (push.apps.NAME) of their pushes, where the topic names no other.",
    ),
    Setting::new(
        "push.gorush.production",
        Kind::Flag,
        "true",
        "Their iOS tokens are of the production environment, where the request does not say so itself.",
    ),
];

/// When devices are forgotten, and how long events are kept.
#[derive(Clone, Copy, Debug)]
pub struct RegistryConfig {
    /// How long a device is kept whose token is gone.
    pub quarantine: Duration,
    /// How long one is kept that is not heard of; for ever when `None`.
    pub forget_unseen: Option<Duration>,
    /// How long events are kept.
    pub keep_events: Duration,
    /// How often a silent stream says that it lives.
    pub heartbeat: Duration,
}

/// How webhooks work.
#[derive(Clone, Copy, Debug)]
pub struct WebhookConfig {
    /// Whether they may have `http://` and private addresses.
    pub allow_private: bool,
    /// When one that takes nothing is disabled.
    pub disable_after: Duration,
    /// How long an old secret signs too.
    pub secret_overlap: Duration,
    /// How long one may take to answer.
    pub timeout: Duration,
    /// Requests at once to one.
    pub concurrency: usize,
}

/// The routes of gorush.
#[derive(Clone, Debug)]
pub struct GorushConfig {
    /// Whether they are served.
    pub enabled: bool,
    /// What opens them.
    pub key: Option<String>,
    /// The app of their pushes.
    pub app: String,
    /// Whether iOS tokens are of the production environment.
    pub production: bool,
}

impl RegistryConfig {
    pub(super) fn read(settings: &Settings) -> Self {
        Self {
            quarantine: settings.duration("push.devices.quarantine"),
            forget_unseen: Some(settings.duration("push.devices.forget_unseen")).filter(|time| !time.is_zero()),
            keep_events: settings.duration("push.events.keep"),
            heartbeat: settings.duration("push.events.heartbeat").max(Duration::from_millis(100)),
        }
    }
}

impl WebhookConfig {
    pub(super) fn read(settings: &Settings) -> Self {
        Self {
            allow_private: settings.flag("push.webhooks.allow_private"),
            disable_after: settings.duration("push.webhooks.disable_after"),
            secret_overlap: settings.duration("push.webhooks.secret_overlap"),
            timeout: settings.duration("push.webhooks.timeout").max(Duration::from_millis(100)),
            concurrency: usize::try_from(settings.count("push.webhooks.concurrency")).unwrap_or(1),
        }
    }
}

impl GorushConfig {
    pub(super) fn read(settings: &Settings) -> Self {
        Self {
            enabled: settings.flag("push.gorush.enabled"),
            key: settings.optional_text("push.gorush.key"),
            app: settings.text("push.gorush.app"),
            production: settings.flag("push.gorush.production"),
        }
    }
}
