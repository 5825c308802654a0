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
//! | `GET /v1/apps` | | 200 [`AppList`] |
//! | `POST /v1/apps/{app}/check` | | 200 [`AppChecks`] |
//! | `POST /v1/apps/{app}/channels` | [`CreateChannel`] | 201 [`Channel`] |
//! | `GET /v1/apps/{app}/channels` | | 200 [`Channels`] |
//! | `GET /v1/apps/{app}/channels/{channel}` | | 200 [`Channel`] |
//! | `DELETE /v1/apps/{app}/channels/{channel}` | | 204 |
//! | `POST /v1/apps/{app}/topics/{topic}/subscribe` | [`TopicMembers`] | 200 [`TopicResults`] |
//! | `POST /v1/apps/{app}/topics/{topic}/unsubscribe` | [`TopicMembers`] | 200 [`TopicResults`] |

mod app;
mod apple;
mod device;
mod direct;
mod notification;
mod provider;
mod subscription;
mod target;
mod to;
mod ttl;

pub use app::{
    AppCheck, AppChecks, AppList, AppState, Channel, Channels, CreateChannel, Credential, CredentialState,
    TopicFailure, TopicMembers, TopicResults, Verdict, Verdicts,
};
pub use apple::{ApnsPush, ApnsPushType, LiveActivity, LiveActivityAlert, LiveActivityEvent};
pub use device::{Device, Devices, RegisterDevice};
pub use direct::{ChannelTarget, ConditionTarget, InstallationTarget, TopicTarget};
pub use notification::{Notification, Push, SendNotification};
pub use provider::{Environment, Provider};
pub use target::{Target, TargetState};
pub use to::{To, TokenTarget};
pub use ttl::Ttl;

/// The app that is meant when none is named.
#[must_use]
pub fn default_app() -> String {
    "default".to_owned()
}
