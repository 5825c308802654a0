//! Answers of the API that several routes share: what was made, and refusals with their codes.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidings_shared::http::ApiError;
use tidings_shared::storage::StorageError;

use crate::update::ChangeError;

/// 201 for what was made at `url`. The answer holds its token: nobody keeps it.
pub(super) fn created(answer: impl Serialize, url: &str) -> Response {
    let mut response = (StatusCode::CREATED, Json(answer)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(location) = HeaderValue::from_str(url) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// The answer to a change that was refused.
pub(super) fn refusal(error: ChangeError) -> ApiError {
    let (status, code) = match &error {
        ChangeError::NoPass => return no_pass(),
        ChangeError::Exists => (StatusCode::CONFLICT, "pass_exists"),
        ChangeError::NoTemplate(..) => (StatusCode::UNPROCESSABLE_ENTITY, "template_unknown"),
        ChangeError::BadSerial => (StatusCode::UNPROCESSABLE_ENTITY, "serial_invalid"),
        ChangeError::UnknownFields(..) => (StatusCode::UNPROCESSABLE_ENTITY, "fields_unknown"),
        ChangeError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "pass_invalid"),
        ChangeError::OtherPassType(_) => (StatusCode::CONFLICT, "pass_type_not_served"),
        ChangeError::Stale(_) => return super::super::unavailable(),
        ChangeError::Storage(error) => return storage(error),
        ChangeError::Internal(error) => {
            tracing::error!(%error, "a change of a pass failed");
            return ApiError::internal();
        }
    };
    ApiError::new(status, code, error.to_string())
}

/// The answer when the database fails.
pub(super) fn storage(error: &StorageError) -> ApiError {
    tracing::error!(%error, "a request of the API failed");
    if error.is_retryable() { super::super::unavailable() } else { ApiError::internal() }
}

/// 404 for a pass.
pub(super) fn no_pass() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "pass_unknown", "there is no such pass")
}

/// A body as JSON.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "request_invalid",
            format!("the body is not what is expected here: {error}"),
        )
    })
}
