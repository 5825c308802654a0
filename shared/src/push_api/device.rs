//! Registered devices.

use serde::{Deserialize, Serialize};

use super::{Environment, Provider, default_app, subscription};
use crate::identity::UserId;

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
