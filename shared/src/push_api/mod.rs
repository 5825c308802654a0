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
//! | `DELETE /v1/devices/{device}` | | 204 |

mod batch;
mod device;
mod notification;
mod provider;
mod schedule;
mod target;
mod to;
mod ttl;

pub use batch::{BatchAnswer, BatchItem, BatchResult, MAX_BATCH, SendBatch};
pub use device::{Device, Devices, RegisterDevice};
pub use notification::{Notification, Push, SendNotification};
pub use provider::{Environment, Provider};
pub use schedule::{Dedup, LONGEST_WAIT_MS, LocalTime, NotBefore, Priority, check_time_zone, time_zone};
pub use target::{Target, TargetState};
pub use to::{To, TokenTarget};
pub use ttl::Ttl;

/// The app that is meant when none is named.
#[must_use]
pub fn default_app() -> String {
    "default".to_owned()
}
