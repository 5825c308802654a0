//! Addressees that a provider itself knows: FCM's topics, conditions and installations, APNs' broadcast channels.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Environment, default_app};

/// Whoever has subscribed to a topic at FCM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicTarget {
    /// The name of a configured app (`push.apps.NAME`).
    #[serde(default = "default_app")]
    pub app: String,
    /// The topic's name: 1 to 900 of `a-zA-Z0-9-_.~%`.
    pub name: String,
}

/// Whoever has subscribed to a combination of topics at FCM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionTarget {
    /// The name of a configured app (`push.apps.NAME`).
    #[serde(default = "default_app")]
    pub app: String,
    /// For example `'news' in topics && ('sport' in topics || 'weather' in topics)`; five topics at most.
    pub expression: String,
}

/// One installation of an app, by its Firebase installation id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InstallationTarget {
    /// The name of a configured app (`push.apps.NAME`).
    #[serde(default = "default_app")]
    pub app: String,
    /// The installation id (`FID`).
    pub id: String,
}

/// Whoever has subscribed to a broadcast channel at APNs (Live Activities).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelTarget {
    /// The name of a configured app (`push.apps.NAME`).
    #[serde(default = "default_app")]
    pub app: String,
    /// The channel's id, as `POST /v1/apps/{app}/channels` answered it.
    pub id: String,
    /// In which of Apple's two worlds the channel is.
    #[serde(default)]
    pub environment: Environment,
}
