//! The HTTP interface: devices register, backends send. Types in [`tidings_shared::push_api`], codes in [`error_codes`].

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};
use http::StatusCode;
use tidings_shared::auth::{ServiceKeys, Verifier};
use tidings_shared::clock::Clock;
use tidings_shared::http::ApiError;
use tidings_shared::storage::Database;

use crate::apps::Apps;
use crate::ids::Ids;
use crate::metrics::Metrics;

mod apps;
mod caller;
mod channels;
mod devices;
mod direct;
pub mod error_codes;
mod notifications;
mod refusal;
mod topics;
mod validate;

#[cfg(test)]
mod tests;

/// What the routes need.
pub(crate) struct Gateway {
    /// Empty until the database answered for the first time.
    pub(crate) database: OnceLock<Database>,
    pub(crate) apps: Arc<Apps>,
    pub(crate) verifier: Verifier,
    pub(crate) service_keys: ServiceKeys,
    pub(crate) ids: Ids,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) ttl: Duration,
    pub(crate) max_devices: u64,
}

impl Gateway {
    fn database(&self) -> Result<&Database, ApiError> {
        self.database.get().ok_or_else(|| {
            let message = "the service has no connection to its database yet; try again soon";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", message).retry_after(5)
        })
    }
}

/// All routes; bodies have at most `max_body` bytes.
pub(crate) fn router(gateway: Arc<Gateway>, max_body: usize) -> Router {
    Router::new()
        .route("/v1/devices", get(devices::list))
        .route("/v1/devices/{device}", put(devices::register).delete(devices::remove))
        .route("/v1/notifications", post(notifications::send))
        .route("/v1/notifications/{id}", get(notifications::show))
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
