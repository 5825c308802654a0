//! `GET` and `HEAD /v1/passes/{passType}/{serial}`: the pass itself.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, IF_MODIFIED_SINCE, LAST_MODIFIED, VARY};
use http::{HeaderMap, StatusCode};
use tidings_shared::http::ApiError;

use super::authenticate::{Refusal, authenticate};
use super::path::Segments;
use super::registration::check_pass_type;
use super::{Door, Service, http_date};
use crate::package::Kind;
use crate::store::{PassId, PassRow};
use crate::update::ChangeError;

/// The media type of a pass.
pub(super) const PKPASS: &str = "application/vnd.apple.pkpass";

pub(super) async fn get(State(door): State<Door>, segments: Segments, headers: HeaderMap) -> Result<Response, Refusal> {
    let service = door.service()?;
    let id = segments
        .id(2)
        .zip(segments.id(3))
        // An order's token opens no pass, whatever the path says.
        .filter(|(pass_type, _)| Kind::of(pass_type) == Kind::Pass)
        .map(|(pass_type, serial)| PassId { pass_type: pass_type.to_owned(), serial: serial.to_owned() });
    let (pass, token) = authenticate(&service, &headers, id.as_ref()).await?;
    check_pass_type(&service, &pass.id)?;
    let pass = current(&service, pass).await?;
    let asked = headers.get(IF_MODIFIED_SINCE).and_then(|value| http_date::parse(value.to_str().ok()?));
    if asked == Some(pass.last_modified) {
        return Ok((StatusCode::NOT_MODIFIED, common_headers(&pass)).into_response());
    }
    let headers = common_headers(&pass);
    let package = build(&service, pass, token).await?;
    Ok((headers, [(CONTENT_TYPE, PKPASS)], package).into_response())
}

/// What every answer about a pass carries: no cache may give it to another token or keep it unasked.
pub(super) fn common_headers(pass: &PassRow) -> [(http::HeaderName, String); 3] {
    [
        (LAST_MODIFIED, http_date::text(pass.last_modified)),
        (CACHE_CONTROL, "private, no-cache".to_owned()),
        (VARY, "Authorization".to_owned()),
    ]
}

/// The pass as its template is today; as it was made where that cannot render it.
pub(super) async fn current(service: &Service, pass: PassRow) -> Result<PassRow, ApiError> {
    service.passes.refresh_or_keep(pass).await.map_err(|error| match error {
        ChangeError::Storage(error) => {
            tracing::error!(%error, "a pass cannot be brought up to date");
            super::unavailable()
        }
        error => {
            tracing::error!(%error, "a pass cannot be rendered");
            ApiError::internal()
        }
    })
}

/// The signed package.
pub(super) async fn build(service: &Arc<Service>, pass: PassRow, token: String) -> Result<Vec<u8>, ApiError> {
    let template = service.passes.template_of(&pass).await.map_err(|error| {
        tracing::error!(%error, template = pass.template, "a pass's template is missing");
        ApiError::internal()
    })?;
    let Some(builder) = service.passes.issuers().get(&pass.id.pass_type).cloned() else {
        tracing::error!(pass_type = pass.id.pass_type, "there is no certificate for a pass's type");
        return Err(ApiError::internal());
    };
    let now_ms = service.clock.now_ms();
    let built = tokio::task::spawn_blocking(move || builder.build(&template, pass.content(), &token, now_ms));
    match built.await {
        Ok(Ok(package)) => {
            service.metrics.packages.inc();
            Ok(package)
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "a package cannot be built");
            Err(ApiError::internal())
        }
        Err(error) => {
            tracing::error!(%error, "building a package ended in a panic");
            Err(ApiError::internal())
        }
    }
}
