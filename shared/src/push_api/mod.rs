//! The push-gateway's HTTP interface as types: what handlers, the passbook-service and any other backend send
//! to it, and what it answers. Unknown fields are refused, so that a misspelt one is noticed and not ignored.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `POST /v1/notifications` | [`SendNotification`] | 202 [`Notification`] |
//! | `POST /v1/notifications/batch` | [`SendBatch`] | 200 [`BatchAnswer`] |
//! | `DELETE /v1/notifications/{id}` | | 200 [`Notification`] |
//! | `GET /v1/notifications/{id}` | | 200 [`Notification`] |
//! | `PUT /v1/devices/{device}` | [`RegisterDevice`] | 201 or 200 [`Device`] |
//! | `GET /v1/devices` | | 200 [`Devices`] |
//! | `PATCH /v1/devices/{device}` | [`PatchDevice`] | 200 [`Device`] |
//! | `DELETE /v1/devices/{device}` | | 204 |
//! | `PUT`, `GET /v1/segments/{name}` | [`Segment`] | 201 or 200 [`NamedSegment`] |
//! | `GET /v1/segments`, `GET /v1/segments/{name}/count` | | 200 [`Segments`], [`SegmentCount`] |
//! | `PUT`, `GET /v1/templates/{name}` | [`Template`] | 201 or 200 [`NamedTemplate`] |
//! | `POST /v1/templates/{name}/preview` | [`PreviewTemplate`] | 200 [`Preview`] |
//! | `POST /v1/receipts` | [`Receipt`] | 200 [`ReceiptTaken`] |
//! | `GET /v1/notifications/{id}/timeline` | | 200 [`Timeline`] |
//! | `GET /v1/notifications/stream` | | server-sent events, each an [`Outcome`] |
//! | `PUT`, `GET /v1/webhooks/{name}` | [`PutWebhook`] | 201 or 200 [`Webhook`] |
//! | `POST /v1/webhooks/{name}/test` | | 200 [`WebhookTest`] |
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
mod batch;
mod device;
mod direct;
mod google;
mod notification;
mod provider;
mod receipt;
mod schedule;
mod segment;
mod subscription;
mod target;
mod template;
mod to;
mod ttl;
mod webhook;

pub use app::{
    AppCheck, AppChecks, AppList, AppState, Channel, Channels, CreateChannel, Credential, CredentialState,
    TopicFailure, TopicMembers, TopicResults, Verdict, Verdicts,
};
pub use apple::{ApnsPush, ApnsPushType, LiveActivity, LiveActivityAlert, LiveActivityEvent};
pub use batch::{BatchAnswer, BatchItem, BatchResult, MAX_BATCH, SendBatch};
pub use device::{Device, Devices, PatchDevice, RegisterDevice};
pub use direct::{ChannelTarget, ConditionTarget, InstallationTarget, TopicTarget};
pub use google::FcmPush;
pub use notification::{Notification, Push, SendNotification};
pub use provider::{Environment, Provider};
pub use receipt::{Outcome, Receipt, ReceiptEvent, ReceiptTaken, TargetTimeline, Timeline, TimelineEvent};
pub use schedule::{Dedup, LONGEST_WAIT_MS, LocalTime, NotBefore, Priority, check_time_zone, time_zone};
pub use segment::{Expansion, NamedSegment, Seen, Segment, SegmentCount, SegmentTarget, Segments, VersionRange, Where};
pub use target::{Target, TargetState};
pub use template::{NamedTemplate, Preview, PreviewTemplate, ProviderPreview, Template, Templates};
pub use to::{To, TokenTarget};
pub use ttl::Ttl;
pub use webhook::{PutWebhook, Webhook, WebhookTest, Webhooks};

/// The app that is meant when none is named.
#[must_use]
pub fn default_app() -> String {
    "default".to_owned()
}
