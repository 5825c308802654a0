//! The configured apps: what their providers think of their credentials, and a question to the providers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::HeaderMap;
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{AppChecks, AppList};

use super::{Gateway, refusal};

pub(super) async fn list(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Json<AppList>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    Ok(Json(AppList { apps: gateway.apps.states() }))
}

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
