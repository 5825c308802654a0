//! `/api/passes`.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidings_shared::http::ApiError;
use utoipa::ToSchema;

use super::answer::{created as made, json as parsed, no_pass, refusal, storage};
use super::templates::svg;
use crate::link::LinkedPass;
use crate::package::{ChangeMessage, Preview};
use crate::store::{PassId, PassQuery, PassRow};
use crate::token;
use crate::update::{Create, Patch, tag_text};
use crate::web::path::{Segments, body, encode, query_parameter};
use crate::web::{Door, Service, http_date, pass as package_of};

pub(super) const LARGEST_BODY: usize = 256 * 1024;
/// Carries a pass's own token where `Authorization` carries the service key.
pub(super) const PASS_TOKEN: &str = "pass-token";

/// A pass that was made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreatedPass {
    pass_type_identifier: String,
    serial_number: String,
    /// Shown this once where tokens are random.
    authentication_token: String,
    /// The package, for a service key.
    url: String,
    /// A page that gives the pass to anybody who has this address, until its end (`wallet.links.ttl`).
    download_url: String,
}

/// What a change did.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangedPass {
    pass_type_identifier: String,
    serial_number: String,
    /// Whether anything on the pass changed.
    changed: bool,
    /// The tag under which devices see it; null: it is committed, and its tag is still to come.
    tag: Option<String>,
    last_modified: String,
    /// What phones show.
    messages: Vec<ChangeMessage>,
}

/// A pass.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownPass {
    pass_type_identifier: String,
    serial_number: String,
    template: String,
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    fields: Map<String, Value>,
    user_info: Option<Value>,
    voided: bool,
    expiration_date: Option<String>,
    /// Absent in the answer of a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    last_modified: String,
    /// Counts the changes, from 1.
    revision: i64,
    /// How many devices have it. Absent in the answer of a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    devices: Option<i64>,
    /// How the token's hash was made.
    token_algorithm: &'static str,
    /// Whether the service can make the package without being told the token.
    token_derivable: bool,
    /// ms since 1970.
    created_at: i64,
    /// ms since 1970.
    updated_at: i64,
    url: String,
}

/// A search.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Search {
    /// Which passes.
    query: PassQuery,
    /// At most this many, 500 at most (default 50).
    limit: Option<i64>,
    /// `next` of the answer before.
    after: Option<String>,
}

/// What a search found, by pass type and serial number.
#[derive(Serialize, ToSchema)]
pub(super) struct Found {
    passes: Vec<ShownPass>,
    /// How many there are in all; only in the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<i64>,
    /// Goes on where this answer ends, if there are more.
    next: Option<String>,
}

/// Makes a pass.
#[utoipa::path(post, path = "/api/passes", tag = "passes", request_body = Create,
    security(("service_key" = [])), responses((status = 201, body = CreatedPass)))]
pub(super) async fn create(State(door): State<Door>, request: Request) -> Result<Response, ApiError> {
    let service = door.service()?;
    let create = parsed(&body(request, LARGEST_BODY).await?)?;
    let created = service.passes.create(create).await.map_err(refusal)?;
    let url = address(&service, &created.id);
    let token = service.passes.holds_hashes_only().then(|| created.token.clone());
    let (download_url, _) = service.download_link(vec![LinkedPass::new(&created.id, token)], None)?;
    let answer = CreatedPass {
        pass_type_identifier: created.id.pass_type,
        serial_number: created.id.serial,
        authentication_token: created.token,
        url: format!("{url}/package"),
        download_url,
    };
    Ok(made(answer, &url))
}

/// Changes a pass: fields are merged one by one. With `dryRun=true` nothing changes, and the answer says what would.
#[utoipa::path(patch, path = "/api/passes/{pass_type}/{serial}", tag = "passes",
    params(("pass_type" = String, Path, description = "Pass type identifier"), ("serial" = String, Path, description = "Serial number")),
    request_body = Patch, security(("service_key" = [])),
    responses((status = 200, body = ChangedPass), (status = 202, body = ChangedPass)))]
pub(super) async fn patch(
    State(door): State<Door>,
    segments: Segments,
    request: Request,
) -> Result<Response, ApiError> {
    let service = door.service()?;
    let id = pass_id(&segments)?;
    let at_once = prefers_no_wait(request.headers());
    let dry_run = query_parameter(request.uri(), "dryRun").is_some_and(|text| text != "false");
    let patch: Patch = parsed(&body(request, LARGEST_BODY).await?)?;
    if dry_run {
        let pass = find(&service, &segments).await?;
        let (changed, messages) = service.passes.rehearse(&pass, &patch).map_err(refusal)?;
        let answer = ChangedPass {
            pass_type_identifier: id.pass_type,
            serial_number: id.serial,
            changed,
            tag: None,
            last_modified: http_date::text(pass.last_modified),
            messages,
        };
        return Ok(Json(answer).into_response());
    }
    if at_once {
        let stored = service.passes.patch_and_go(&id, &patch).await.map_err(refusal)?;
        let answer = ChangedPass {
            pass_type_identifier: id.pass_type,
            serial_number: id.serial,
            changed: stored.change.is_some(),
            tag: None,
            last_modified: http_date::text(stored.pass.last_modified),
            messages: Vec::new(),
        };
        return Ok((StatusCode::ACCEPTED, [("preference-applied", "respond-async")], Json(answer)).into_response());
    }
    let changed = service.passes.patch(&id, patch).await.map_err(refusal)?;
    let tag = match changed.tag {
        Some(tag) => Some(tag_text(&epoch(&service).await?, tag)),
        None => None,
    };
    // Committed without a tag yet: it will be listed, and the caller may ask for the tag later.
    let status = if tag.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let answer = ChangedPass {
        pass_type_identifier: id.pass_type,
        serial_number: id.serial,
        changed: changed.changed,
        tag,
        last_modified: http_date::text(changed.pass.last_modified),
        messages: changed.messages,
    };
    Ok((status, Json(answer)).into_response())
}

/// Shows a pass.
#[utoipa::path(get, path = "/api/passes/{pass_type}/{serial}", tag = "passes",
    params(("pass_type" = String, Path, description = "Pass type identifier"), ("serial" = String, Path, description = "Serial number")),
    security(("service_key" = [])), responses((status = 200, body = ShownPass)))]
pub(super) async fn state(State(door): State<Door>, segments: Segments) -> Result<Json<ShownPass>, ApiError> {
    let service = door.service()?;
    let pass = find(&service, &segments).await?;
    let tag = service.store.tag_of(&pass.id).await.map_err(|error| storage(&error))?;
    let devices = service.store.registrations_of(&pass.id).await.map_err(|error| storage(&error))?;
    let tag = tag_text(&epoch(&service).await?, tag);
    Ok(Json(ShownPass { tag: Some(tag), devices: Some(devices), ..shown(&service, pass) }))
}

/// Finds passes.
#[utoipa::path(post, path = "/api/passes/search", tag = "passes", request_body = Search, security(("service_key" = [])),
    responses((status = 200, body = Found)))]
pub(super) async fn search(State(door): State<Door>, request: Request) -> Result<Json<Found>, ApiError> {
    let service = door.service()?;
    let asked: Search = parsed(&body(request, LARGEST_BODY).await?)?;
    let invalid = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "request_invalid", message);
    asked.query.check().map_err(invalid)?;
    let limit = asked.limit.unwrap_or(50).clamp(1, 500);
    let after = match &asked.after {
        Some(text) => match text.split_once('/') {
            Some((pass_type, serial)) => Some(PassId { pass_type: pass_type.to_owned(), serial: serial.to_owned() }),
            None => return Err(invalid(format!("after: found \"{text}\"; give the `next` of the answer before"))),
        },
        None => None,
    };
    let mut rows =
        service.store.find_pass_rows(&asked.query, after.as_ref(), limit + 1).await.map_err(|error| storage(&error))?;
    let total = match after {
        None => Some(service.store.count_passes(&asked.query).await.map_err(|error| storage(&error))?),
        Some(_) => None,
    };
    let limit = usize::try_from(limit).unwrap_or_default();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|pass| format!("{}/{}", pass.id.pass_type, pass.id.serial));
    Ok(Json(Found { passes: rows.into_iter().map(|pass| shown(&service, pass)).collect(), total, next }))
}

/// A picture of a pass, as it is now.
#[utoipa::path(get, path = "/api/passes/{pass_type}/{serial}/preview", tag = "passes",
    params(("pass_type" = String, Path, description = "Pass type identifier"), ("serial" = String, Path, description = "Serial number"),
        ("side" = Option<String>, Query, description = "front (default) or back"),
        ("language" = Option<String>, Query, description = "The language of the phone (BCP 47)")),
    security(("service_key" = [])), responses((status = 200, body = String, content_type = "image/svg+xml")))]
pub(super) async fn preview(State(door): State<Door>, segments: Segments, uri: Uri) -> Result<Response, ApiError> {
    let service = door.service()?;
    let pass = find(&service, &segments).await?;
    let pictures = pictures(&service, &pass, query_parameter(&uri, "language")).await?;
    let back = query_parameter(&uri, "side").is_some_and(|side| side == "back");
    Ok(svg(if back { pictures.back } else { pictures.front }))
}

/// The pictures of a pass.
pub(in crate::web) async fn pictures(
    service: &Service,
    pass: &PassRow,
    language: Option<String>,
) -> Result<Preview, ApiError> {
    let template = service.passes.template_of(pass).await.map_err(refusal)?;
    let rendered = service.passes.rendered_with(&template, &pass.clone().into(), &pass.id).map_err(refusal)?;
    super::templates::drawn(template, rendered, language).await
}

fn shown(service: &Service, pass: PassRow) -> ShownPass {
    ShownPass {
        token_derivable: service.passes.token_of(&pass).is_some(),
        url: format!("{}/package", address(service, &pass.id)),
        pass_type_identifier: pass.id.pass_type,
        serial_number: pass.id.serial,
        template: pass.template,
        fields: pass.fields,
        user_info: pass.user_info,
        voided: pass.state.voided,
        expiration_date: pass.state.expires,
        tag: None,
        last_modified: http_date::text(pass.last_modified),
        revision: pass.revision,
        devices: None,
        token_algorithm: pass.token_algorithm.as_str(),
        created_at: pass.created_at,
        updated_at: pass.updated_at,
    }
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

/// `Prefer: respond-async` (RFC 7240, 4.1): answer once the change is committed, without its tag.
fn prefers_no_wait(headers: &HeaderMap) -> bool {
    let wishes = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    wishes.flat_map(|list| list.split(',')).any(|wish| wish.trim().eq_ignore_ascii_case("respond-async"))
}

/// The token that goes into the package: the one that the caller brings, or the derived one. A random token is known
/// to its pass alone.
pub(in crate::web) fn token_for(service: &Service, pass: &PassRow, headers: &HeaderMap) -> Result<String, ApiError> {
    match headers.get(PASS_TOKEN).map(|value| value.to_str().unwrap_or_default()) {
        Some(presented) if token::fits(presented, Some((pass.token_algorithm, &pass.token_hash))) => Ok(presented.to_owned()),
        Some(_) => Err(ApiError::new(StatusCode::FORBIDDEN, "pass_token_wrong", "the header Pass-Token does not hold this pass's token")),
        None => service.passes.token_of(pass).ok_or_else(|| {
            let message = "this pass's token is not known to the service, which keeps only its hash: send it in the header Pass-Token";
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "pass_token_required", message)
        }),
    }
}

pub(super) async fn find(service: &Service, segments: &Segments) -> Result<PassRow, ApiError> {
    service.store.pass(&pass_id(segments)?).await.map_err(|error| storage(&error))?.ok_or_else(no_pass)
}

pub(super) fn pass_id(segments: &Segments) -> Result<PassId, ApiError> {
    let (pass_type, serial) = segments.id(2).zip(segments.id(3)).ok_or_else(no_pass)?;
    Ok(PassId { pass_type: pass_type.to_owned(), serial: serial.to_owned() })
}

async fn epoch(service: &Service) -> Result<String, ApiError> {
    service.store.epoch().await.map_err(|error| storage(&error))
}

fn address(service: &Service, id: &PassId) -> String {
    format!("{}/api/passes/{}/{}", service.public_url, encode(&id.pass_type), encode(&id.serial))
}
