//! `GET /v1/devices/{device}/registrations/{passType}?passesUpdatedSince=TAG`: what changed? For
//! orders the parameter is `ordersModifiedSince`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use serde::Serialize;
use tidings_shared::http::ApiError;

use super::path::{Segments, query_parameter};
use super::{Door, unavailable};
use crate::package::Kind;
use crate::update::{Since, since, tag_text};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changes {
    serial_numbers: Vec<String>,
    /// A text, always: some clients break on a number.
    last_updated: String,
}

/// The same about orders, in Apple's other words.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderChanges {
    order_identifiers: Vec<String>,
    last_modified: String,
}

pub(super) async fn list(State(door): State<Door>, segments: Segments, uri: Uri) -> Result<Response, ApiError> {
    let service = door.service()?;
    let (Some(device), Some(pass_type)) = (segments.id(2), segments.id(4)) else {
        // Nobody has such an id; an unknown device is never an error.
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let is_order = Kind::of(pass_type) == Kind::Order;
    let brought = query_parameter(&uri, if is_order { "ordersModifiedSince" } else { "passesUpdatedSince" });
    let failed = |error: tidings_shared::storage::StorageError| {
        tracing::error!(%error, "changes cannot be listed");
        unavailable()
    };
    // The clock first: a tag that the device got before this moment is not from the future.
    let clocks = service.store.clock().await.map_err(failed)?;
    let wanted = since(brought.as_deref(), &clocks);
    let changes = service.store.list(device, pass_type, wanted.after()).await.map_err(failed)?;
    let seen = match wanted {
        Since::After(tag) => Some(tag),
        Since::All => None,
    };
    let (told, now_ms) = (clocks.last_tag, service.clock.now_ms());
    if let Err(error) = service.store.note_list(device, pass_type, seen, told, !changes.is_empty(), now_ms).await {
        tracing::warn!(%error, "that a device has asked cannot be noted");
    }
    let Some(greatest) = changes.iter().map(|change| change.tag).max() else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let serials: Vec<String> = changes.into_iter().map(|change| change.serial).collect();
    let tag = tag_text(&clocks.epoch, greatest);
    let no_store = [(http::header::CACHE_CONTROL, "no-store")];
    if is_order {
        let body = OrderChanges { order_identifiers: serials, last_modified: tag };
        return Ok((no_store, Json(body)).into_response());
    }
    let body = Changes { serial_numbers: serials, last_updated: tag };
    Ok((no_store, Json(body)).into_response())
}
