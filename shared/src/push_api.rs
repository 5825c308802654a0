//! The push-gateway's HTTP interface as types: what handlers, the passbook-service and any other backend send
//! to it, and what it answers. Unknown fields are refused, so that a misspelt one is noticed and not ignored.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `POST /v1/notifications` | [`SendNotification`] | 202 [`Notification`] |
//! | `GET /v1/notifications/{id}` | | 200 [`Notification`] |
//! | `PUT /v1/devices/{device}` | [`RegisterDevice`] | 201 or 200 [`Device`] |
//! | `GET /v1/devices` | | 200 [`Devices`] |
//! | `DELETE /v1/devices/{device}` | | 204 |

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::UserId;

/// Who delivers a push to the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging, HTTP v1.
    Fcm,
}

impl Provider {
    /// The name in JSON, in the database and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
        }
    }

    /// The provider with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Apns, Self::Fcm].into_iter().find(|provider| provider.as_str() == name)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of Apple's two worlds a token belongs to. FCM knows only `production`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Apps from the App Store and TestFlight.
    #[default]
    Production,
    /// Apps run from Xcode.
    Sandbox,
}

impl Environment {
    /// The name in JSON, in the database and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Sandbox => "sandbox",
        }
    }

    /// The environment with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Production, Self::Sandbox].into_iter().find(|environment| environment.as_str() == name)
    }

    /// The one that is not this one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Production => Self::Sandbox,
            Self::Sandbox => Self::Production,
        }
    }
}

/// Body of `POST /v1/notifications`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendNotification {
    /// Who should get it.
    pub to: To,
    /// What is sent.
    pub push: Push,
    /// A later push with the same id replaces an earlier one that the phone has not shown yet; 64 bytes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse_id: Option<String>,
    /// After this time nobody tries any more, the provider included; the gateway's `push.ttl` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
}

/// The addressee of a notification: exactly one of `{"user":…}`, `{"device":…}`, `{"user":…,"device":…}`
/// and `{"token":…}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ToFields", into = "ToFields")]
pub enum To {
    /// Every registered device of a user.
    User(UserId),
    /// One registration, by the `id` that its registration answered.
    Registration(String),
    /// One device of a user, by the name that it registered with.
    Device {
        /// Whose device.
        user: UserId,
        /// Its name, as in `PUT /v1/devices/{device}`.
        device: String,
    },
    /// A push token that is not registered here (the passbook-service keeps its own registrations).
    Token(TokenTarget),
}

/// A push token with what is needed to use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenTarget {
    /// Who issued the token.
    pub provider: Provider,
    /// The name of a configured app (`push.apps.NAME`); for a pass, its pass type identifier.
    #[serde(default = "default_app")]
    pub app: String,
    /// The token itself: hexadecimal for APNs, the registration token for FCM.
    pub token: String,
    /// APNs only.
    #[serde(default)]
    pub environment: Environment,
    /// When the token was last known to be good (ms since 1970): APNs names a time when it gave a token up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<TokenTarget>,
}

impl TryFrom<ToFields> for To {
    type Error = &'static str;

    fn try_from(fields: ToFields) -> Result<Self, Self::Error> {
        match fields {
            ToFields { user: Some(user), device: None, token: None } => Ok(Self::User(user)),
            ToFields { user: Some(user), device: Some(device), token: None } => Ok(Self::Device { user, device }),
            ToFields { user: None, device: Some(id), token: None } => Ok(Self::Registration(id)),
            ToFields { user: None, device: None, token: Some(token) } => Ok(Self::Token(token)),
            _ => Err(
                "`to` has exactly one of these forms: {\"user\":…}, {\"device\":…}, {\"user\":…,\"device\":…}, {\"token\":{…}}",
            ),
        }
    }
}

impl From<To> for ToFields {
    fn from(to: To) -> Self {
        let (mut user, mut device, mut token) = (None, None, None);
        match to {
            To::User(id) => user = Some(id),
            To::Registration(id) => device = Some(id),
            To::Device { user: id, device: name } => (user, device) = (Some(id), Some(name)),
            To::Token(target) => token = Some(target),
        }
        Self { user, device, token }
    }
}

/// What a push does on the phone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Push {
    /// Nothing is shown: the app is woken and fetches what it missed.
    Wake {},
    /// A visible notification.
    Alert {
        /// First line.
        title: String,
        /// The text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
        /// For the app. Strings reach every provider as they are; other values reach FCM as JSON text.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        data: BTreeMap<String, serde_json::Value>,
    },
    /// Tells Wallet that a pass of this type has changed (APNs, body `{}`).
    Pass {},
}

/// How long a notification is worth sending: a whole number with `ms`, `s`, `m`, `h` or `d`, for example `"1h"`;
/// 28 days at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ttl(u64);

impl Ttl {
    /// The longest that both providers keep a message.
    pub const MAX: Duration = Duration::from_secs(2_419_200);

    /// A time to live, cut to [`Ttl::MAX`].
    #[must_use]
    pub fn new(time: Duration) -> Self {
        Self(u64::try_from(time.min(Self::MAX).as_millis()).unwrap_or(u64::MAX))
    }

    /// As milliseconds.
    #[must_use]
    pub fn as_ms(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl TryFrom<String> for Ttl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refused = || {
            format!(
                "a time to live is a whole number with ms, s, m, h or d, from 0s to 28d, for example \"1h\"; found \"{text}\""
            )
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refused()),
        };
        let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(refused)?;
        if u128::from(ms) > Self::MAX.as_millis() {
            return Err(refused());
        }
        Ok(Self(ms))
    }
}

impl From<Ttl> for String {
    fn from(ttl: Ttl) -> Self {
        if ttl.0.is_multiple_of(1000) { format!("{}s", ttl.0 / 1000) } else { format!("{}ms", ttl.0) }
    }
}

/// Answer of `POST /v1/notifications` and of `GET /v1/notifications/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Names the notification in `GET /v1/notifications/{id}`.
    pub id: String,
    /// One for each device that it goes to; empty when the user has registered none.
    pub targets: Vec<Target>,
}

/// What became of a notification at one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Its time to live ended, or the device came back before it was sent. Final.
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

/// Body of `PUT /v1/devices/{device}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterDevice {
    /// Whose device: with a service key only. With an app token it is the token's `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Who issued the token.
    pub provider: Provider,
    /// The name of a configured app (`push.apps.NAME`).
    #[serde(default = "default_app")]
    pub app: String,
    /// The push token.
    pub token: String,
    /// APNs only.
    #[serde(default)]
    pub environment: Environment,
    /// The device's MQTT client id, or the `client` that it names on the broker's HTTP door. Without it, any
    /// device of the user that comes back counts as this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// A registered device. The push token itself is never shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Names the registration in `to.device`.
    pub id: String,
    /// The name that the device registered with.
    pub device: String,
    /// Whose device.
    pub user: UserId,
    /// Who delivers its pushes.
    pub provider: Provider,
    /// Through which app's credentials.
    pub app: String,
    /// APNs only.
    pub environment: Environment,
    /// Its MQTT client id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// When the token was last confirmed (ms since 1970).
    pub registered_at_ms: i64,
    /// A wake push was made and the device has not come back since.
    pub wake_outstanding: bool,
}

/// Answer of `GET /v1/devices`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// In the order of their names.
    pub devices: Vec<Device>,
}

/// The app that is meant when none is named.
#[must_use]
pub fn default_app() -> String {
    "default".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(body: serde_json::Value) -> Result<SendNotification, String> {
        serde_json::from_value(body).map_err(|error| error.to_string())
    }

    #[test]
    fn each_form_of_to_round_trips() {
        for to in [
            json!({"user":"68946"}),
            json!({"device":"0199"}),
            json!({"user":"68946","device":"phone"}),
            json!({"token":{"provider":"apns","app":"pass.org.example","token":"ab12","environment":"sandbox"}}),
        ] {
            let body = json!({"to":to,"push":{"kind":"wake"},"ttl":"3600s"});
            let parsed = parse(body.clone()).unwrap();
            assert_eq!(serde_json::to_value(parsed).unwrap(), body);
        }
    }

    #[test]
    fn a_misspelt_field_is_named() {
        for (body, word) in [
            (json!({"to":{"user":"1"},"push":{"kind":"wake"},"collapse":"x"}), "collapse"),
            (json!({"to":{"usr":"1"},"push":{"kind":"wake"}}), "usr"),
            (json!({"to":{"user":"1"},"push":{"kind":"wake","titel":"x"}}), "titel"),
            (json!({"to":{"user":"1"},"push":{"kind":"alert","title":"x","text":"y"}}), "text"),
            (json!({"to":{"user":"1"},"push":{"kind":"wke"}}), "wke"),
            (json!({"to":{},"push":{"kind":"wake"}}), "exactly one"),
            (json!({"to":{"user":"1","token":{"provider":"fcm","token":"t"}},"push":{"kind":"wake"}}), "exactly one"),
        ] {
            let error = parse(body).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_time_to_live_has_a_unit_and_an_end() {
        let ms = |text: &str| Ttl::try_from(text.to_owned()).map(Ttl::as_ms);
        assert_eq!(ms("90s"), Ok(90_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        assert_eq!(ms("28d"), Ok(2_419_200_000));
        for wrong in ["", "1", "h", "-1s", "29d", "1.5h", "99999999999999999999d", "1 h"] {
            assert!(ms(wrong).unwrap_err().contains("28d"), "{wrong}");
        }
    }

    #[test]
    fn names_and_json_are_the_same() {
        for state in TargetState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(TargetState::from_name(state.as_str()), Some(state));
        }
        for provider in [Provider::Apns, Provider::Fcm] {
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.as_str());
        }
    }
}
