//! Devices register their push tokens. With an app token for the token's own user, with a service key for anybody.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tidings_shared::http::ApiError;
use tidings_shared::identity::UserId;
use tidings_shared::push_api::{Device, Devices, Environment, Provider, Push, RegisterDevice};

use super::caller::Caller;
use super::{Gateway, refusal};
use crate::devices::store::{self, Outcome};
use crate::devices::{Registration, canonical_token, check_client, check_device, check_token};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    user: Option<UserId>,
}

pub(super) async fn register(
    State(gateway): State<Arc<Gateway>>,
    Path(device): Path<String>,
    whose: Result<Query<Whose>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let caller = Caller::of(&headers, &gateway).await?;
    let named = named_user(whose)?;
    let wanted: RegisterDevice = refusal::json(body)?;
    if let (Some(address), Some(body)) = (&named, &wanted.user)
        && address != body
    {
        let message = "the address and the body name different users; name one";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", message));
    }
    let user = caller.user(named.as_ref().or(wanted.user.as_ref()))?;
    check_device(&device).map_err(|error| refusal::invalid(&error))?;
    if let Some(client) = &wanted.client {
        check_client(client).map_err(|error| refusal::invalid(&error))?;
    }
    let Some(lane) = gateway.apps.lane(wanted.provider, &wanted.app) else {
        return Err(refusal::app(&gateway.apps, wanted.provider, &wanted.app));
    };
    if !lane.client.serves(wanted.environment) {
        return Err(refusal::environment(&wanted.app));
    }
    check_token(wanted.provider, &wanted.token).map_err(|error| refusal::invalid(&error))?;
    lane.client.check_recipient(&wanted.token, &Push::Wake {}).map_err(|refused| refusal::push(&refused))?;
    let registration = Registration {
        user,
        device,
        client: wanted.client,
        provider: wanted.provider,
        environment: if wanted.provider == Provider::Apns { wanted.environment } else { Environment::Production },
        token: canonical_token(wanted.provider, &wanted.token),
        app: wanted.app,
    };
    let new_id = gateway.ids.next();
    let outcome =
        store::register(gateway.database()?, &registration, &new_id, gateway.max_devices, gateway.clock.now_ms());
    match outcome.await.map_err(refusal::storage)? {
        Outcome::Created(registered) => Ok((StatusCode::CREATED, Json(Device::from(registered))).into_response()),
        Outcome::Updated(registered) => Ok(Json(Device::from(registered)).into_response()),
        Outcome::TooMany => {
            let message =
                format!("this user has {} devices, which is the most allowed; remove one", gateway.max_devices);
            Err(ApiError::new(StatusCode::CONFLICT, "too_many_devices", message))
        }
    }
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    whose: Result<Query<Whose>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Devices>, ApiError> {
    let user = caller_user(&gateway, whose, &headers).await?;
    let mut connection = gateway.database()?.pool().acquire().await.map_err(refusal::storage)?;
    let rows = store::of_user(&mut connection, &user).await.map_err(refusal::storage)?;
    Ok(Json(Devices { devices: rows.into_iter().map(Device::from).collect() }))
}

pub(super) async fn remove(
    State(gateway): State<Arc<Gateway>>,
    Path(device): Path<String>,
    whose: Result<Query<Whose>, QueryRejection>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let user = caller_user(&gateway, whose, &headers).await?;
    let removed = store::remove(gateway.database()?, &user, &device).await.map_err(refusal::storage)?;
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(refusal::device_unknown()) }
}

async fn caller_user(
    gateway: &Gateway,
    whose: Result<Query<Whose>, QueryRejection>,
    headers: &HeaderMap,
) -> Result<UserId, ApiError> {
    let caller = Caller::of(headers, gateway).await?;
    caller.user(named_user(whose)?.as_ref())
}

fn named_user(whose: Result<Query<Whose>, QueryRejection>) -> Result<Option<UserId>, ApiError> {
    whose.map(|Query(whose)| whose.user).map_err(|_| {
        let message = "the address takes one parameter, `user`: 1 to 256 bytes";
        ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", message)
    })
}
