//! The configured apps and what can be asked of their providers: state, a check, broadcast channels, topics, and a
//! verdict on a push that is not sent.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Environment, Provider};
use crate::identity::UserId;

/// Answer of `GET /v1/apps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppList {
    /// In the order of their names.
    pub apps: Vec<AppState>,
}

/// One app at one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppState {
    /// Its name (`push.apps.NAME`).
    pub app: String,
    /// At which provider.
    pub provider: Provider,
    /// The environments that it has an address for.
    pub environments: Vec<Environment>,
    /// `paused` while every credential is refused somewhere: its pushes wait.
    pub state: CredentialState,
    /// In the order in which they are tried.
    pub credentials: Vec<Credential>,
    /// Changed credential files that cannot be used: the ones before stay in use until this is repaired.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// What a provider thinks of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CredentialState {
    /// Not used yet.
    Unknown,
    /// Accepted, the last time they were used.
    Accepted,
    /// Refused, the last time they were used.
    Refused,
    /// All credentials of an app are refused: its queue waits.
    Paused,
}

/// One credential of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Credential {
    /// Names it: a key id, a certificate's or a service account's file. Never the secret.
    pub name: String,
    /// What the provider thinks of it.
    pub state: CredentialState,
    /// Since when (ms since 1970).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// Where it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The provider's HTTP status of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<u16>,
    /// The provider's word for the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// When it ends (ms since 1970); absent when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
}

/// Answer of `POST /v1/apps/{app}/check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppChecks {
    /// One for each credential, and for APNs one for each environment.
    pub checks: Vec<AppCheck>,
}

/// What a provider said to credentials when it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppCheck {
    /// Who was asked.
    pub provider: Provider,
    /// In which of its worlds.
    pub environment: Environment,
    /// Which credential.
    pub credential: String,
    /// `None` when there was no answer: it says nothing about the credential.
    pub accepted: Option<bool>,
    /// The provider's HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<u16>,
    /// The provider's own word, or ours when there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it means, and what to do.
    pub message: String,
}

/// Body of `POST /v1/apps/{app}/channels`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateChannel {
    /// In which of Apple's two worlds.
    #[serde(default)]
    pub environment: Environment,
    /// Whether Apple keeps the newest push for devices that are away.
    #[serde(default)]
    pub keep_last: bool,
}

/// A broadcast channel. Answer of `POST /v1/apps/{app}/channels` and of `GET /v1/apps/{app}/channels/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Channel {
    /// Apple's id for it: devices subscribe with it, and `{"to":{"channel":{"id":…}}}` sends to it.
    pub id: String,
    /// In which of Apple's two worlds.
    pub environment: Environment,
    /// Whether Apple keeps the newest push for devices that are away.
    pub keep_last: bool,
}

/// Answer of `GET /v1/apps/{app}/channels`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Channels {
    /// In which of Apple's two worlds.
    pub environment: Environment,
    /// Apple's ids.
    pub channels: Vec<String>,
}

/// Body of `POST /v1/apps/{app}/topics/{topic}/subscribe` and `…/unsubscribe`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicMembers {
    /// Registration tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
    /// Users: the registration tokens of their devices with this app are meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserId>,
}

/// Answer of `POST /v1/apps/{app}/topics/{topic}/subscribe` and `…/unsubscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopicResults {
    /// How many were subscribed or unsubscribed.
    pub done: usize,
    /// Those that were not.
    pub failed: Vec<TopicFailure>,
}

/// A device that was not subscribed or unsubscribed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopicFailure {
    /// Which of `tokens`, counted from 0; absent when a user was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// Whose device, when a user was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The provider's word: `NOT_FOUND`, `INVALID_ARGUMENT`, `TOO_MANY_TOPICS`, `INTERNAL`, …
    pub reason: String,
}

/// Answer of `POST /v1/notifications` with `"validate_only": true`: nothing was stored or sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdicts {
    /// One for each target.
    pub verdicts: Vec<Verdict>,
}

/// What would become of a push to one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// The device's name; absent when something else was addressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Who was asked.
    pub provider: Provider,
    /// Through which app's credentials.
    pub app: String,
    /// `Some` is the provider's own verdict. `None`: the provider has no way to ask (only FCM has one) or did not
    /// answer; the push keeps every rule that is known here.
    pub accepted: Option<bool>,
    /// The provider's HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<u16>,
    /// The provider's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
