//! How failures of other rooms become answers: a documented code, and no internal text.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use http::StatusCode;
use serde::de::DeserializeOwned;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::Provider;
use tidings_shared::storage::StorageError;

use crate::apps::Apps;
use crate::devices::Invalid;
use crate::devices::describe::Undescribable;
use crate::provider::Refusal;

pub(super) fn storage(error: impl Into<StorageError>) -> ApiError {
    let error = error.into();
    if error.is_retryable() {
        tracing::warn!(%error, "a request waits for the database");
        return database_unavailable();
    }
    tracing::error!(%error, "a request failed");
    ApiError::internal()
}

pub(super) fn database_unavailable() -> ApiError {
    let message = "the database does not answer; try again soon";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", message).retry_after(5)
}

pub(super) fn invalid(error: &Invalid) -> ApiError {
    let code = match error {
        Invalid::Device(_) => "device_invalid",
        Invalid::Client(_) => "client_invalid",
        Invalid::ApnsToken(_) | Invalid::FcmToken(_) | Invalid::Subscription(_) => "token_invalid",
    };
    ApiError::new(StatusCode::BAD_REQUEST, code, error.to_string())
}

/// What a device says of itself cannot be.
pub(super) fn described(error: &Undescribable) -> ApiError {
    let code = match error {
        Undescribable::Locale(..) => "locale_invalid",
        Undescribable::Version(_) => "version_invalid",
        Undescribable::TooManyTags(_) | Undescribable::Tag(_) => "tags_invalid",
    };
    ApiError::new(StatusCode::BAD_REQUEST, code, error.to_string())
}

/// A time zone that there is not.
pub(super) fn time_zone(message: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "time_zone_invalid", message)
}

pub(super) fn push(refusal: &Refusal) -> ApiError {
    let (status, code) = match refusal {
        Refusal::PayloadTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
        Refusal::ReservedName(_) => (StatusCode::BAD_REQUEST, "data_name_reserved"),
        Refusal::CollapseId(_) => (StatusCode::BAD_REQUEST, "collapse_id_invalid"),
        Refusal::Kind { .. } => (StatusCode::BAD_REQUEST, "push_kind_unsupported"),
        Refusal::Field { .. } => (StatusCode::BAD_REQUEST, "push_invalid"),
        Refusal::Endpoint(_) => (StatusCode::BAD_REQUEST, "endpoint_refused"),
    };
    ApiError::new(status, code, refusal.to_string())
}

pub(super) fn app(apps: &Apps, provider: Provider, name: &str) -> ApiError {
    if apps.lanes().next().is_none() {
        let message = "this server has no push app; its operator has to configure one (push.apps.NAME)";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no_app_configured", message);
    }
    let names = apps.names(provider);
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let message = format!("no app \"{name}\" is configured for {provider}; configured are: {known}");
    ApiError::new(StatusCode::BAD_REQUEST, "app_unknown", message)
}

/// For an address that names an app without a provider.
pub(super) fn app_anywhere(apps: &Apps, name: &str) -> ApiError {
    let mut names: Vec<_> = Provider::ALL.into_iter().flat_map(|provider| apps.names(provider)).collect();
    names.sort_unstable();
    names.dedup();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let message = format!("no app \"{name}\" is configured; configured are: {known}");
    ApiError::new(StatusCode::BAD_REQUEST, "app_unknown", message)
}

pub(super) fn environment(app: &str) -> ApiError {
    let message = format!("the app \"{app}\" has no address for this environment");
    ApiError::new(StatusCode::BAD_REQUEST, "environment_unavailable", message)
}

pub(super) fn device_unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "device_unknown", "no such device is registered")
}

/// Reads a JSON body whatever its Content-Type.
pub(super) fn json<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the body is too long")
        }
        _ => ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", "the body could not be read to its end"),
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", format!("the body does not fit: {error}"))
    })
}
