//! Webhooks: addresses that are told what became of pushes, signed as Standard Webhooks describes it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `PUT /v1/webhooks/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutWebhook {
    /// Where events are posted: `https://…`; `http://…` and private addresses only where a setting allows them.
    pub url: String,
    /// Which events, for example `push.dead` or `push.*`; every event when absent or empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// `whsec_` and 24 to 64 bytes in Base64. One is made when a new webhook has none; an existing one keeps its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Make a new secret. The old one signs beside it for `push.webhooks.secret_overlap`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rotate_secret: bool,
    /// Whether events are sent; `true` brings a disabled webhook back.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

/// Answer of `PUT` and `GET /v1/webhooks/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// Where events are posted.
    pub url: String,
    /// Which events; every event when empty.
    pub events: Vec<String>,
    /// Whether events are sent.
    pub enabled: bool,
    /// Why the gateway disabled it: `gone` (it answered 410), `failing` (nothing was taken for `push.webhooks.disable_after`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
    /// The secret: only in the answer to the request that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Until when the secret before this one signs too (ms since 1970).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_secret_until_ms: Option<i64>,
    /// Events that are still to be taken.
    pub waiting: u64,
    /// Events that were given up.
    pub given_up: u64,
    /// Since when nothing has been taken (ms since 1970).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since_ms: Option<i64>,
    /// What the last failed attempt met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it was last changed (ms since 1970).
    pub updated_at_ms: i64,
}

/// Answer of `GET /v1/webhooks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhooks {
    /// In the order of their names.
    pub webhooks: Vec<Webhook>,
}

/// Answer of `POST /v1/webhooks/{name}/test`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookTest {
    /// The `webhook-id` of the event.
    pub id: String,
    /// Whether it was taken.
    pub taken: bool,
    /// The HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there was none, or what it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
