//! Configuration: every setting of every service is declared in a table, and everything else follows from the
//! tables: defaults, the TOML file, environment variables, flags, checks, `config show` and the reference page.
//!
//! Precedence, lowest first: the default, the TOML file, a `.env` file, the environment, flags. All faults are
//! reported at once, each with where it stands, what was found and what is allowed.

mod kind;
mod load;
mod reference;
mod settings;
mod toml_file;

pub use kind::{Kind, Value};
pub use load::{ConfigFault, ConfigFaults, Loader, default_config_file};
pub use reference::{default_file, reference_page};
pub use settings::{Settings, Shown, Source};

/// One setting: its dotted path, what it may hold, its default and what it is for.
///
/// A path segment `*` stands for a name the operator chooses (`push.apps.*.apns.topic`).
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Dotted path, which is also its place in the TOML file.
    pub path: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// The default in the text form of its kind; `None`: unset unless configured.
    pub default: Option<&'static str>,
    /// One sentence for the reference page.
    pub doc: &'static str,
}

impl Setting {
    /// A setting with a default.
    #[must_use]
    pub const fn new(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Self {
        Self { path, kind, default: Some(default), doc }
    }

    /// A setting that is unset unless configured.
    #[must_use]
    pub const fn optional(path: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { path, kind, default: None, doc }
    }
}

/// What every service reads.
pub const SETTINGS: &[Setting] = &[
    Setting::new(
        "data",
        Kind::Path,
        "data",
        "Folder for everything Tidings keeps: the message log, databases, development keys.",
    ),
    Setting::optional(
        "auth.secret",
        Kind::Secret,
        "Shared secret of tokens signed with HS256 (also: the variable SECRET). HS256 is refused without it.",
    ),
    Setting::optional("auth.jwks_url", Kind::Url, "Where the app's token issuer publishes its keys (RFC 7517)."),
    Setting::optional("auth.jwks_file", Kind::Path, "A JWKS file, instead of or besides auth.jwks_url."),
    Setting::optional("auth.public_key_file", Kind::Path, "A PEM public key of the app's token issuer."),
    Setting::optional("auth.ca_file", Kind::Path, "PEM certificates to trust for auth.jwks_url, besides the system's."),
    Setting::new("auth.issuers", Kind::Texts, "", "Allowed values of the claim iss; empty allows any."),
    Setting::new("auth.audiences", Kind::Texts, "", "Allowed values of the claim aud; empty allows any."),
    Setting::new(
        "auth.algorithms",
        Kind::Texts,
        "ES256",
        "Allowed signature algorithms of keys: ES256, ES384, RS256, RS384, RS512, PS256, PS384, PS512, EdDSA.",
    ),
    Setting::new("auth.leeway", Kind::Duration, "30s", "How far the issuer's clock and ours may differ."),
    Setting::new("auth.require_expiry", Kind::Flag, "true", "Refuse tokens without the claim exp."),
    Setting::new(
        "auth.timeout",
        Kind::Duration,
        "5s",
        "How long the token issuer may take to answer, for its keys and for introspection.",
    ),
    Setting::optional(
        "auth.introspection.url",
        Kind::Url,
        "Where the issuer is asked about a single token (RFC 7662), when its key is unknown or its times are off by clock skew.",
    ),
    Setting::optional(
        "auth.introspection.client_id",
        Kind::Text,
        "Who asks there: a client of the issuer (HTTP Basic).",
    ),
    Setting::optional("auth.introspection.client_secret", Kind::Secret, "The secret of that client."),
    Setting::optional("auth.introspection.token", Kind::Secret, "Or the bearer token that opens the endpoint."),
    Setting::new(
        "auth.introspection.skew",
        Kind::Duration,
        "1m",
        "How far beyond auth.leeway exp and nbf may be off for the issuer to be asked.",
    ),
    Setting::new("auth.introspection.cache", Kind::Duration, "30s", "How long its answer about a token is remembered."),
    Setting::new(
        "keys.handler",
        Kind::Secrets,
        "",
        "Keys that handlers log in with over MQTT; two at once while they rotate.",
    ),
    Setting::new(
        "keys.service",
        Kind::Secrets,
        "",
        "Keys that services and backends use over HTTP; two at once while they rotate.",
    ),
    Setting::new(
        "keys.admin",
        Kind::Secrets,
        "",
        "Keys of the broker's admin door (/v1/admin); two at once while they rotate. Empty closes the door.",
    ),
    Setting::new(
        "telemetry.level",
        Kind::Text,
        "info",
        "What to log: a level, or a filter such as info,tidings_broker=debug.",
    ),
    Setting::new(
        "telemetry.format",
        Kind::Choice(&["text", "json"]),
        "text",
        "Form of the log lines on standard error.",
    ),
    Setting::optional(
        "telemetry.loggly.token",
        Kind::Secret,
        "Customer token: ship JSON logs in bulk to Loggly as well (also: the variable LOGGLY_TOKEN).",
    ),
    Setting::optional(
        "telemetry.loggly.subdomain",
        Kind::Text,
        "The Loggly account's subdomain, added to each line (also: the variable LOGGLY_SUBDOMAIN).",
    ),
    Setting::new("telemetry.loggly.url", Kind::Url, "https://logs-01.loggly.com", "Where Loggly's bulk endpoint is."),
];

#[cfg(test)]
mod tests;
