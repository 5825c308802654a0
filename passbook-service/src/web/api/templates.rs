//! `/api/templates`: what passes are made from.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidings_shared::http::ApiError;
use utoipa::ToSchema;

use super::answer::{json as parsed, refusal, storage};
use super::passes::LARGEST_BODY;
use crate::package::{Fault, Faults, PassContent, PassState, Template, unpack, valid_field_name};
use crate::store::TemplateHead;
use crate::update::ChangeError;
use crate::web::path::{Segments, body, query_parameter};
use crate::web::{Door, Service};

/// The largest archive.
const LARGEST_ARCHIVE: usize = 16 * 1024 * 1024;

/// A template.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownTemplate {
    name: String,
    /// The fields that its placeholders name.
    fields: Vec<String>,
    /// `storeCard`, `eventTicket`, …
    style: String,
    /// `uploaded`, or `fixed`: built in or from the folder.
    source: &'static str,
    /// Counts the versions of an uploaded template; 0 for others.
    revision: i64,
    /// Differs when anything in it differs.
    digest: String,
    /// Languages that there are texts for.
    languages: Vec<String>,
    /// What Wallet takes, and people will wonder about.
    warnings: Vec<Fault>,
}

/// The templates.
#[derive(Serialize, ToSchema)]
pub(super) struct ShownTemplates {
    templates: Vec<ShownTemplate>,
}

/// What is wrong with a template.
#[derive(Serialize, ToSchema)]
pub(super) struct Report {
    /// Whether passes can be made from it.
    valid: bool,
    /// Broken rules: key, value, rule.
    faults: Vec<Fault>,
    /// What Wallet takes, and people will wonder about.
    warnings: Vec<Fault>,
    /// The fields that its placeholders name.
    fields: Vec<String>,
}

/// A version of an uploaded template.
#[derive(Serialize, ToSchema)]
pub(super) struct TemplateVersion {
    revision: i64,
    digest: String,
    /// Whether passes are made from it.
    present: bool,
    /// ms since 1970.
    at: i64,
}

/// The versions of a template, the latest first.
#[derive(Serialize, ToSchema)]
pub(super) struct TemplateVersions {
    versions: Vec<TemplateVersion>,
}

/// What a picture of a template shows.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PreviewTemplate {
    /// Values of the placeholders; a placeholder without one shows its name.
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    fields: Map<String, Value>,
    /// The language of the phone (BCP 47).
    language: Option<String>,
    /// `front` (default) or `back`.
    side: Option<String>,
}

/// Lists the templates.
#[utoipa::path(get, path = "/api/templates", tag = "templates", security(("service_key" = [])),
    responses((status = 200, body = ShownTemplates)))]
pub(super) async fn list(State(door): State<Door>) -> Result<Json<ShownTemplates>, ApiError> {
    let service = door.service()?;
    let catalog = service.passes.catalog();
    let names = catalog.names();
    let templates = names.iter().filter_map(|name| catalog.get(name)).map(|template| shown(&service, &template));
    Ok(Json(ShownTemplates { templates: templates.collect() }))
}

/// Shows a template.
#[utoipa::path(get, path = "/api/templates/{name}", tag = "templates", params(("name" = String, Path, description = "Its name")),
    security(("service_key" = [])), responses((status = 200, body = ShownTemplate)))]
pub(super) async fn show(State(door): State<Door>, segments: Segments) -> Result<Json<ShownTemplate>, ApiError> {
    let service = door.service()?;
    let template = find(&service, &segments)?;
    Ok(Json(shown(&service, &template)))
}

/// Uploads a template as a ZIP archive of its files. Every process has it within seconds; its passes are rendered anew, and
/// what changed is listed and pushed. The same files again change nothing.
#[utoipa::path(put, path = "/api/templates/{name}", tag = "templates", params(("name" = String, Path, description = "Its name"),
        ("dryRun" = Option<bool>, Query, description = "Only check it"),
        ("force" = Option<bool>, Query, description = "Take it although passes lack a value for a new placeholder: these stay as they are")),
    request_body(content = Vec<u8>, content_type = "application/zip"), security(("service_key" = [])),
    responses((status = 200, body = ShownTemplate), (status = 201, body = ShownTemplate)))]
pub(super) async fn put(
    State(door): State<Door>,
    segments: Segments,
    uri: Uri,
    request: Request,
) -> Result<Response, ApiError> {
    let service = door.service()?;
    let name = name(&segments)?.to_owned();
    if service.passes.catalog().is_fixed(&name) {
        let message = format!(
            "the template `{name}` is built in or comes from the folder wallet.templates: change it there, or take another name"
        );
        return Err(ApiError::new(StatusCode::CONFLICT, "template_fixed", message));
    }
    let archive = body(request, LARGEST_ARCHIVE).await?;
    let (template, files) = opened(&service, &name, archive).await?.map_err(invalid)?;
    if query_parameter(&uri, "dryRun").is_some_and(|text| text != "false") {
        return Ok(Json(shown(&service, &template)).into_response());
    }
    let force = query_parameter(&uri, "force").is_some_and(|text| text != "false");
    let missing = service.passes.catalog().get(&name).map(|present| newly_needed(&present, &template));
    if let Some(missing) = missing.filter(|missing| !missing.is_empty() && !force)
        && service.store.template_is_used(&name).await.map_err(|error| storage(&error))?
    {
        let message = format!(
            "passes are made from `{name}`, and the new version needs values that they may not have: {}; give these placeholders a default ({{{{name|default}}}}), or upload with ?force=true: passes without a value stay as they are then",
            missing.join(", ")
        );
        return Err(ApiError::new(StatusCode::CONFLICT, "template_fields_missing", message));
    }
    let stored = service.store.put_template(&name, &template.digest, &files, service.clock.now_ms()).await;
    let (revision, new) = stored.map_err(|error| storage(&error))?;
    let reloaded = service.passes.catalog().reload(&service.store, service.passes.issuers()).await;
    reloaded.map_err(|error| storage(&error))?;
    tracing::info!(template = name, revision, "a template was uploaded");
    let status = if new && revision == 1 { StatusCode::CREATED } else { StatusCode::OK };
    let template = find(&service, &segments)?;
    Ok((status, Json(shown(&service, &template))).into_response())
}

/// Checks an archive as an upload would, and stores nothing.
#[utoipa::path(post, path = "/api/templates/{name}/check", tag = "templates", params(("name" = String, Path, description = "Its name")),
    request_body(content = Vec<u8>, content_type = "application/zip"), security(("service_key" = [])),
    responses((status = 200, body = Report)))]
pub(super) async fn check(
    State(door): State<Door>,
    segments: Segments,
    request: Request,
) -> Result<Json<Report>, ApiError> {
    let service = door.service()?;
    let name = name(&segments)?.to_owned();
    let archive = body(request, LARGEST_ARCHIVE).await?;
    Ok(Json(match opened(&service, &name, archive).await? {
        Ok((template, _)) => Report {
            valid: true,
            faults: Vec::new(),
            warnings: template.warnings.clone(),
            fields: template.fields.iter().cloned().collect(),
        },
        Err(faults) => Report { valid: false, faults: faults.into_list(), warnings: Vec::new(), fields: Vec::new() },
    }))
}

/// Removes an uploaded template from which no pass is made. Its versions are kept.
#[utoipa::path(delete, path = "/api/templates/{name}", tag = "templates", params(("name" = String, Path, description = "Its name")),
    security(("service_key" = [])), responses((status = 204)))]
pub(super) async fn remove(State(door): State<Door>, segments: Segments) -> Result<StatusCode, ApiError> {
    let service = door.service()?;
    let name = name(&segments)?;
    match service.store.remove_template(name).await.map_err(|error| storage(&error))? {
        None if service.passes.catalog().is_fixed(name) => {
            let message =
                "this template is built in or comes from the folder wallet.templates: it cannot be removed here";
            return Err(ApiError::new(StatusCode::CONFLICT, "template_fixed", message));
        }
        None => return Err(unknown(&service, name)),
        Some(false) => {
            let message = "passes are made from this template: delete them first, or leave the template";
            return Err(ApiError::new(StatusCode::CONFLICT, "template_in_use", message));
        }
        Some(true) => {}
    }
    let reloaded = service.passes.catalog().reload(&service.store, service.passes.issuers()).await;
    reloaded.map_err(|error| storage(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the versions of an uploaded template, the latest first.
#[utoipa::path(get, path = "/api/templates/{name}/versions", tag = "templates", params(("name" = String, Path, description = "Its name")),
    security(("service_key" = [])), responses((status = 200, body = TemplateVersions)))]
pub(super) async fn versions(State(door): State<Door>, segments: Segments) -> Result<Json<TemplateVersions>, ApiError> {
    let service = door.service()?;
    let name = name(&segments)?;
    let found = service.store.template_versions(name).await.map_err(|error| storage(&error))?;
    if found.is_empty() {
        return Err(unknown(&service, name));
    }
    let present = service.passes.catalog().get(name).map(|template| template.revision);
    let versions = found.into_iter().map(|TemplateHead { revision, digest, at, .. }| TemplateVersion {
        revision,
        digest,
        present: present == Some(revision),
        at,
    });
    Ok(Json(TemplateVersions { versions: versions.collect() }))
}

/// A picture of a pass of this template.
#[utoipa::path(post, path = "/api/templates/{name}/preview", tag = "templates", params(("name" = String, Path, description = "Its name")),
    request_body = PreviewTemplate, security(("service_key" = [])), responses((status = 200, body = String, content_type = "image/svg+xml")))]
pub(super) async fn preview(
    State(door): State<Door>,
    segments: Segments,
    request: Request,
) -> Result<Response, ApiError> {
    let service = door.service()?;
    let template = find(&service, &segments)?;
    let asked: PreviewTemplate = parsed(&body(request, LARGEST_BODY).await?)?;
    let fields = template.sample_fields(&asked.fields);
    let content = PassContent { serial: "0123456789", fields: &fields, user_info: None, state: &PassState::NONE };
    let issuer = service.passes.issuers().of_template(&template).issuer();
    let json = template.preview_json(issuer, content).map_err(|faults| refusal(ChangeError::Invalid(faults)))?;
    let pictures = drawn(template, json, asked.language).await?;
    Ok(svg(if asked.side.as_deref() == Some("back") { pictures.back } else { pictures.front }))
}

/// An answer with a picture. It may hold what somebody wrote, so it may do nothing but show.
pub(crate) fn svg(picture: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "image/svg+xml"),
        (
            http::header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox",
        ),
        (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (http::header::CACHE_CONTROL, "private, no-store"),
    ];
    (headers, picture).into_response()
}

/// The template in an archive, with its files. Unpacking takes time, so it is done beside the requests.
async fn opened(
    service: &Arc<Service>,
    name: &str,
    archive: impl AsRef<[u8]> + Send + 'static,
) -> Result<Result<(Template, Vec<(String, Vec<u8>)>), Faults>, ApiError> {
    let (service, name) = (service.clone(), name.to_owned());
    beside(move || {
        let files = unpack(archive.as_ref())?;
        Ok((checked(&service, &name, files.clone())?, files))
    })
    .await
}

/// Draws a rendered pass beside the requests.
pub(in crate::web) async fn drawn(
    template: Arc<Template>,
    pass: serde_json::Value,
    language: Option<String>,
) -> Result<crate::package::Preview, ApiError> {
    beside(move || template.pictures(&pass, language.as_deref())).await
}

/// Does what takes time on a thread of its own.
pub(in crate::web) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a task ended in a panic");
        ApiError::internal()
    })
}

/// The placeholders that need a value in a new version and needed none in the present one.
fn newly_needed(present: &Template, new: &Template) -> Vec<String> {
    let needed = |template: &Template, field: &String| template.fields.contains(field) && !template.has_default(field);
    new.fields.iter().filter(|field| needed(new, field) && !needed(present, field)).cloned().collect()
}

fn checked(service: &Service, name: &str, files: Vec<(String, Vec<u8>)>) -> Result<Template, Faults> {
    let template = Template::from_files(name, files)?;
    template.check_for(service.passes.issuers().of_template(&template).issuer())?;
    Ok(template)
}

fn shown(service: &Service, template: &Template) -> ShownTemplate {
    let fixed = service.passes.catalog().is_fixed(&template.name);
    ShownTemplate {
        name: template.name.clone(),
        fields: template.fields.iter().cloned().collect(),
        style: template.style().to_owned(),
        source: if fixed { "fixed" } else { "uploaded" },
        revision: template.revision,
        digest: template.digest.clone(),
        languages: template.languages(),
        warnings: template.warnings.clone(),
    }
}

fn find(service: &Service, segments: &Segments) -> Result<Arc<Template>, ApiError> {
    let name = name(segments)?;
    service.passes.catalog().get(name).ok_or_else(|| unknown(service, name))
}

fn name(segments: &Segments) -> Result<&str, ApiError> {
    segments.id(2).filter(|name| valid_field_name(name) && !name.starts_with('.')).ok_or_else(|| {
        let message =
            "a template's name is letters, digits, `_`, `.` and `-`, at most 64 of them, and begins with no `.`";
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "template_name_invalid", message)
    })
}

fn unknown(service: &Service, name: &str) -> ApiError {
    let there_are = service.passes.catalog().names().join(", ");
    let message = format!("there is no template `{name}`; there are: {there_are}");
    ApiError::new(StatusCode::NOT_FOUND, "template_unknown", message)
}

fn invalid(faults: Faults) -> ApiError {
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "template_invalid",
        format!("the template cannot be used:\n{faults}"),
    )
}
