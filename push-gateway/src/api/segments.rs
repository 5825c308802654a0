//! Backends describe sets of devices and give them names.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use sqlx::AnyConnection;
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{NamedSegment, Segment, SegmentCount, SegmentTarget, Segments, Where};

use super::{Gateway, names, refusal};
use crate::segments::{self, store};

/// Stores a segment.
#[utoipa::path(put, path = "/v1/segments/{name}", tag = "segments", params(("name" = String, Path, description = "Its name")),
    request_body = Segment, security(("service_key" = [])),
    responses((status = 200, body = NamedSegment), (status = 201, body = NamedSegment)))]
pub(super) async fn put(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    names::check(&name)?;
    let segment: Segment = refusal::json(body)?;
    let filter = checked(segment.filter)?;
    let database = gateway.database()?;
    let mut connection = database.pool().acquire().await.map_err(refusal::storage)?;
    let known = store::find(&mut connection, &name).await.map_err(refusal::storage)?;
    drop(connection);
    let now_ms = gateway.clock.now_ms();
    store::put(database, &name, &filter, now_ms).await.map_err(refusal::storage)?;
    let status = if known.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(NamedSegment { name, filter, updated_at_ms: now_ms })).into_response())
}

/// Shows a segment.
#[utoipa::path(get, path = "/v1/segments/{name}", tag = "segments", params(("name" = String, Path, description = "Its name")),
    security(("service_key" = [])), responses((status = 200, body = NamedSegment)))]
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<NamedSegment>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let mut connection = gateway.database()?.pool().acquire().await.map_err(refusal::storage)?;
    find(&mut connection, &name).await.map(Json)
}

/// Lists the segments.
#[utoipa::path(get, path = "/v1/segments", tag = "segments", security(("service_key" = [])),
    responses((status = 200, body = Segments)))]
pub(super) async fn list(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Json<Segments>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let segments = store::all(gateway.database()?).await.map_err(refusal::storage)?;
    Ok(Json(Segments { segments }))
}

/// Counts the devices of a segment as they are now.
#[utoipa::path(get, path = "/v1/segments/{name}/count", tag = "segments",
    params(("name" = String, Path, description = "Its name")), security(("service_key" = [])),
    responses((status = 200, body = SegmentCount)))]
pub(super) async fn count(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<SegmentCount>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let database = gateway.database()?;
    let mut connection = database.pool().acquire().await.map_err(refusal::storage)?;
    let segment = find(&mut connection, &name).await?;
    drop(connection);
    let devices = store::count(database, &segment.filter, gateway.clock.now_ms()).await.map_err(refusal::storage)?;
    Ok(Json(SegmentCount { devices }))
}

/// Removes a segment. Notifications that were accepted for it go on.
#[utoipa::path(delete, path = "/v1/segments/{name}", tag = "segments", params(("name" = String, Path, description = "Its name")),
    security(("service_key" = [])), responses((status = 204)))]
pub(super) async fn remove(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let removed = store::remove(gateway.database()?, &name).await.map_err(refusal::storage)?;
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(&name)) }
}

/// The name, if it has one, and the expression of the segment that a notification goes to.
pub(super) async fn resolve(
    connection: &mut AnyConnection,
    to: &SegmentTarget,
) -> Result<(Option<String>, Where), ApiError> {
    match to {
        SegmentTarget::Named(name) => Ok((Some(name.clone()), find(connection, name).await?.filter)),
        SegmentTarget::Inline(segment) => Ok((None, checked(segment.filter.clone())?)),
    }
}

async fn find(connection: &mut AnyConnection, name: &str) -> Result<NamedSegment, ApiError> {
    let found = store::find(connection, name).await.map_err(refusal::storage)?;
    found.ok_or_else(|| unknown(name))
}

fn checked(filter: Where) -> Result<Where, ApiError> {
    segments::checked(filter)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "segment_invalid", error.to_string()))
}

fn unknown(name: &str) -> ApiError {
    names::unknown("segment_unknown", "segment", name)
}
