//! `GET` and `HEAD /v1/orders/{orderType}/{orderIdentifier}`: the order itself, with HTTP caching as for passes.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, IF_MODIFIED_SINCE};
use http::{HeaderMap, StatusCode};
use tidings_shared::http::ApiError;

use super::authenticate::{Refusal, authenticate};
use super::pass::common_headers;
use super::path::Segments;
use super::registration::check_pass_type;
use super::{Door, Service, http_date, unavailable};
use crate::order::{MEDIA_TYPE, OrderError, Orders};
use crate::package::Kind;
use crate::store::{PassId, PassRow};

pub(super) async fn get(State(door): State<Door>, segments: Segments, headers: HeaderMap) -> Result<Response, Refusal> {
    let service = door.service()?;
    let id = segments
        .id(2)
        .zip(segments.id(3))
        // A pass's token opens no order, whatever the path says.
        .filter(|(order_type, _)| Kind::of(order_type) == Kind::Order)
        .map(|(order_type, serial)| PassId { pass_type: order_type.to_owned(), serial: serial.to_owned() });
    let (order, token) = authenticate(&service, &headers, id.as_ref()).await?;
    check_pass_type(&service, &order.id)?;
    let order = Orders(&service).refresh(order).await.map_err(failed)?;
    let asked = headers.get(IF_MODIFIED_SINCE).and_then(|value| http_date::parse(value.to_str().ok()?));
    if asked == Some(order.last_modified) {
        return Ok((StatusCode::NOT_MODIFIED, common_headers(&order)).into_response());
    }
    let headers = common_headers(&order);
    let package = build(&service, order, token).await?;
    Ok((headers, [(CONTENT_TYPE, MEDIA_TYPE)], package).into_response())
}

/// The signed package.
pub(super) async fn build(service: &Arc<Service>, order: PassRow, token: String) -> Result<Vec<u8>, ApiError> {
    let building = Arc::clone(service);
    let built = tokio::task::spawn_blocking(move || Orders(&building).build(&order, &token));
    match built.await {
        Ok(built) => built.map_err(failed),
        Err(error) => {
            tracing::error!(%error, "building an order ended in a panic");
            Err(ApiError::internal())
        }
    }
}

fn failed(error: OrderError) -> ApiError {
    tracing::error!(%error, "an order cannot be served");
    match error {
        OrderError::Storage(_) => unavailable(),
        _ => ApiError::internal(),
    }
}
