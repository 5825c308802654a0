//! Devices register their push tokens. With an app token for the token's own user, with a service key for anybody.

use std::collections::BTreeSet;
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
use tidings_shared::push_api::{
    Device, Devices, Environment, PatchDevice, Provider, Push, RegisterDevice, check_time_zone,
};

use super::caller::Caller;
use super::{Gateway, refusal};
use crate::devices::describe::{self, Undescribable};
use crate::devices::store::{self, Change, Changed, Outcome};
use crate::devices::{Description, Registration, canonical_token, check_client, check_device, check_token};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    user: Option<UserId>,
}

/// Registers a device, or confirms it; a changed push token replaces the one before.
#[utoipa::path(put, path = "/v1/devices/{device}", tag = "devices",
    params(("device" = String, Path, description = "The device's name"), ("user" = Option<String>, Query, description = "Whose; with a service key")),
    request_body = RegisterDevice, security(("app_token" = []), ("service_key" = [])),
    responses((status = 200, body = Device), (status = 201, body = Device)))]
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
    let described = Description {
        locale: wanted.locale.as_deref().map(locale).transpose()?,
        time_zone: wanted.time_zone.map(time_zone).transpose()?,
        version: wanted.version.as_deref().map(version).transpose()?,
        tags: wanted.tags.as_deref().map(tags).transpose()?,
    };
    let registration = Registration {
        user,
        device,
        client: wanted.client,
        provider: wanted.provider,
        environment: if wanted.provider == Provider::Apns { wanted.environment } else { Environment::Production },
        token: canonical_token(wanted.provider, &wanted.token),
        app: wanted.app,
        described,
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

/// Changes some of what is known of a device. A rotated token is a new generation and ends a quarantine.
#[utoipa::path(patch, path = "/v1/devices/{device}", tag = "devices",
    params(("device" = String, Path, description = "The device's name"), ("user" = Option<String>, Query, description = "Whose; with a service key")),
    request_body = PatchDevice, security(("app_token" = []), ("service_key" = [])), responses((status = 200, body = Device)))]
pub(super) async fn change(
    State(gateway): State<Arc<Gateway>>,
    Path(device): Path<String>,
    whose: Result<Query<Whose>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Device>, ApiError> {
    let user = caller_user(&gateway, whose, &headers).await?;
    let wanted: PatchDevice = refusal::json(body)?;
    if wanted.old_token.is_some() && wanted.token.is_none() {
        let message = "`old_token` is the one that `token` replaces; send both";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", message));
    }
    let database = gateway.database()?;
    let known = store::belongs_to(database, &user, &device).await.map_err(refusal::storage)?;
    let (provider, app) = known.ok_or_else(refusal::device_unknown)?;
    let lane = gateway.apps.lane(provider, &app);
    if let Some(token) = &wanted.token {
        check_token(provider, token).map_err(|error| refusal::invalid(&error))?;
        let lane = lane.ok_or_else(|| refusal::app(&gateway.apps, provider, &app))?;
        lane.client.check_recipient(token, &Push::Wake {}).map_err(|refused| refusal::push(&refused))?;
    }
    if let Some(environment) = wanted.environment
        && lane.is_some_and(|lane| !lane.client.serves(environment))
    {
        return Err(refusal::environment(&app));
    }
    if let Some(Some(client)) = &wanted.client {
        check_client(client).map_err(|error| refusal::invalid(&error))?;
    }
    let change = Change {
        token: wanted.token.map(|token| canonical_token(provider, &token)),
        old_token: wanted.old_token.map(|token| canonical_token(provider, &token)),
        environment: wanted.environment.filter(|_| provider == Provider::Apns),
        client: wanted.client,
        locale: wanted.locale.map(|text| text.as_deref().map(locale).transpose()).transpose()?,
        time_zone: wanted.time_zone.map(|text| text.map(time_zone).transpose()).transpose()?,
        version: wanted.version.map(|text| text.as_deref().map(version).transpose()).transpose()?,
        tags: wanted.tags.as_deref().map(tags).transpose()?,
        add_tags: tags(&wanted.add_tags)?,
        remove_tags: wanted.remove_tags.into_iter().collect(),
    };
    match store::change(database, &user, &device, &change, gateway.clock.now_ms()).await.map_err(refusal::storage)? {
        Changed::Done(registered) => Ok(Json(Device::from(*registered))),
        Changed::Unknown => Err(refusal::device_unknown()),
        Changed::OtherToken => {
            let message = "another token is known by now; leave `old_token` out to replace it all the same";
            Err(ApiError::new(StatusCode::CONFLICT, "token_changed", message))
        }
        Changed::TooManyTags(found) => Err(refusal::described(&Undescribable::TooManyTags(found))),
    }
}

fn locale(text: &str) -> Result<String, ApiError> {
    describe::locale(text).map_err(|error| refusal::described(&error))
}

fn time_zone(name: String) -> Result<String, ApiError> {
    check_time_zone(&name).map_err(refusal::time_zone)?;
    Ok(name)
}

fn version(text: &str) -> Result<String, ApiError> {
    describe::version(text).map_err(|error| refusal::described(&error))
}

fn tags(tags: &[String]) -> Result<BTreeSet<String>, ApiError> {
    describe::tags(tags).map_err(|error| refusal::described(&error))
}

/// Lists a user's devices, those in quarantine too.
#[utoipa::path(get, path = "/v1/devices", tag = "devices",
    params(("user" = Option<String>, Query, description = "Whose; with a service key")),
    security(("app_token" = []), ("service_key" = [])), responses((status = 200, body = Devices)))]
pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    whose: Result<Query<Whose>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Devices>, ApiError> {
    let user = caller_user(&gateway, whose, &headers).await?;
    let mut connection = gateway.database()?.pool().acquire().await.map_err(refusal::storage)?;
    let rows = store::all_of_user(&mut connection, &user).await.map_err(refusal::storage)?;
    Ok(Json(Devices { devices: rows.into_iter().map(Device::from).collect() }))
}

/// Unregisters a device; pushes that wait for it end as dead.
#[utoipa::path(delete, path = "/v1/devices/{device}", tag = "devices",
    params(("device" = String, Path, description = "The device's name"), ("user" = Option<String>, Query, description = "Whose; with a service key")),
    security(("app_token" = []), ("service_key" = [])), responses((status = 204)))]
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
