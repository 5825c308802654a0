//! `/api/links` and `/api/bundles`: giving passes to people.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use tidings_shared::http::ApiError;
use utoipa::ToSchema;

use super::answer::{json as parsed, no_pass, storage};
use super::passes::{LARGEST_BODY, PASS_TOKEN, token_for};
use crate::link::{LinkedPass, MOST_PASSES};
use crate::store::{PassId, PassRow};
use crate::web::path::body;
use crate::web::{Door, Service, bundle};

/// A pass to be given away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Given {
    /// Pass type identifier; absent: the first configured one.
    pass_type: Option<String>,
    serial: String,
    /// Its token, where tokens are random and the service keeps only hashes.
    token: Option<String>,
}

/// Which passes, and until when.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MakeLink {
    /// 1 to 10.
    passes: Vec<Given>,
    /// For how many seconds; absent: `wallet.links.ttl`.
    ttl: Option<i64>,
}

/// A link.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link {
    /// Whoever has it gets the passes, until its end.
    url: String,
    /// ms since 1970.
    expires_at: i64,
}

/// Which passes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MakeBundle {
    /// 1 to 10.
    passes: Vec<Given>,
}

/// Makes a link to a page with "Add to Apple Wallet", for one pass or for several.
#[utoipa::path(post, path = "/api/links", tag = "links", request_body = MakeLink, security(("service_key" = [])),
    responses((status = 201, body = Link)))]
pub(super) async fn make(State(door): State<Door>, request: Request) -> Result<Response, ApiError> {
    let service = door.service()?;
    let asked: MakeLink = parsed(&body(request, LARGEST_BODY).await?)?;
    let passes = found(&service, asked.passes).await?;
    let random = service.passes.holds_hashes_only();
    let linked = passes.into_iter().map(|(pass, token)| {
        let needed = random || service.passes.token_of(&pass).is_none();
        LinkedPass::new(&pass.id, needed.then_some(token))
    });
    let (url, expires_at) = service.download_link(linked.collect(), asked.ttl)?;
    let mut response = (StatusCode::CREATED, Json(Link { url, expires_at })).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Several passes as one `.pkpasses` file: 10 at most, 150 MB at most.
#[utoipa::path(post, path = "/api/bundles", tag = "links", request_body = MakeBundle, security(("service_key" = [])),
    responses((status = 200, body = Vec<u8>, content_type = "application/vnd.apple.pkpasses")))]
pub(super) async fn pack(State(door): State<Door>, request: Request) -> Result<Response, ApiError> {
    let service = door.service()?;
    let asked: MakeBundle = parsed(&body(request, LARGEST_BODY).await?)?;
    let passes = found(&service, asked.passes).await?;
    let bundle = bundle::pack(&service, passes).await?;
    let headers = [
        (CONTENT_TYPE, bundle::PKPASSES),
        (CONTENT_DISPOSITION, "attachment; filename=\"passes.pkpasses\""),
        (CACHE_CONTROL, "private, no-store"),
    ];
    Ok((headers, bundle).into_response())
}

/// The passes, each with its token.
async fn found(service: &Arc<Service>, given: Vec<Given>) -> Result<Vec<(PassRow, String)>, ApiError> {
    if !(1..=MOST_PASSES).contains(&given.len()) {
        let message = format!("passes: found {}; 1 to {MOST_PASSES} go together, Wallet takes no more", given.len());
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "request_invalid", message));
    }
    let mut passes = Vec::new();
    for one in given {
        let pass_type = one.pass_type.unwrap_or_else(|| service.passes.issuers().default_type().to_owned());
        let id = PassId { pass_type, serial: one.serial };
        let pass = service.store.pass(&id).await.map_err(|error| storage(&error))?.ok_or_else(no_pass)?;
        let mut headers = HeaderMap::new();
        if let Some(token) = one.token {
            // What cannot be a header is nobody's token.
            headers.insert(PASS_TOKEN, HeaderValue::from_str(&token).unwrap_or(HeaderValue::from_static("")));
        }
        let token = token_for(service, &pass, &headers)?;
        passes.push((pass, token));
    }
    Ok(passes)
}
