//! What happened to a notification, and who is told: receipts, timelines, outcomes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Provider, TargetState};

/// Body of `POST /v1/receipts`: the app says what became of a push on its device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The notification (`tidings_notification` in the push's data, when it was sent with `"receipts": true`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification: Option<String>,
    /// Or its target. Exactly one of the two is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// With `notification`: which of the user's devices it was; every device of the user that it went to when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What happened.
    pub event: ReceiptEvent,
    /// When, by the device's clock (ms since 1970); now when absent. A time before the notification, or in the future, is put right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<i64>,
}

/// What an app can say of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptEvent {
    /// The device has it.
    Delivered,
    /// The user opened it.
    Opened,
    /// The user put it away.
    Dismissed,
}

impl ReceiptEvent {
    /// The name in JSON and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Opened => "opened",
            Self::Dismissed => "dismissed",
        }
    }
}

/// Answer of `POST /v1/receipts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptTaken {
    /// Targets that were not known to have had this event; 0 for a receipt that comes again.
    pub new: u64,
}

/// Answer of `GET /v1/notifications/{id}/timeline`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Timeline {
    /// The notification.
    pub id: String,
    /// When it was accepted by this gateway (ms since 1970).
    pub accepted_at_ms: i64,
    /// One for each target; at most 1,000, in order (`after` names the last one to go on from).
    pub targets: Vec<TargetTimeline>,
    /// There are more: ask again with `?after=` this target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What happened at one target, in the order of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetTimeline {
    /// The target.
    pub target: String,
    /// The device's name; absent when a token was addressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What happened.
    pub events: Vec<TimelineEvent>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineEvent {
    /// When (ms since 1970).
    pub at_ms: i64,
    /// `queued` (stored here), `sent` (first handed to the provider), `retrying`, `accepted` (by the provider), `dead`, `expired`,
    /// `unknown`, `delivered`, `opened`, `dismissed` (the app said so).
    pub event: String,
    /// How often it was handed to the provider so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The provider's HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<u16>,
    /// The provider's own word, or ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The provider's name for the push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
}

/// What became of a push, as webhooks (`data`) and the stream of outcomes tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// The notification.
    pub notification: String,
    /// Its target.
    pub target: String,
    /// The registration's id; absent when a token was addressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Who delivers it.
    pub provider: Provider,
    /// Through which app's credentials.
    pub app: String,
    /// The final state; absent in what an app reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TargetState>,
    /// What the app reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptEvent>,
    /// When (ms since 1970).
    pub at_ms: i64,
    /// The provider's HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<u16>,
    /// The provider's own word, or ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The provider's name for the push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// The provider says that the token is gone for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub token_gone: bool,
}
