//! What became of a notification at one device.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Provider;

/// What became of a notification at one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Target {
    /// Names the target; it is the `apns-id` that Apple sees.
    pub id: String,
    /// The device's name; absent when a token was addressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Who delivers it.
    pub provider: Provider,
    /// Through which app's credentials.
    pub app: String,
    /// Where it is.
    pub state: TargetState,
    /// How often it was handed to the provider.
    pub attempts: u32,
    /// The provider's HTTP status, last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_status: Option<u16>,
    /// The provider's own word, last answer, or ours when there was none (for example `timeout`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The provider's name for the push, once accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// The provider says that the token is gone for good: forget it, unless it was registered anew since. (A registered
    /// device has been unregistered already.)
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub token_gone: bool,
    /// An attempt ended without an answer and the push was handed over again: the phone may get it twice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub maybe_repeated: bool,
    /// When the next attempt is due (ms since 1970); only while one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at_ms: Option<i64>,
}

/// Where a push is on its way to one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// Stored; not tried yet.
    Queued,
    /// Handed to the provider, no answer yet.
    Sending,
    /// The provider did not take it yet; it is tried again.
    Retrying,
    /// The provider has taken it. Final.
    Accepted,
    /// It will never be delivered: the reason says why. Final.
    Dead,
    /// It was not sent and never will be: its time to live ended (the reason is the provider's last word, or
    /// `expired`), the device came back (`device_returned`), a newer one with its collapse id took its place
    /// (`superseded`), the device has had the same news (`duplicate`), or it was cancelled (`cancelled`). Final.
    Expired,
    /// It was handed over, no answer came, and its time to live ended. Final.
    Unknown,
}

impl TargetState {
    const ALL: [Self; 7] =
        [Self::Queued, Self::Sending, Self::Retrying, Self::Accepted, Self::Dead, Self::Expired, Self::Unknown];

    /// The name in JSON, in the database and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Retrying => "retrying",
            Self::Accepted => "accepted",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }

    /// The state with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Nothing more happens.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Accepted | Self::Dead | Self::Expired | Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_json_are_the_same() {
        for state in TargetState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(TargetState::from_name(state.as_str()), Some(state));
        }
    }
}
