//! The HTTP interface: devices register, backends send. Types in [`tidings_shared::push_api`], codes in [`error_codes`].

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};
use http::StatusCode;
use jiff::tz::TimeZone;
use tidings_shared::auth::{ServiceKeys, Verifier};
use tidings_shared::clock::Clock;
use tidings_shared::http::ApiError;
use tidings_shared::storage::Database;

use crate::apps::Apps;
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::queue::intake::Intake;
use crate::queue::load::Load;

mod acceptance;
mod addressees;
mod apps;
mod batch;
mod caller;
mod channels;
mod content;
mod devices;
mod direct;
pub mod error_codes;
pub(crate) mod expand;
pub(crate) mod gorush;
mod names;
mod notifications;
pub mod openapi;
mod receipts;
mod refusal;
pub(crate) mod rooms;
mod segments;
mod stream;
mod templates;
mod topics;
mod validate;
mod webhooks;

use rooms::Rooms;

#[cfg(test)]
mod tests;

/// What the routes need.
pub(crate) struct Gateway {
    /// Empty until the database answered for the first time.
    pub(crate) database: OnceLock<Database>,
    /// The same.
    pub(crate) intake: OnceLock<Intake>,
    pub(crate) load: Arc<Load>,
    /// The zone of devices that have told none.
    pub(crate) time_zone: TimeZone,
    pub(crate) apps: Arc<Apps>,
    pub(crate) verifier: Verifier,
    pub(crate) service_keys: ServiceKeys,
    pub(crate) ids: Ids,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ttl: Duration,
    pub(crate) max_devices: u64,
    pub(crate) rooms: Rooms,
}

impl Gateway {
    fn database(&self) -> Result<&Database, ApiError> {
        self.database.get().ok_or_else(not_connected)
    }

    fn intake(&self) -> Result<&Intake, ApiError> {
        self.intake.get().ok_or_else(not_connected)
    }
}

fn not_connected() -> ApiError {
    let message = "the service has no connection to its database yet; try again soon";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", message).retry_after(5)
}

/// All routes; bodies have at most `max_body` bytes, those of a batch `max_batch_body`.
pub(crate) fn router(gateway: Arc<Gateway>, max_body: usize, max_batch_body: usize) -> Router {
    Router::new()
        .route("/v1/devices", get(devices::list))
        .route("/v1/devices/{device}", put(devices::register).patch(devices::change).delete(devices::remove))
        .route("/v1/notifications", post(notifications::send))
        .route("/v1/notifications/batch", post(batch::send).layer(DefaultBodyLimit::max(max_batch_body)))
        .route("/v1/notifications/{id}", get(notifications::show).delete(notifications::cancel))
        .route("/v1/notifications/{id}/timeline", get(receipts::show))
        .route("/v1/notifications/stream", get(stream::open))
        .route("/v1/receipts", post(receipts::take))
        .route("/v1/segments", get(segments::list))
        .route("/v1/segments/{name}", get(segments::show).put(segments::put).delete(segments::remove))
        .route("/v1/segments/{name}/count", get(segments::count))
        .route("/v1/templates", get(templates::list))
        .route("/v1/templates/{name}", get(templates::show).put(templates::put).delete(templates::remove))
        .route("/v1/templates/{name}/preview", post(templates::preview))
        .route("/v1/webhooks", get(webhooks::list))
        .route("/v1/webhooks/{name}", get(webhooks::show).put(webhooks::put).delete(webhooks::remove))
        .route("/v1/webhooks/{name}/test", post(webhooks::test))
        .route("/v1/openapi.json", get(openapi::show))
        .route("/api/push", post(gorush::push).layer(DefaultBodyLimit::max(max_batch_body)))
        .route("/v1/apps", get(apps::list))
        .route("/v1/apps/{app}/check", post(apps::check))
        .route("/v1/apps/{app}/channels", get(channels::list).post(channels::create))
        .route("/v1/apps/{app}/channels/{channel}", get(channels::show).delete(channels::delete))
        .route("/v1/apps/{app}/topics/{topic}/subscribe", post(topics::subscribe))
        .route("/v1/apps/{app}/topics/{topic}/unsubscribe", post(topics::unsubscribe))
        .method_not_allowed_fallback(async || {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this address does not take this method",
            )
        })
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "not_found", "nothing is at this address"))
        .layer(DefaultBodyLimit::max(max_body))
        .with_state(gateway)
}
