//! `/api/diagnoses`.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use tidings_shared::http::ApiError;

use super::answer::storage;
use crate::diagnose::cause_with_code;
use crate::web::Door;

/// What devices reported: unknown texts first, then the latest.
#[utoipa::path(get, path = "/api/diagnoses", tag = "diagnoses", security(("service_key" = [])),
    responses((status = 200, body = Object)))]
pub(super) async fn diagnoses(State(door): State<Door>) -> Result<Json<Value>, ApiError> {
    let service = door.service()?;
    service.recorder.flush().await.map_err(|error| storage(&error))?;
    let found = service.store.diagnoses().await.map_err(|error| storage(&error))?;
    let diagnoses: Vec<_> = found
        .into_iter()
        .map(|diagnosis| {
            let cause = cause_with_code(&diagnosis.cause);
            json!({
                "cause": diagnosis.cause,
                "meaning": cause.meaning,
                "remedy": cause.remedy,
                "pattern": diagnosis.pattern,
                "count": diagnosis.count,
                "firstAt": diagnosis.first_at_ms,
                "lastAt": diagnosis.last_at_ms,
            })
        })
        .collect();
    Ok(Json(json!({ "diagnoses": diagnoses })))
}
