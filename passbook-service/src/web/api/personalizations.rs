//! `/api/personalizations`: who signed up with which pass, read on by a cursor.

use axum::Json;
use axum::extract::State;
use http::{StatusCode, Uri};
use serde::Serialize;
use serde_json::Value;
use tidings_shared::http::ApiError;
use utoipa::ToSchema;

use super::answer::storage;
use crate::web::Door;
use crate::web::path::query_parameter;

const PAGE: i64 = 100;
const LARGEST_PAGE: i64 = 1000;

/// Answer of `GET /api/personalizations`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Personalizations {
    /// In the order in which they are read.
    personalizations: Vec<Entry>,
    /// Goes into `after` to read on; the same as it was when there was nothing new.
    cursor: String,
}

/// One sign-up.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Personalization)]
struct Entry {
    pass_type_identifier: String,
    serial_number: String,
    /// As Wallet sent it: `fullName`, `givenName`, `familyName`, `emailAddress`, `phoneNumber`, `postalCode`,
    /// `ISOCountryCode`.
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    info: serde_json::Map<String, Value>,
    /// ms since 1970.
    created_at: i64,
}

/// Sign-ups after a cursor. Read with the answer's `cursor` until it stays the same.
#[utoipa::path(get, path = "/api/personalizations", tag = "passes", security(("service_key" = [])),
    params(("after" = Option<String>, Query, description = "The `cursor` of an earlier answer"),
           ("limit" = Option<i64>, Query, description = "1 to 1000; 100 when absent")),
    responses((status = 200, body = Personalizations)))]
pub(super) async fn list(State(door): State<Door>, uri: Uri) -> Result<Json<Personalizations>, ApiError> {
    let service = door.service()?;
    let after = place(&uri, "after")?.unwrap_or(0);
    let limit = place(&uri, "limit")?.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(refused(format!("limit: found {limit}; allowed is 1 to {LARGEST_PAGE}")));
    }
    let found = service.store.personalizations(after, limit).await.map_err(|error| storage(&error))?;
    let cursor = found.last().map_or(after, |last| last.position).to_string();
    let personalizations = found
        .into_iter()
        .map(|one| Entry {
            pass_type_identifier: one.id.pass_type,
            serial_number: one.id.serial,
            info: one.info,
            created_at: one.created_at_ms,
        })
        .collect();
    Ok(Json(Personalizations { personalizations, cursor }))
}

/// Forgets sign-ups that were read: everything up to a cursor. Personal data need not stay here.
#[utoipa::path(delete, path = "/api/personalizations", tag = "passes", security(("service_key" = [])),
    params(("through" = String, Query, description = "The `cursor` of an answer")),
    responses((status = 204)))]
pub(super) async fn forget(State(door): State<Door>, uri: Uri) -> Result<StatusCode, ApiError> {
    let service = door.service()?;
    let through = place(&uri, "through")?.ok_or_else(|| refused("through: missing; name the cursor of an answer"))?;
    service.store.forget_personalizations(through).await.map_err(|error| storage(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

fn place(uri: &Uri, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = query_parameter(uri, name) else { return Ok(None) };
    let number = text.parse::<i64>().ok().filter(|number| *number >= 0);
    number.map(Some).ok_or_else(|| refused(format!("{name}: found `{text}`; it is a number of an earlier answer")))
}

fn refused(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "request_invalid", message)
}
