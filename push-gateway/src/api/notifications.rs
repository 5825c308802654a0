//! Backends send notifications: 202 means that they are stored, not that they have arrived.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{Notification, SendNotification};

use super::acceptance::{Wanted, accept};
use super::{Gateway, refusal, validate};
use crate::queue::store;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Stores a notification; 202 comes after the commit.
#[utoipa::path(post, path = "/v1/notifications", tag = "notifications", params(("Idempotency-Key" = Option<String>, Header, description = "The same request again has the same answer for a day")), request_body = SendNotification, security(("service_key" = [])), responses((status = 200, body = tidings_shared::push_api::Verdicts, description = "With `validate_only`"), (status = 202, body = Notification)))]
pub(super) async fn send(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let key = idempotency_key(&headers)?;
    let request: SendNotification = refusal::json(body)?;
    if request.validate_only {
        return validate::answer(&gateway, &request, gateway.clock.now_ms()).await;
    }
    let outcomes = accept(&gateway, vec![Ok(Wanted { request, key })]).await?;
    let answer = outcomes.into_iter().next().unwrap_or_else(|| Err(ApiError::internal()))?;
    Ok((StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], answer).into_response())
}

/// Cancels a notification: what was not handed over is not handed over any more.
#[utoipa::path(delete, path = "/v1/notifications/{id}", tag = "notifications", params(("id" = String, Path, description = "The notification")), security(("service_key" = [])), responses((status = 200, body = Notification)))]
pub(super) async fn cancel(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Notification>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let known = store::cancel(gateway.database()?, &id, gateway.clock.now_ms()).await.map_err(refusal::storage)?;
    if !known {
        return Err(unknown());
    }
    let found = store::find(gateway.database()?, &id).await.map_err(refusal::storage)?;
    found.map(Json).ok_or_else(unknown)
}

/// Shows where a notification is.
#[utoipa::path(get, path = "/v1/notifications/{id}", tag = "notifications", params(("id" = String, Path, description = "The notification")), security(("service_key" = [])), responses((status = 200, body = Notification)))]
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Notification>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let found = store::find(gateway.database()?, &id).await.map_err(refusal::storage)?;
    found.map(Json).ok_or_else(unknown)
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "notification_unknown", "no such notification, or it ended too long ago")
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    // What is no text is no key either.
    let key = value.to_str().unwrap_or_default();
    check_key(key).map(|()| Some(key.to_owned()))
}

/// Whether this can be an Idempotency-Key.
pub(super) fn check_key(key: &str) -> Result<(), ApiError> {
    if (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let message = "an Idempotency-Key is 1 to 255 visible ASCII characters without spaces";
    Err(ApiError::new(StatusCode::BAD_REQUEST, "idempotency_key_invalid", message))
}
