//! Apps report what became of pushes, and backends look at timelines.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{Receipt, ReceiptTaken, Timeline};

use super::caller::Caller;
use super::{Gateway, refusal};
use crate::receipts::store::{self, About, Report};
use crate::receipts::{PAGE, timeline};

/// Takes a receipt; one that comes again changes nothing.
#[utoipa::path(post, path = "/v1/receipts", tag = "receipts", request_body = Receipt,
    security(("app_token" = []), ("service_key" = [])), responses((status = 200, body = ReceiptTaken)))]
pub(super) async fn take(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ReceiptTaken>, ApiError> {
    let caller = Caller::of(&headers, &gateway).await?;
    let receipt: Receipt = refusal::json(body)?;
    let about = match (&receipt.notification, &receipt.target) {
        (Some(id), None) => About::Notification { id, device: receipt.device.as_deref() },
        (None, Some(id)) => About::Target(id),
        _ => {
            let message = "a receipt names exactly one of `notification` and `target`";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", message));
        }
    };
    let user = match &caller {
        Caller::User(user) => Some(user),
        Caller::Service => None,
    };
    let now_ms = gateway.clock.now_ms();
    let report = Report { about, user, event: receipt.event, at_ms: receipt.at_ms.unwrap_or(now_ms), now_ms };
    let events = &gateway.rooms.events;
    let recorded = store::record(gateway.database()?, report, events.wanted()).await.map_err(refusal::storage)?;
    if recorded.found == 0 {
        let message = "no such push was made for a device of this user, or it is too long ago";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "notification_unknown", message));
    }
    if let Some(seq) = recorded.seq {
        events.written(seq);
    }
    let new = u64::try_from(recorded.new).unwrap_or(u64::MAX);
    gateway.metrics.registry.receipts(receipt.event, new);
    Ok(Json(ReceiptTaken { new }))
}

/// Where the next page begins.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    after: Option<String>,
}

/// Shows what happened to a notification, step by step, at each of its targets.
#[utoipa::path(get, path = "/v1/notifications/{id}/timeline", tag = "notifications",
    params(("id" = String, Path, description = "The notification"),
        ("after" = Option<String>, Query, description = "The last target of the page before")),
    security(("service_key" = [])), responses((status = 200, body = Timeline)))]
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    page: Result<Query<Page>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Timeline>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let page = page.map_err(|_| {
        let message = "the address takes one parameter, `after`: the last target of the page before";
        ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", message)
    })?;
    let database = gateway.database()?;
    let accepted = store::accepted_at(database, &id).await.map_err(refusal::storage)?;
    let accepted_at_ms = accepted.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "notification_unknown", "no such notification, or it ended too long ago")
    })?;
    let after = page.0.after.unwrap_or_default();
    let mut times = store::times(database, &id, &after, PAGE + 1).await.map_err(refusal::storage)?;
    let more = i64::try_from(times.len()).is_ok_and(|found| found > PAGE);
    if more {
        times.pop();
    }
    let next = times.last().filter(|_| more).map(|target| target.id.clone());
    Ok(Json(Timeline { id, accepted_at_ms, targets: times.into_iter().map(timeline).collect(), next }))
}
