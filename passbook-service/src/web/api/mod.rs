//! The HTTP API for backends (service key): make, change, read, download and delete passes; what devices report.

mod answer;
mod certificates;
mod google;
pub mod openapi;
mod passes;
mod personalizations;
mod reports;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;

use super::Door;

/// The routes under `/api`.
pub(super) fn router(door: Door) -> Router<Door> {
    Router::new()
        .route("/api/passes", post(passes::create))
        .route("/api/passes/{pass_type}/{serial}", get(passes::state).patch(passes::patch).delete(passes::delete))
        .route("/api/passes/{pass_type}/{serial}/package", get(passes::package))
        .route("/api/passes/{pass_type}/{serial}/google", get(google::state).post(google::link))
        .route("/api/templates", get(reports::templates))
        .route("/api/personalizations", get(personalizations::list).delete(personalizations::forget))
        .route("/api/certificates", get(certificates::certificates))
        .route("/api/diagnoses", get(reports::diagnoses))
        .route_layer(from_fn_with_state(door, authenticate))
        .route("/api/openapi.json", get(openapi::show))
}

async fn authenticate(State(door): State<Door>, request: Request, next: Next) -> Result<Response, ApiError> {
    require_service_key(request.headers(), &door.service()?.keys)?;
    Ok(next.run(request).await)
}
