//! Registered devices.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::{Environment, Provider, default_app, subscription};
use crate::identity::UserId;

/// Body of `PUT /v1/devices/{device}`. What is left out of the optional fields stays as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// The push token: hexadecimal for APNs; for FCM the registration token, or `fid:` and the installation id; for
    /// Web Push the subscription as the browser gives it, as an object or as its JSON text.
    #[serde(deserialize_with = "subscription::token")]
    pub token: String,
    /// APNs only.
    #[serde(default)]
    pub environment: Environment,
    /// The device's MQTT client id, or the `client` that it names on the broker's HTTP door. Without it, any
    /// device of the user that comes back counts as this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The language of the app on this device (BCP 47), for example `de-AT`: templates speak it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Where the device is (IANA), for example `Europe/Vienna`: what is scheduled for a local time follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The app's version, for example `2.10.1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Words by which segments find the device; they replace the ones that it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

/// Body of `PATCH /v1/devices/{device}`: what is left out stays, `null` removes what may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchDevice {
    /// A rotated push token of the same provider and app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The token that `token` replaces: refused with `token_changed` when another one is known by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_token: Option<String>,
    /// APNs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The device's MQTT client id.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub client: Option<Option<String>>,
    /// The language of the app on this device (BCP 47).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub locale: Option<Option<String>>,
    /// Where the device is (IANA).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub time_zone: Option<Option<String>>,
    /// The app's version.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub version: Option<Option<String>>,
    /// All tags, instead of the ones that the device had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Tags that come to the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_tags: Vec<String>,
    /// Tags that go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_tags: Vec<String>,
}

/// Tells `null` from a field that is not there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// A registered device. The push token itself is never shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// The language of the app on this device (BCP 47).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Where the device is (IANA).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The app's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// By which segments find it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// When the token was last confirmed (ms since 1970).
    pub registered_at_ms: i64,
    /// When the device was last heard of: it confirmed its token, or it came back to the broker (ms since 1970).
    #[serde(default)]
    pub seen_at_ms: i64,
    /// Counts the changes of the token: an answer about an older one changes nothing.
    #[serde(default)]
    pub generation: i64,
    /// Since when the provider calls the token gone (ms since 1970). Nothing is sent to such a device, and it is forgotten
    /// after `push.devices.quarantine`, unless it registers again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined_at_ms: Option<i64>,
    /// A wake push was made and the device has not come back since.
    pub wake_outstanding: bool,
}

/// Answer of `GET /v1/devices`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Devices {
    /// In the order of their names.
    pub devices: Vec<Device>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn null_is_not_the_same_as_nothing() {
        let patch = |body| serde_json::from_value::<PatchDevice>(body).unwrap();
        assert_eq!(patch(json!({})).locale, None);
        assert_eq!(patch(json!({"locale": null})).locale, Some(None));
        assert_eq!(patch(json!({"locale": "de"})).locale, Some(Some("de".to_owned())));
        assert!(serde_json::from_value::<PatchDevice>(json!({"provider": "fcm"})).is_err());
    }
}
