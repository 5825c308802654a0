//! `POST` and `DELETE /v1/devices/{device}/registrations/{passType}/{serial}`.

use axum::extract::{Request, State};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tidings_shared::http::ApiError;

use super::authenticate::{Refusal, authenticate, client};
use super::path::{Segments, body};
use super::{Door, Service, unavailable};
use crate::store::{PassId, Registered};

const LARGEST_BODY: usize = 16 * 1024;
const LONGEST_PUSH_TOKEN: usize = 1024;

pub(super) async fn register(
    State(door): State<Door>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let service = door.service()?;
    let id = pass_of(&segments);
    if let Err(refusal) = authenticate(&service, &headers, id.as_ref()).await {
        return Err(of_another_type(&service, &headers, id.as_ref(), refusal).await);
    }
    let (Some(device), Some(id)) = (segments.id(2), id) else { return Err(Refusal::Unauthorized) };
    check_pass_type(&service, &id)?;
    let bytes = body(request, LARGEST_BODY).await?;
    let push_token = push_token(&bytes).ok_or_else(|| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_registration",
            "the body is JSON of the form {\"pushToken\":\"…\"}",
        )
    })?;
    let client = client(&headers);
    let registered =
        service.store.register(device, client, &id, &push_token, service.clock.now_ms()).await.map_err(|error| {
            tracing::error!(%error, "a registration cannot be stored");
            unavailable()
        })?;
    match registered {
        Registered::New => {
            service.metrics.registered(client.as_str());
            Ok(StatusCode::CREATED)
        }
        Registered::Known => Ok(StatusCode::OK),
        Registered::Gone => Err(Refusal::Unauthorized),
    }
}

pub(super) async fn unregister(
    State(door): State<Door>,
    segments: Segments,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let service = door.service()?;
    let id = pass_of(&segments);
    authenticate(&service, &headers, id.as_ref()).await?;
    if let (Some(device), Some(id)) = (segments.id(2), id) {
        service.store.unregister(device, &id).await.map_err(|error| {
            tracing::error!(%error, "a registration cannot be removed");
            unavailable()
        })?;
    }
    Ok(StatusCode::OK)
}

fn pass_of(segments: &Segments) -> Option<PassId> {
    Some(PassId { pass_type: segments.id(4)?.to_owned(), serial: segments.id(5)?.to_owned() })
}

/// Who has the token of a pass of one of our types with that serial number is told that the type is wrong.
async fn of_another_type(service: &Service, headers: &HeaderMap, id: Option<&PassId>, refusal: Refusal) -> Refusal {
    let issuers = service.passes.issuers();
    let Some(id) = id.filter(|id| issuers.get(&id.pass_type).is_none()) else { return refusal };
    for builder in issuers.iter() {
        let same_serial = PassId { pass_type: builder.issuer().pass_type.clone(), serial: id.serial.clone() };
        match authenticate(service, headers, Some(&same_serial)).await {
            Ok(_) => return check_pass_type(service, id).map_or_else(Refusal::Error, |()| refusal),
            Err(Refusal::Unauthorized) => {}
            Err(other) => return other,
        }
    }
    refusal
}

/// A pass of a type without a certificate here could never be updated: somebody has to look at that.
pub(super) fn check_pass_type(service: &Service, id: &PassId) -> Result<(), ApiError> {
    let issuers = service.passes.issuers();
    if issuers.get(&id.pass_type).is_some() {
        return Ok(());
    }
    service.metrics.foreign_pass_types.inc();
    tracing::error!(
        pass_type = id.pass_type,
        ours = issuers.types(),
        "a device asks for a pass of a type that no signing certificate is for: was the certificate replaced by another type's?"
    );
    Err(ApiError::new(StatusCode::NOT_FOUND, "pass_type_not_served", "passes of this type are not served here"))
}

fn push_token(bytes: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(bytes).ok()?;
    let token = body.get("pushToken")?.as_str()?.trim();
    ((1..=LONGEST_PUSH_TOKEN).contains(&token.len()) && !token.contains('\0')).then(|| token.to_owned())
}
