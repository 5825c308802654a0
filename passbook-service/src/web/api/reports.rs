//! `/api/diagnoses`.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};
use tidings_shared::http::ApiError;

use super::answer::storage;
use crate::diagnose::{cause_with_code, meaning_of};
use crate::web::Door;
use crate::web::path::Segments;

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
            let facts: Vec<_> = diagnosis
                .facts
                .iter()
                .map(|(fact, count)| json!({ "fact": fact, "count": count, "meaning": meaning_of(fact) }))
                .collect();
            json!({
                "id": diagnosis.id,
                "facts": facts,
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

/// Forgets what was reported: the next report of its kind is told like a first.
#[utoipa::path(delete, path = "/api/diagnoses/{id}", tag = "diagnoses", params(("id" = String, Path)),
    security(("service_key" = [])), responses((status = 204)))]
pub(super) async fn forget(State(door): State<Door>, segments: Segments) -> Result<StatusCode, ApiError> {
    let service = door.service()?;
    let id = segments.id(2).unwrap_or_default();
    match service.store.forget_diagnosis(id).await.map_err(|error| storage(&error))? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::new(StatusCode::NOT_FOUND, "diagnosis_unknown", "nothing of this id was reported")),
    }
}
