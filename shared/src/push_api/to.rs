//! Whom a notification is for.

use serde::{Deserialize, Serialize};

use super::{Environment, Provider, default_app};
use crate::identity::UserId;

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
