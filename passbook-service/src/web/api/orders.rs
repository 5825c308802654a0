//! `/api/orders`: orders of Apple's order tracking.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tidings_shared::http::ApiError;

use super::answer::{created as made, json as parsed, storage};
use super::passes::{pass_id, token_for};
use crate::order::{CreateOrder, MEDIA_TYPE, OrderError, Orders, PatchOrder};
use crate::package::Kind;
use crate::store::{PassId, PassRow};
use crate::update::tag_text;
use crate::web::path::{Segments, body, encode};
use crate::web::{Door, Service, http_date, order as order_of, pass as package_of};

const LARGEST_BODY: usize = 256 * 1024;

/// Makes an order.
#[utoipa::path(post, path = "/api/orders", tag = "orders", request_body = CreateOrder,
    security(("service_key" = [])), responses((status = 201, body = Object)))]
pub(super) async fn create(State(door): State<Door>, request: Request) -> Result<Response, ApiError> {
    let service = door.service()?;
    let create = parsed(&body(request, LARGEST_BODY).await?)?;
    let (id, token) = Orders(&service).create(create).await.map_err(refusal)?;
    let url = address(&service, &id);
    let answer = json!({
        "orderTypeIdentifier": id.pass_type,
        "orderIdentifier": id.serial,
        "authenticationToken": token,
        "webServiceURL": service.public_url,
        "url": format!("{url}/package"),
    });
    Ok(made(answer, &url))
}

/// Changes an order: the body's `order` is laid over its content (RFC 7396).
#[utoipa::path(patch, path = "/api/orders/{order_type}/{order_identifier}", tag = "orders",
    params(("order_type" = String, Path, description = "Order type identifier"), ("order_identifier" = String, Path, description = "Order identifier")),
    request_body = PatchOrder, security(("service_key" = [])),
    responses((status = 200, body = Object), (status = 202, body = Object)))]
pub(super) async fn patch(
    State(door): State<Door>,
    segments: Segments,
    request: Request,
) -> Result<Response, ApiError> {
    let service = door.service()?;
    let id = order_id(&segments)?;
    let patch: PatchOrder = parsed(&body(request, LARGEST_BODY).await?)?;
    let (stored, tag) = Orders(&service).patch(&id, &patch).await.map_err(refusal)?;
    let tag = match tag {
        Some(tag) => Some(tag_text(&epoch(&service).await?, tag)),
        None => None,
    };
    let status = if tag.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let answer = json!({
        "orderTypeIdentifier": id.pass_type,
        "orderIdentifier": id.serial,
        "changed": stored.change.is_some(),
        "tag": tag,
        "lastModified": http_date::text(stored.pass.last_modified),
    });
    Ok((status, Json(answer)).into_response())
}

/// Shows an order.
#[utoipa::path(get, path = "/api/orders/{order_type}/{order_identifier}", tag = "orders",
    params(("order_type" = String, Path, description = "Order type identifier"), ("order_identifier" = String, Path, description = "Order identifier")),
    security(("service_key" = [])), responses((status = 200, body = Object)))]
pub(super) async fn state(State(door): State<Door>, segments: Segments) -> Result<Json<Value>, ApiError> {
    let service = door.service()?;
    let order = find(&service, &segments).await?;
    let tag = service.store.tag_of(&order.id).await.map_err(|error| storage(&error))?;
    let devices = service.store.registrations_of(&order.id).await.map_err(|error| storage(&error))?;
    let mut rendered = Orders(&service).rendered(&order).map_err(refusal)?;
    if let Some(rendered) = rendered.as_object_mut() {
        rendered.shift_remove("authenticationToken");
    }
    Ok(Json(json!({
        "orderTypeIdentifier": order.id.pass_type,
        "orderIdentifier": order.id.serial,
        "template": order.template,
        "order": rendered,
        "tag": tag_text(&epoch(&service).await?, tag),
        "lastModified": http_date::text(order.last_modified),
        "revision": order.revision,
        "devices": devices,
        "createdAt": order.created_at,
        "updatedAt": order.updated_at,
        "url": format!("{}/package", address(&service, &order.id)),
    })))
}

/// Deletes an order: devices that still have it are answered like strangers.
#[utoipa::path(delete, path = "/api/orders/{order_type}/{order_identifier}", tag = "orders",
    params(("order_type" = String, Path, description = "Order type identifier"), ("order_identifier" = String, Path, description = "Order identifier")),
    security(("service_key" = [])), responses((status = 204)))]
pub(super) async fn delete(State(door): State<Door>, segments: Segments) -> Result<StatusCode, ApiError> {
    let service = door.service()?;
    let deleted = service.store.delete_pass(&order_id(&segments)?).await.map_err(|error| storage(&error))?;
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(no_order()) }
}

/// The signed package.
#[utoipa::path(get, path = "/api/orders/{order_type}/{order_identifier}/package", tag = "orders",
    params(("order_type" = String, Path, description = "Order type identifier"), ("order_identifier" = String, Path, description = "Order identifier")),
    security(("service_key" = [])), responses((status = 200, body = [u8], content_type = "application/vnd.apple.order")))]
pub(super) async fn package(
    State(door): State<Door>,
    segments: Segments,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let service = door.service()?;
    let order = find(&service, &segments).await?;
    let token = token_for(&service, &order, &headers)?;
    let order = Orders(&service).refresh(order).await.map_err(refusal)?;
    let common = package_of::common_headers(&order);
    let package = order_of::build(&service, order, token).await?;
    let types = [(CONTENT_TYPE, MEDIA_TYPE), (CONTENT_DISPOSITION, "attachment; filename=\"order.order\"")];
    Ok((common, types, package).into_response())
}

fn order_id(segments: &Segments) -> Result<PassId, ApiError> {
    // A pass is no order, also when somebody asks for it here.
    pass_id(segments).ok().filter(|id| Kind::of(&id.pass_type) == Kind::Order).ok_or_else(no_order)
}

async fn find(service: &Service, segments: &Segments) -> Result<PassRow, ApiError> {
    service.store.pass(&order_id(segments)?).await.map_err(|error| storage(&error))?.ok_or_else(no_order)
}

async fn epoch(service: &Service) -> Result<String, ApiError> {
    Ok(service.store.clock().await.map_err(|error| storage(&error))?.epoch)
}

fn address(service: &Service, id: &PassId) -> String {
    format!("{}/api/orders/{}/{}", service.public_url, encode(&id.pass_type), encode(&id.serial))
}

fn no_order() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "order_unknown", "there is no such order")
}

fn refusal(error: OrderError) -> ApiError {
    let (status, code) = match &error {
        OrderError::NoOrder => return no_order(),
        OrderError::Exists => (StatusCode::CONFLICT, "order_exists"),
        OrderError::NoTemplate(..) => (StatusCode::UNPROCESSABLE_ENTITY, "template_unknown"),
        OrderError::BadIdentifier => (StatusCode::UNPROCESSABLE_ENTITY, "order_identifier_invalid"),
        OrderError::NotServed(_) => (StatusCode::CONFLICT, "order_type_not_served"),
        OrderError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "order_invalid"),
        OrderError::Storage(error) => return storage(error),
        OrderError::Internal(error) => {
            tracing::error!(%error, "a change of an order failed");
            return ApiError::internal();
        }
    };
    ApiError::new(status, code, error.to_string())
}
