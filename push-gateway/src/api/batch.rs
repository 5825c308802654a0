//! Up to a thousand notifications in one request and one transaction, each with a result of its own.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{BatchItem, MAX_BATCH, SendBatch};

use super::acceptance::{Outcome, Wanted, accept};
use super::notifications::check_key;
use super::{Gateway, refusal};

/// Stores up to a thousand notifications, each with a result of its own.
#[utoipa::path(post, path = "/v1/notifications/batch", tag = "notifications", request_body = SendBatch, security(("service_key" = [])), responses((status = 200, body = tidings_shared::push_api::BatchAnswer)))]
pub(super) async fn send(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let batch: SendBatch = refusal::json(body)?;
    let count = batch.notifications.len();
    if !(1..=MAX_BATCH).contains(&count) {
        let message = format!("a batch has 1 to {MAX_BATCH} notifications; this one has {count}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "batch_size_invalid", message));
    }
    let wanted = batch.notifications.into_iter().map(read).collect();
    let outcomes = accept(&gateway, wanted).await?;
    let retry_after = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()?.retry_after_s).max();
    // Joined by hand: what was stored is JSON already. The form is `BatchAnswer`.
    let results: Vec<String> = outcomes.into_iter().map(result).collect();
    let body = format!("{{\"results\":[{}]}}", results.join(","));
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    Ok(response)
}

fn read(value: serde_json::Value) -> Result<Wanted, ApiError> {
    let item = BatchItem::read(value).map_err(|error| {
        ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", format!("the notification does not fit: {error}"))
    })?;
    if item.notification.validate_only {
        let message = "`validate_only` is not for batches; ask with POST /v1/notifications";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", message));
    }
    let key = item.idempotency_key.map(|key| check_key(&key).map(|()| key)).transpose()?;
    Ok(Wanted { request: item.notification, key })
}

fn result(outcome: Outcome) -> String {
    match outcome {
        Ok(answer) => format!("{{\"status\":{},\"notification\":{answer}}}", StatusCode::ACCEPTED.as_u16()),
        Err(refusal) => format!("{{\"status\":{},\"error\":{}}}", refusal.status.as_u16(), refusal.as_json()),
    }
}
