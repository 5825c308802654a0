//! `/api/passes/…/versions` and `…/diff`: what a pass was, and what changed.

use axum::Json;
use axum::extract::State;
use http::{StatusCode, Uri};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tidings_shared::http::ApiError;
use utoipa::ToSchema;

use super::answer::{refusal, storage};
use super::passes::{find, pass_id};
use crate::package::ChangeMessage;
use crate::store::Version;
use crate::update::{Difference, differences};
use crate::web::path::{Segments, query_parameter};
use crate::web::{Door, Service, http_date};

/// Most versions in one answer.
const MOST: i64 = 200;

/// A pass as it was, or is, at one revision.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownVersion {
    /// Counts the changes, from 1.
    revision: i64,
    /// Whether it is the present one.
    present: bool,
    template: String,
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    fields: Map<String, Value>,
    user_info: Option<Value>,
    voided: bool,
    expiration_date: Option<String>,
    /// As devices saw it.
    last_modified: String,
    /// When it came to be, ms since 1970.
    at: i64,
}

impl ShownVersion {
    fn new(version: Version, present: bool) -> Self {
        Self {
            revision: version.revision,
            present,
            template: version.template,
            fields: version.fields,
            user_info: version.user_info,
            voided: version.state.voided,
            expiration_date: version.state.expires,
            last_modified: http_date::text(version.last_modified),
            at: version.updated_at,
        }
    }
}

/// The versions that are kept, the latest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Versions {
    versions: Vec<ShownVersion>,
    /// Ask for those before this revision, if there are more.
    next: Option<i64>,
}

/// What differs between two versions.
#[derive(Serialize, ToSchema)]
pub(super) struct VersionDiff {
    /// A revision.
    from: i64,
    /// Another.
    to: i64,
    /// What backends decide: fields, userInfo, voided, expirationDate.
    changes: Vec<Difference>,
    /// What is on the pass, as the present template renders both.
    pass: Vec<Difference>,
    /// What phones show between the two.
    messages: Vec<ChangeMessage>,
}

/// Lists the versions of a pass that are kept, the present one first.
#[utoipa::path(get, path = "/api/passes/{pass_type}/{serial}/versions", tag = "history",
    params(("pass_type" = String, Path, description = "Pass type identifier"), ("serial" = String, Path, description = "Serial number"),
        ("before" = Option<i64>, Query, description = "Only versions before this revision"),
        ("limit" = Option<i64>, Query, description = "At most this many, 200 at most (default 50)")),
    security(("service_key" = [])), responses((status = 200, body = Versions)))]
pub(super) async fn list(State(door): State<Door>, segments: Segments, uri: Uri) -> Result<Json<Versions>, ApiError> {
    let service = door.service()?;
    let pass = find(&service, &segments).await?;
    let before = number(&uri, "before")?.unwrap_or(i64::MAX);
    let limit = number(&uri, "limit")?.unwrap_or(50).clamp(1, MOST);
    let id = pass.id.clone();
    let mut versions = Vec::new();
    if pass.revision < before {
        versions.push(ShownVersion::new(pass.into(), true));
    }
    let more = limit - i64::try_from(versions.len()).unwrap_or_default();
    let former = service.store.versions(&id, before, more + 1).await.map_err(|error| storage(&error))?;
    versions.extend(former.into_iter().map(|version| ShownVersion::new(version, false)));
    let limit = usize::try_from(limit).unwrap_or_default();
    let next = (versions.len() > limit).then(|| versions.get(limit - 1).map(|version| version.revision)).flatten();
    versions.truncate(limit);
    Ok(Json(Versions { versions, next }))
}

/// Shows a version of a pass.
#[utoipa::path(get, path = "/api/passes/{pass_type}/{serial}/versions/{revision}", tag = "history",
    params(("pass_type" = String, Path, description = "Pass type identifier"), ("serial" = String, Path, description = "Serial number"),
        ("revision" = i64, Path, description = "The version")),
    security(("service_key" = [])), responses((status = 200, body = ShownVersion)))]
pub(super) async fn show(State(door): State<Door>, segments: Segments) -> Result<Json<ShownVersion>, ApiError> {
    let service = door.service()?;
    let revision = segments.id(5).and_then(|text| text.parse().ok()).ok_or_else(|| unknown("that"))?;
    let (version, present) = version(&service, &segments, revision).await?;
    Ok(Json(ShownVersion::new(version, present)))
}

/// Says what differs between two versions: by default between the present one and the one before it.
#[utoipa::path(get, path = "/api/passes/{pass_type}/{serial}/diff", tag = "history",
    params(("pass_type" = String, Path, description = "Pass type identifier"), ("serial" = String, Path, description = "Serial number"),
        ("from" = Option<i64>, Query, description = "A revision (default: the one before `to`)"),
        ("to" = Option<i64>, Query, description = "Another (default: the present one)")),
    security(("service_key" = [])), responses((status = 200, body = VersionDiff)))]
pub(super) async fn diff(
    State(door): State<Door>,
    segments: Segments,
    uri: Uri,
) -> Result<Json<VersionDiff>, ApiError> {
    let service = door.service()?;
    let id = pass_id(&segments)?;
    let to = match number(&uri, "to")? {
        Some(to) => to,
        None => find(&service, &segments).await?.revision,
    };
    let from = number(&uri, "from")?.unwrap_or(to.saturating_sub(1));
    let (old, _) = version(&service, &segments, from).await?;
    let (new, _) = version(&service, &segments, to).await?;
    let strings = service.passes.template(&new.template).map_err(refusal)?.default_strings();
    // A version that the present template cannot render has no picture to compare; what backends decide is told anyway.
    let rendered = |version: &Version| service.passes.rendered(version, &id).unwrap_or_default();
    let (before, after) = (rendered(&old), rendered(&new));
    Ok(Json(VersionDiff {
        from,
        to,
        changes: differences(&decided(&old), &decided(&new)),
        pass: differences(&before, &after),
        messages: crate::package::change_messages(&before, &after, &strings),
    }))
}

fn decided(version: &Version) -> Value {
    json!({
        "template": version.template,
        "fields": version.fields,
        "userInfo": version.user_info,
        "voided": version.state.voided,
        "expirationDate": version.state.expires,
    })
}

async fn version(service: &Service, segments: &Segments, revision: i64) -> Result<(Version, bool), ApiError> {
    let pass = find(service, segments).await?;
    if pass.revision == revision {
        return Ok((pass.into(), true));
    }
    let found =
        service.store.versions(&pass.id, revision.saturating_add(1), 1).await.map_err(|error| storage(&error))?;
    let found = found.into_iter().find(|version| version.revision == revision);
    found.map(|version| (version, false)).ok_or_else(|| unknown(&revision.to_string()))
}

fn unknown(revision: &str) -> ApiError {
    let message = format!(
        "there is no version {revision} of this pass, or it is no longer kept (wallet.history.versions, wallet.history.age)"
    );
    ApiError::new(StatusCode::NOT_FOUND, "version_unknown", message)
}

/// A number in the query.
pub(super) fn number(uri: &Uri, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = query_parameter(uri, name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let message = format!("{name}: found \"{text}\"; a whole number belongs here");
        ApiError::new(StatusCode::BAD_REQUEST, "request_invalid", message)
    })
}
