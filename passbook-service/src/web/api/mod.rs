//! The HTTP API for backends (service key): make, change, read, download and delete passes; what devices report.

mod answer;
mod campaigns;
mod certificates;
mod devices;
mod google;
mod imports;
mod jobs;
mod links;
pub mod openapi;
mod orders;
pub(super) mod passes;
mod personalizations;
mod reports;
pub(super) mod templates;
mod versions;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{delete, get, post};
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;

use super::Door;

/// The routes under `/api`.
pub(super) fn router(door: Door) -> Router<Door> {
    Router::new()
        .route("/api/passes", post(passes::create))
        .route("/api/passes/search", post(passes::search))
        .route("/api/passes/{pass_type}/{serial}", get(passes::state).patch(passes::patch).delete(passes::delete))
        .route("/api/passes/{pass_type}/{serial}/package", get(passes::package))
        .route("/api/passes/{pass_type}/{serial}/preview", get(passes::preview))
        .route("/api/passes/{pass_type}/{serial}/versions", get(versions::list))
        .route("/api/passes/{pass_type}/{serial}/versions/{revision}", get(versions::show))
        .route("/api/passes/{pass_type}/{serial}/diff", get(versions::diff))
        .route("/api/jobs", get(jobs::list).post(jobs::start))
        .route("/api/jobs/{id}", get(jobs::show).delete(jobs::cancel))
        .route("/api/links", post(links::make))
        .route("/api/bundles", post(links::pack))
        .route("/api/templates", get(templates::list))
        .route("/api/templates/{name}", get(templates::show).put(templates::put).delete(templates::remove))
        .route("/api/templates/{name}/check", post(templates::check))
        .route("/api/templates/{name}/versions", get(templates::versions))
        .route("/api/templates/{name}/preview", post(templates::preview))
        .route("/api/passes/{pass_type}/{serial}/google", get(google::state).post(google::link))
        .route("/api/orders", post(orders::create))
        .route(
            "/api/orders/{order_type}/{order_identifier}",
            get(orders::state).patch(orders::patch).delete(orders::delete),
        )
        .route("/api/orders/{order_type}/{order_identifier}/package", get(orders::package))
        .route("/api/personalizations", get(personalizations::list).delete(personalizations::forget))
        .route("/api/certificates", get(certificates::certificates))
        .route("/api/diagnoses", get(reports::diagnoses))
        .merge(moving())
        .route_layer(from_fn_with_state(door, authenticate))
        .route("/api/openapi.json", get(openapi::show))
}

/// Campaigns, imports, devices.
fn moving() -> Router<Door> {
    Router::new()
        .route("/api/campaigns", get(campaigns::list).post(campaigns::create))
        .route("/api/campaigns/{id}", get(campaigns::show))
        .route("/api/campaigns/{id}/coverage", get(campaigns::coverage))
        .route("/api/campaigns/{id}/pause", post(campaigns::pause))
        .route("/api/campaigns/{id}/resume", post(campaigns::resume))
        .route("/api/campaigns/{id}/sweep", post(campaigns::sweep))
        .route("/api/campaigns/{id}/cancel", post(campaigns::cancel))
        .route("/api/imports", get(imports::list))
        .route("/api/imports/{id}", get(imports::show))
        .route("/api/imports/{id}/rows", post(imports::rows))
        .route("/api/imports/{id}/refusals", get(imports::refusals))
        .route("/api/devices", get(devices::cohorts))
        .route("/api/diagnoses/{id}", delete(reports::forget))
}

async fn authenticate(State(door): State<Door>, request: Request, next: Next) -> Result<Response, ApiError> {
    require_service_key(request.headers(), &door.service()?.keys)?;
    Ok(next.run(request).await)
}
