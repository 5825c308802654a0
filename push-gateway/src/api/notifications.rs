//! Backends send notifications: 202 means that they are stored, not that they have arrived.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use sqlx::AnyConnection;
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{Notification, SendNotification, Target, TargetState, To, Ttl};

use super::{Gateway, direct, refusal, validate};
use crate::devices::{self, Registered};
use crate::queue::store::idempotency::{self, Seen};
use crate::queue::{Address, NewNotification, NewTarget, lane_name, store};

const IDEMPOTENCY_KEY: &str = "idempotency-key";

pub(super) async fn send(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let key = idempotency_key(&headers)?;
    let request: SendNotification = refusal::json(body)?;
    let hash = hash(&request)?;
    let now_ms = gateway.clock.now_ms();
    let mut transaction = gateway.database()?.begin().await.map_err(refusal::storage)?;
    if let Some(key) = &key {
        let seen = idempotency::find(&mut transaction, key, &hash, now_ms).await.map_err(refusal::storage)?;
        if let Some(answer) = repeated(seen)? {
            return Ok(accepted(answer));
        }
    }
    let targets = targets(&gateway, &mut transaction, &request).await?;
    if request.validate_only {
        // The providers take their time; the database need not wait for them.
        drop(transaction);
        let expires_at = expiry(request.ttl.unwrap_or(Ttl::new(gateway.ttl)), now_ms);
        return validate::answer(&gateway, &request, &targets, expires_at).await;
    }
    let notification = NewNotification {
        id: gateway.ids.next(),
        push: Arc::new(request.push),
        collapse_id: request.collapse_id,
        created_at: now_ms,
        expires_at: expiry(request.ttl.unwrap_or(Ttl::new(gateway.ttl)), now_ms),
    };
    let answer = serde_json::to_string(&first_answer(&notification, &targets)).map_err(|_| ApiError::internal())?;
    if let Some(key) = &key {
        let seen = idempotency::take(&mut transaction, key, &hash, &answer, now_ms).await.map_err(refusal::storage)?;
        if let Some(answer) = repeated(seen)? {
            return Ok(accepted(answer));
        }
    }
    store::insert(&mut transaction, &notification, &targets).await.map_err(refusal::storage)?;
    transaction.commit().await.map_err(refusal::storage)?;
    gateway.metrics.taken();
    let lanes: Vec<_> = targets.iter().map(|target| lane_name(target.provider, &target.app)).collect();
    gateway.apps.wake_lanes(&lanes);
    Ok(accepted(answer))
}

pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Notification>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let found = store::find(gateway.database()?, &id).await.map_err(refusal::storage)?;
    found.map(Json).ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "notification_unknown", "no such notification, or it ended too long ago")
    })
}

fn accepted(answer: String) -> Response {
    (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], answer).into_response()
}

/// The answer of the first request, when this one repeats it.
fn repeated(seen: Seen) -> Result<Option<String>, ApiError> {
    match seen {
        Seen::New => Ok(None),
        Seen::Same(answer) => Ok(Some(answer)),
        Seen::Other => {
            let message = "this Idempotency-Key was used with another body; use a new key for a new notification";
            Err(ApiError::new(StatusCode::CONFLICT, "idempotency_key_reused", message))
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
    let message = "an Idempotency-Key is 1 to 255 visible ASCII characters without spaces";
    key.map(|key| Some(key.to_owned()))
        .ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "idempotency_key_invalid", message))
}

/// Of what the request means, not of how it is written.
fn hash(request: &SendNotification) -> Result<String, ApiError> {
    let canonical = serde_json::to_vec(request).map_err(|_| ApiError::internal())?;
    Ok(Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// 0 stands for one attempt only.
fn expiry(ttl: Ttl, now_ms: i64) -> i64 {
    match ttl.as_ms() {
        0 => 0,
        ttl => now_ms.saturating_add(ttl),
    }
}

fn first_answer(notification: &NewNotification, targets: &[NewTarget]) -> Notification {
    let target = |target: &NewTarget| Target {
        id: target.id.clone(),
        device: match &target.to {
            Address::Device { name, .. } => Some(name.clone()),
            Address::Token { .. } => None,
        },
        provider: target.provider,
        app: target.app.clone(),
        state: TargetState::Queued,
        attempts: 0,
        provider_status: None,
        reason: None,
        provider_id: None,
        token_gone: false,
        maybe_repeated: false,
        next_attempt_at_ms: Some(notification.created_at),
    };
    Notification { id: notification.id.clone(), targets: targets.iter().map(target).collect() }
}

/// The addressees, each checked against what its provider takes.
async fn targets(
    gateway: &Gateway,
    connection: &mut AnyConnection,
    request: &SendNotification,
) -> Result<Vec<NewTarget>, ApiError> {
    let of_device = |device: &Registered| NewTarget::of_device(gateway.ids.next(), device);
    let targets: Vec<NewTarget> = match &request.to {
        To::User(user) => {
            let devices = devices::store::of_user(connection, user).await.map_err(refusal::storage)?;
            // A device whose app is no longer configured is not a fault of this request.
            let reachable = devices
                .iter()
                .filter(|device| gateway.apps.lane(device.registration.provider, &device.registration.app).is_some());
            reachable.map(of_device).collect()
        }
        To::Registration(id) => {
            let device = devices::store::by_id(connection, id).await.map_err(refusal::storage)?;
            vec![of_device(&device.ok_or_else(refusal::device_unknown)?)]
        }
        To::Device { user, device } => {
            let device = devices::store::find_in(connection, user, device).await.map_err(refusal::storage)?;
            vec![of_device(&device.ok_or_else(refusal::device_unknown)?)]
        }
        other => match direct::read(other)? {
            Some(to) => vec![NewTarget {
                id: gateway.ids.next(),
                provider: to.provider,
                app: to.app,
                environment: to.environment,
                to: Address::Token { token: to.token, registered_at: to.registered_at_ms },
            }],
            None => Vec::new(),
        },
    };
    for target in &targets {
        let Some(lane) = gateway.apps.lane(target.provider, &target.app) else {
            return Err(refusal::app(&gateway.apps, target.provider, &target.app));
        };
        if !lane.client.serves(target.environment) {
            return Err(refusal::environment(&target.app));
        }
        lane.client.check(&request.push, request.collapse_id.as_deref()).map_err(|refusal| refusal::push(&refusal))?;
        if let Address::Token { token, .. } = &target.to {
            lane.client.check_recipient(token, &request.push).map_err(|refusal| refusal::push(&refusal))?;
        }
    }
    Ok(targets)
}
