//! `/api/devices`: how many there are, and when they were last heard of.

use axum::Json;
use axum::extract::State;
use tidings_shared::http::ApiError;

use super::answer::storage;
use crate::store::Cohorts;
use crate::web::Door;

/// Counts devices by when they were last heard of, and those in quarantine.
#[utoipa::path(get, path = "/api/devices", tag = "devices", security(("service_key" = [])), responses((status = 200, body = Cohorts)))]
pub(super) async fn cohorts(State(door): State<Door>) -> Result<Json<Cohorts>, ApiError> {
    let service = door.service()?;
    let cohorts = service.store.cohorts(service.clock.now_ms(), service.quarantine_ms).await;
    Ok(Json(cohorts.map_err(|error| storage(&error))?))
}
