//! The configured apps: what their providers think of their credentials, and a question to the providers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::HeaderMap;
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{AppChecks, AppList};

use super::{Gateway, refusal};

/// Lists the configured apps and what their providers think of their credentials.
#[utoipa::path(get, path = "/v1/apps", tag = "apps", security(("service_key" = [])), responses((status = 200, body = AppList)))]
pub(super) async fn list(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Json<AppList>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    Ok(Json(AppList { apps: gateway.apps.states() }))
}

/// Asks the providers whether they accept an app's credentials.
#[utoipa::path(post, path = "/v1/apps/{app}/check", tag = "apps", params(("app" = String, Path, description = "The app (push.apps.NAME)")), security(("service_key" = [])), responses((status = 200, body = AppChecks)))]
pub(super) async fn check(
    State(gateway): State<Arc<Gateway>>,
    Path(app): Path<String>,
    headers: HeaderMap,
) -> Result<Json<AppChecks>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let checks = gateway.apps.probe(&app).await;
    if checks.is_empty() {
        return Err(refusal::app_anywhere(&gateway.apps, &app));
    }
    Ok(Json(AppChecks { checks }))
}
