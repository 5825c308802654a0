//! `/api/passes`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use tidings_shared::http::ApiError;

use super::answer::{json as parsed, no_pass, refusal, storage};
use crate::store::{PassId, PassRow};
use crate::token;
use crate::update::{Create, Patch, tag_text};
use crate::web::path::{Segments, body, encode};
use crate::web::{Door, Service, http_date, pass as package_of};

const LARGEST_BODY: usize = 256 * 1024;
/// Carries a pass's own token where `Authorization` carries the service key.
const PASS_TOKEN: &str = "pass-token";

/// Makes a pass.
#[utoipa::path(post, path = "/api/passes", tag = "passes", request_body = Create,
    security(("service_key" = [])), responses((status = 201, body = Object)))]
pub(super) async fn create(State(door): State<Door>, request: Request) -> Result<Response, ApiError> {
    let service = door.service()?;
    let create = parsed(&body(request, LARGEST_BODY).await?)?;
    let created = service.passes.create(create).await.map_err(refusal)?;
    let url = address(&service, &created.id);
    let answer = json!({
        "passTypeIdentifier": created.id.pass_type,
        "serialNumber": created.id.serial,
        "authenticationToken": created.token,
        "url": format!("{url}/package"),
    });
    let mut response = (StatusCode::CREATED, Json(answer)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(location) = HeaderValue::from_str(&url) {
        response.headers_mut().insert(http::header::LOCATION, location);
    }
    Ok(response)
}

/// Changes a pass: fields are merged one by one.
#[utoipa::path(patch, path = "/api/passes/{pass_type}/{serial}", tag = "passes",
    params(("pass_type" = String, Path, description = "Pass type identifier"), ("serial" = String, Path, description = "Serial number")),
    request_body = Patch, security(("service_key" = [])),
    responses((status = 200, body = Object), (status = 202, body = Object)))]
pub(super) async fn patch(
    State(door): State<Door>,
    segments: Segments,
    request: Request,
) -> Result<Response, ApiError> {
    let service = door.service()?;
    let id = pass_id(&segments)?;
    let patch = parsed(&body(request, LARGEST_BODY).await?)?;
    let changed = service.passes.patch(&id, patch).await.map_err(refusal)?;
    let tag = match changed.tag {
        Some(tag) => Some(tag_text(&epoch(&service).await?, tag)),
        None => None,
    };
    // Committed without a tag yet: it will be listed, and the caller may ask for the tag later.
    let status = if tag.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let answer = json!({
        "passTypeIdentifier": id.pass_type,
        "serialNumber": id.serial,
        "changed": changed.changed,
        "tag": tag,
        "lastModified": http_date::text(changed.pass.last_modified),
    });
    Ok((status, Json(answer)).into_response())
}

/// Shows a pass.
#[utoipa::path(get, path = "/api/passes/{pass_type}/{serial}", tag = "passes",
    params(("pass_type" = String, Path, description = "Pass type identifier"), ("serial" = String, Path, description = "Serial number")),
    security(("service_key" = [])), responses((status = 200, body = Object)))]
pub(super) async fn state(State(door): State<Door>, segments: Segments) -> Result<Json<Value>, ApiError> {
    let service = door.service()?;
    let pass = find(&service, &segments).await?;
    let tag = service.store.tag_of(&pass.id).await.map_err(|error| storage(&error))?;
    let devices = service.store.registrations_of(&pass.id).await.map_err(|error| storage(&error))?;
    Ok(Json(json!({
        "passTypeIdentifier": pass.id.pass_type,
        "serialNumber": pass.id.serial,
        "template": pass.template,
        "fields": pass.fields,
        "userInfo": pass.user_info,
        "tag": tag_text(&epoch(&service).await?, tag),
        "lastModified": http_date::text(pass.last_modified),
        "revision": pass.revision,
        "devices": devices,
        "tokenAlgorithm": pass.token_algorithm.as_str(),
        "tokenDerivable": service.passes.token_of(&pass).is_some(),
        "createdAt": pass.created_at,
        "updatedAt": pass.updated_at,
        "url": format!("{}/package", address(&service, &pass.id)),
    })))
}

/// Deletes a pass: devices that still have it are answered like strangers.
#[utoipa::path(delete, path = "/api/passes/{pass_type}/{serial}", tag = "passes",
    params(("pass_type" = String, Path, description = "Pass type identifier"), ("serial" = String, Path, description = "Serial number")),
    security(("service_key" = [])), responses((status = 204)))]
pub(super) async fn delete(State(door): State<Door>, segments: Segments) -> Result<StatusCode, ApiError> {
    let service = door.service()?;
    service.passes.delete(&pass_id(&segments)?).await.map_err(refusal)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The signed package.
#[utoipa::path(get, path = "/api/passes/{pass_type}/{serial}/package", tag = "passes",
    params(("pass_type" = String, Path, description = "Pass type identifier"), ("serial" = String, Path, description = "Serial number")),
    security(("service_key" = [])), responses((status = 200, body = [u8], content_type = "application/vnd.apple.pkpass")))]
pub(super) async fn package(
    State(door): State<Door>,
    segments: Segments,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let service = door.service()?;
    let pass = find(&service, &segments).await?;
    if service.passes.builder(&pass.id.pass_type).is_err() {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "pass_type_not_served",
            "there is no signing certificate for this pass type",
        ));
    }
    let token = token_for(&service, &pass, &headers)?;
    let pass = package_of::current(&service, pass).await?;
    let common = package_of::common_headers(&pass);
    let name: String = pass
        .id
        .serial
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' })
        .collect();
    let package = package_of::build(&service, pass, token).await?;
    let disposition = format!("attachment; filename=\"{name}.pkpass\"");
    Ok((common, [(CONTENT_TYPE, package_of::PKPASS.to_owned()), (CONTENT_DISPOSITION, disposition)], package)
        .into_response())
}

/// The token that goes into the package: the one that the caller brings, or the derived one. A random token is known
/// to its pass alone.
pub(super) fn token_for(service: &Service, pass: &PassRow, headers: &HeaderMap) -> Result<String, ApiError> {
    match headers.get(PASS_TOKEN).map(|value| value.to_str().unwrap_or_default()) {
        Some(presented) if token::fits(presented, Some((pass.token_algorithm, &pass.token_hash))) => Ok(presented.to_owned()),
        Some(_) => Err(ApiError::new(StatusCode::FORBIDDEN, "pass_token_wrong", "the header Pass-Token does not hold this pass's token")),
        None => service.passes.token_of(pass).ok_or_else(|| {
            let message = "this pass's token is not known to the service, which keeps only its hash: send it in the header Pass-Token";
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "pass_token_required", message)
        }),
    }
}

async fn find(service: &Arc<Service>, segments: &Segments) -> Result<PassRow, ApiError> {
    service.store.pass(&pass_id(segments)?).await.map_err(|error| storage(&error))?.ok_or_else(no_pass)
}

pub(super) fn pass_id(segments: &Segments) -> Result<PassId, ApiError> {
    let (pass_type, serial) = segments.id(2).zip(segments.id(3)).ok_or_else(no_pass)?;
    Ok(PassId { pass_type: pass_type.to_owned(), serial: serial.to_owned() })
}

async fn epoch(service: &Service) -> Result<String, ApiError> {
    Ok(service.store.clock().await.map_err(|error| storage(&error))?.epoch)
}

fn address(service: &Service, id: &PassId) -> String {
    format!("{}/api/passes/{}/{}", service.public_url, encode(&id.pass_type), encode(&id.serial))
}
