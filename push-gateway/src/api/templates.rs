//! Backends keep the texts of their notifications here, in several languages.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use sqlx::AnyConnection;
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{NamedTemplate, Preview, PreviewTemplate, Template, Templates};

use super::{Gateway, names, refusal};
use crate::devices::describe;
use crate::provider::{self, WakeStyle};
use crate::templates::store::{self, Stored};
use crate::templates::{Compiled, Faults, Localized, Unrenderable};

/// Stores a template; every fault is told at once, with its language, line and message.
#[utoipa::path(put, path = "/v1/templates/{name}", tag = "templates", params(("name" = String, Path, description = "Its name")),
    request_body = Template, security(("service_key" = [])),
    responses((status = 200, body = NamedTemplate), (status = 201, body = NamedTemplate)))]
pub(super) async fn put(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    names::check(&name)?;
    let template: Template = refusal::json(body)?;
    let compiled = Compiled::new(&template).map_err(|faults| invalid(&faults))?;
    let database = gateway.database()?;
    let mut connection = database.pool().acquire().await.map_err(refusal::storage)?;
    let known = store::find(&mut connection, &name).await.map_err(refusal::storage)?;
    drop(connection);
    let now_ms = gateway.clock.now_ms();
    let revision = store::put(database, &name, &template, now_ms).await.map_err(refusal::storage)?;
    let shown = shown(Stored { name, template, revision, updated_at: now_ms }, &compiled);
    let status = if known.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(shown)).into_response())
}

/// Shows a template.
#[utoipa::path(get, path = "/v1/templates/{name}", tag = "templates", params(("name" = String, Path, description = "Its name")),
    security(("service_key" = [])), responses((status = 200, body = NamedTemplate)))]
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<NamedTemplate>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let mut connection = gateway.database()?.pool().acquire().await.map_err(refusal::storage)?;
    let (stored, compiled) = find(&gateway, &mut connection, &name).await?;
    Ok(Json(shown(stored, &compiled)))
}

/// Lists the names of the templates.
#[utoipa::path(get, path = "/v1/templates", tag = "templates", security(("service_key" = [])),
    responses((status = 200, body = Templates)))]
pub(super) async fn list(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Json<Templates>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let templates = store::names(gateway.database()?).await.map_err(refusal::storage)?;
    Ok(Json(Templates { templates }))
}

/// Removes a template. Notifications that were accepted with it keep their texts.
#[utoipa::path(delete, path = "/v1/templates/{name}", tag = "templates", params(("name" = String, Path, description = "Its name")),
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

/// Shows what a device of a language would get, in the words of each provider.
#[utoipa::path(post, path = "/v1/templates/{name}/preview", tag = "templates",
    params(("name" = String, Path, description = "Its name")), request_body = PreviewTemplate,
    security(("service_key" = [])), responses((status = 200, body = Preview)))]
pub(super) async fn preview(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Preview>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let wanted: PreviewTemplate = refusal::json(body)?;
    let locale = wanted.locale.as_deref().map(describe::locale).transpose();
    let locale = locale.map_err(|error| refusal::described(&error))?;
    let mut connection = gateway.database()?.pool().acquire().await.map_err(refusal::storage)?;
    let (_, compiled) = find(&gateway, &mut connection, &name).await?;
    drop(connection);
    let rendered = compiled.render_for(locale.as_deref(), &wanted.params);
    let (locale, tried, push) = rendered.map_err(|error| unrenderable(&error))?;
    let providers = provider::preview(&push, &WakeStyle::Silent, gateway.clock.now_s());
    let push = serde_json::to_value(push).map_err(|_| ApiError::internal())?;
    Ok(Json(Preview { locale, tried, push, providers }))
}

/// Every language's push for a notification.
pub(super) async fn localized(
    gateway: &Gateway,
    connection: &mut AnyConnection,
    name: &str,
    params: &BTreeMap<String, Value>,
) -> Result<Localized, ApiError> {
    let (_, compiled) = find(gateway, connection, name).await?;
    compiled.render(params).map_err(|error| unrenderable(&error))
}

async fn find(
    gateway: &Gateway,
    connection: &mut AnyConnection,
    name: &str,
) -> Result<(Stored, Arc<Compiled>), ApiError> {
    let stored = store::find(connection, name).await.map_err(refusal::storage)?.ok_or_else(|| unknown(name))?;
    // What was good when it was stored may not be for a newer version of this program.
    let compiled = gateway.rooms.templates.compiled(&stored).map_err(|faults| invalid(&faults))?;
    Ok((stored, compiled))
}

fn shown(stored: Stored, compiled: &Compiled) -> NamedTemplate {
    NamedTemplate {
        name: stored.name,
        template: stored.template,
        params: compiled.params(),
        revision: stored.revision,
        updated_at_ms: stored.updated_at,
    }
}

fn invalid(faults: &Faults) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "template_invalid", faults.to_string())
}

fn unrenderable(error: &Unrenderable) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "params_invalid", error.to_string())
}

fn unknown(name: &str) -> ApiError {
    names::unknown("template_unknown", "template", name)
}
