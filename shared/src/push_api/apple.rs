//! Pushes that only Apple knows: every push type of APNs, and Live Activities in words of their own.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The push types of APNs (`apns-push-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApnsPushType {
    /// Shows something, plays a sound or sets the badge.
    Alert,
    /// Wakes the app without showing anything.
    Background,
    /// Updates a watchOS app's complications.
    Complication,
    /// Reloads controls.
    Controls,
    /// Signals changes to a File Provider extension.
    FileProvider,
    /// Starts, updates or ends a Live Activity.
    LiveActivity,
    /// Asks for the device's location; with token authentication only.
    Location,
    /// Tells a managed device to contact its server.
    Mdm,
    /// Updates a Push to Talk session.
    PushToTalk,
    /// Announces an incoming voice call.
    Voip,
    /// Reloads widgets.
    Widgets,
}

impl ApnsPushType {
    /// Every push type, in the order of their names.
    pub const ALL: [Self; 11] = [
        Self::Alert,
        Self::Background,
        Self::Complication,
        Self::Controls,
        Self::FileProvider,
        Self::LiveActivity,
        Self::Location,
        Self::Mdm,
        Self::PushToTalk,
        Self::Voip,
        Self::Widgets,
    ];

    /// The name in JSON and in `apns-push-type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Background => "background",
            Self::Complication => "complication",
            Self::Controls => "controls",
            Self::FileProvider => "fileprovider",
            Self::LiveActivity => "liveactivity",
            Self::Location => "location",
            Self::Mdm => "mdm",
            Self::PushToTalk => "pushtotalk",
            Self::Voip => "voip",
            Self::Widgets => "widgets",
        }
    }
}

impl fmt::Display for ApnsPushType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A push in Apple's own words: the payload goes out as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApnsPush {
    /// What kind of push it is; the topic's suffix follows from it.
    pub push_type: ApnsPushType,
    /// The JSON object that Apple gets: 4096 bytes at most, 5120 for `voip` and for a broadcast channel.
    #[schema(value_type = Object)]
    pub payload: Map<String, Value>,
    /// 10 (at once), 5 (with regard to the battery) or 1 (only that); 10 is refused for `background`. When absent: 5
    /// for `background`, else 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
}

/// What happens to a Live Activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LiveActivityEvent {
    /// It begins: sent to a push-to-start token.
    Start,
    /// Its content changes: sent to the activity's own token, or to a broadcast channel.
    Update,
    /// It ends.
    End,
}

impl LiveActivityEvent {
    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Update => "update",
            Self::End => "end",
        }
    }
}

/// The words that announce a change of a Live Activity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LiveActivityAlert {
    /// First line.
    pub title: String,
    /// The text.
    pub body: String,
    /// The name of a sound in the app, or `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound: Option<String>,
}

/// A Live Activity's push. Times are seconds since 1970, as Apple has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LiveActivity {
    /// What happens.
    pub event: LiveActivityEvent,
    /// The dynamic content, in the form of the app's `ContentState`. Required, unless the activity ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub content_state: Option<Map<String, Value>>,
    /// Orders updates: the phone keeps the newest. The time of the request when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// From then on the content counts as out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_date: Option<i64>,
    /// When an activity that has ended disappears; with `end` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dismissal_date: Option<i64>,
    /// The name of the app's `ActivityAttributes` type; with `start`, and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes_type: Option<String>,
    /// The content that never changes; with `start`, and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub attributes: Option<Map<String, Value>>,
    /// With `start`: the broadcast channel that the new activity gets its updates from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_push_channel: Option<String>,
    /// With `start`: the new activity asks for a push token of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub input_push_token: bool,
    /// Which of an app's activities comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relevance_score: Option<f64>,
    /// Required with `start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<LiveActivityAlert>,
    /// 10 (at once), 5 or 1; 10 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_json_are_the_same() {
        for kind in ApnsPushType::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for event in [LiveActivityEvent::Start, LiveActivityEvent::Update, LiveActivityEvent::End] {
            assert_eq!(serde_json::to_value(event).unwrap(), event.as_str());
        }
    }
}
