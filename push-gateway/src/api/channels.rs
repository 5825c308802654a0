//! Broadcast channels of an app at Apple: made, shown, listed, ended. Nothing of them is kept here.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{Channel, Channels, CreateChannel, Environment, Provider};

use super::{Gateway, refusal};
use crate::apps::Client;
use crate::provider::apns::Apns;
use crate::provider::apns::channels::ChannelError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Where {
    #[serde(default)]
    environment: Environment,
}

type AskedWhere = Result<Query<Where>, QueryRejection>;

/// Makes a broadcast channel at APNs.
#[utoipa::path(post, path = "/v1/apps/{app}/channels", tag = "apps", params(("app" = String, Path, description = "The app (push.apps.NAME)")), request_body = tidings_shared::push_api::CreateChannel, security(("service_key" = [])), responses((status = 201, body = Channel)))]
pub(super) async fn create(
    State(gateway): State<Arc<Gateway>>,
    Path(app): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Channel>), ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let wanted: CreateChannel = match &body {
        Ok(body) if body.is_empty() => CreateChannel::default(),
        _ => refusal::json(body)?,
    };
    let apns = apns(&gateway, &app, wanted.environment)?;
    let made = apns.create_channel(wanted.environment, wanted.keep_last).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Lists the broadcast channels of an app.
#[utoipa::path(get, path = "/v1/apps/{app}/channels", tag = "apps", params(("app" = String, Path, description = "The app (push.apps.NAME)"), ("environment" = Option<tidings_shared::push_api::Environment>, Query, description = "In which of Apple's two worlds")), security(("service_key" = [])), responses((status = 200, body = Channels)))]
pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Path(app): Path<String>,
    asked: AskedWhere,
    headers: HeaderMap,
) -> Result<Json<Channels>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let environment = environment(asked)?;
    apns(&gateway, &app, environment)?.channels(environment).await.map(Json).map_err(refused)
}

/// Shows a broadcast channel.
#[utoipa::path(get, path = "/v1/apps/{app}/channels/{channel}", tag = "apps", params(("app" = String, Path, description = "The app (push.apps.NAME)"), ("channel" = String, Path, description = "Apple's id for the channel"), ("environment" = Option<tidings_shared::push_api::Environment>, Query, description = "In which of Apple's two worlds")), security(("service_key" = [])), responses((status = 200, body = Channel)))]
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path((app, channel)): Path<(String, String)>,
    asked: AskedWhere,
    headers: HeaderMap,
) -> Result<Json<Channel>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let environment = environment(asked)?;
    apns(&gateway, &app, environment)?.channel(environment, &channel).await.map(Json).map_err(refused)
}

/// Removes a broadcast channel.
#[utoipa::path(delete, path = "/v1/apps/{app}/channels/{channel}", tag = "apps", params(("app" = String, Path, description = "The app (push.apps.NAME)"), ("channel" = String, Path, description = "Apple's id for the channel"), ("environment" = Option<tidings_shared::push_api::Environment>, Query, description = "In which of Apple's two worlds")), security(("service_key" = [])), responses((status = 204)))]
pub(super) async fn delete(
    State(gateway): State<Arc<Gateway>>,
    Path((app, channel)): Path<(String, String)>,
    asked: AskedWhere,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let environment = environment(asked)?;
    apns(&gateway, &app, environment)?.delete_channel(environment, &channel).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

fn environment(asked: AskedWhere) -> Result<Environment, ApiError> {
    asked.map(|Query(asked)| asked.environment).map_err(|_| {
        let message = "the address takes one parameter, `environment`: production or sandbox";
        ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", message)
    })
}

fn apns(gateway: &Gateway, app: &str, environment: Environment) -> Result<Arc<Apns>, ApiError> {
    let preferred = gateway.apps.set(Provider::Apns, app).and_then(|set| set.preferred(environment));
    match preferred.as_ref().map(|credential| credential.client()) {
        Some(Client::Apns(client)) => Ok(Arc::clone(client)),
        _ => Err(refusal::app(&gateway.apps, Provider::Apns, app)),
    }
}

fn refused(error: ChannelError) -> ApiError {
    let message = error.to_string();
    match &error {
        ChannelError::NotConfigured => ApiError::new(StatusCode::BAD_REQUEST, "environment_unavailable", message),
        ChannelError::Invalid(refusal) => refusal::push(refusal),
        ChannelError::Refused { reason, .. } => match reason.as_str() {
            "ChannelNotRegistered" | "BadChannelId" => ApiError::new(StatusCode::NOT_FOUND, "channel_unknown", message),
            "CannotCreateChannelConfig" => ApiError::new(StatusCode::CONFLICT, "too_many_channels", message),
            _ => ApiError::new(StatusCode::BAD_GATEWAY, "provider_refused", message),
        },
        ChannelError::Unanswered(_) => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable", message).retry_after(10)
        }
    }
}
