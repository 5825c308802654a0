//! Backends say who is told what became of pushes.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{PutWebhook, Webhook, WebhookTest, Webhooks};

use super::{Gateway, names, refusal};
use crate::events::KINDS;
use crate::webhooks::signing;
use crate::webhooks::store::{self, Counts, Stored, deliveries};

/// Stores a webhook. The answer has the secret when this request made it.
#[utoipa::path(put, path = "/v1/webhooks/{name}", tag = "webhooks", params(("name" = String, Path, description = "Its name")),
    request_body = PutWebhook, security(("service_key" = [])),
    responses((status = 200, body = Webhook), (status = 201, body = Webhook)))]
pub(super) async fn put(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    names::check(&name)?;
    let wanted: PutWebhook = refusal::json(body)?;
    check(&gateway, &wanted)?;
    let database = gateway.database()?;
    let now_ms = gateway.clock.now_ms();
    if wanted.enabled {
        gateway.rooms.events.webhook_enabled(database, now_ms).await.map_err(refusal::storage)?;
    }
    let mut transaction = database.begin().await.map_err(refusal::storage)?;
    let known = store::find(&mut transaction, &name).await.map_err(refusal::storage)?;
    let begins = store::last_event(&mut transaction).await.map_err(refusal::storage)?;
    let created = known.is_none();
    let (webhook, made) = merged(&gateway, name, known, wanted, begins, now_ms);
    store::put(&mut transaction, &webhook).await.map_err(refusal::storage)?;
    transaction.commit().await.map_err(refusal::storage)?;
    if webhook.enabled {
        gateway.metrics.registry.webhook_disabled(&webhook.name, false);
    }
    gateway.rooms.courier.changed.notify_one();
    let counts = deliveries::counts(database, &webhook.name).await.map_err(refusal::storage)?;
    let secret = made.then(|| webhook.secret.clone());
    let shown = Webhook { secret, ..webhook.shown(counts, now_ms) };
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(shown)).into_response())
}

/// Shows a webhook.
#[utoipa::path(get, path = "/v1/webhooks/{name}", tag = "webhooks", params(("name" = String, Path, description = "Its name")),
    security(("service_key" = [])), responses((status = 200, body = Webhook)))]
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Webhook>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let webhook = find(&gateway, &name).await?;
    let counts = counts(&gateway, &name).await?;
    Ok(Json(webhook.shown(counts, gateway.clock.now_ms())))
}

/// Lists the webhooks.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", security(("service_key" = [])),
    responses((status = 200, body = Webhooks)))]
pub(super) async fn list(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Json<Webhooks>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let now_ms = gateway.clock.now_ms();
    let mut webhooks = Vec::new();
    for webhook in store::all(gateway.database()?).await.map_err(refusal::storage)? {
        let counts = counts(&gateway, &webhook.name).await?;
        webhooks.push(webhook.shown(counts, now_ms));
    }
    Ok(Json(Webhooks { webhooks }))
}

/// Removes a webhook with everything that it has not taken.
#[utoipa::path(delete, path = "/v1/webhooks/{name}", tag = "webhooks", params(("name" = String, Path, description = "Its name")),
    security(("service_key" = [])), responses((status = 204)))]
pub(super) async fn remove(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let removed = store::remove(gateway.database()?, &name).await.map_err(refusal::storage)?;
    if !removed {
        return Err(unknown(&name));
    }
    gateway.metrics.registry.webhook_removed(&name);
    gateway.rooms.courier.changed.notify_one();
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test event, once, and says what came of it. A disabled webhook is tested too.
#[utoipa::path(post, path = "/v1/webhooks/{name}/test", tag = "webhooks",
    params(("name" = String, Path, description = "Its name")), security(("service_key" = [])),
    responses((status = 200, body = WebhookTest)))]
pub(super) async fn test(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<WebhookTest>, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let webhook = find(&gateway, &name).await?;
    Ok(Json(gateway.rooms.courier.test(&webhook, &gateway.ids.next()).await))
}

fn check(gateway: &Gateway, wanted: &PutWebhook) -> Result<(), ApiError> {
    let refused = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "webhook_invalid", message);
    gateway.rooms.courier.policy.check(&wanted.url).map_err(|error| refused(error.to_string()))?;
    for event in &wanted.events {
        let known = match event.strip_suffix('*') {
            Some(beginning) => KINDS.iter().any(|kind| kind.starts_with(beginning)),
            None => KINDS.contains(&event.as_str()),
        };
        if !known {
            let shown: String = event.chars().take(64).collect();
            let message =
                format!("there is no event \"{shown}\"; there are: {}, or a beginning and `*`", KINDS.join(", "));
            return Err(refused(message));
        }
    }
    if let Some(secret) = &wanted.secret {
        signing::key(secret).map_err(|error| refused(error.to_string()))?;
        if wanted.rotate_secret {
            return Err(refused("name a `secret`, or `rotate_secret`, not both".to_owned()));
        }
    }
    Ok(())
}

/// What the webhook is from now on, and whether its secret was made here.
fn merged(
    gateway: &Gateway,
    name: String,
    known: Option<Stored>,
    wanted: PutWebhook,
    begins: i64,
    now_ms: i64,
) -> (Stored, bool) {
    let overlap = gateway.rooms.courier.settings.secret_overlap;
    let overlap_until = now_ms.saturating_add(i64::try_from(overlap.as_millis()).unwrap_or(i64::MAX));
    let old = known.as_ref().map(|known| known.secret.clone());
    let (secret, made) = match (wanted.secret, &old) {
        (Some(secret), _) => (secret, false),
        (None, Some(old)) if !wanted.rotate_secret => (old.clone(), false),
        (None, _) => (signing::new_secret(), true),
    };
    let rotated = old.as_ref().is_some_and(|old| *old != secret);
    let (old_secret, old_secret_until) = if rotated {
        (old, Some(overlap_until))
    } else {
        known.as_ref().map_or((None, None), |known| (known.old_secret.clone(), known.old_secret_until))
    };
    // One that comes back begins with the next event; one that goes on keeps its place.
    let goes_on = known.as_ref().filter(|known| known.enabled);
    let position = goes_on.map_or(begins, |known| known.position);
    let same_url = goes_on.is_some_and(|known| known.url == wanted.url);
    let failing = goes_on.filter(|_| same_url);
    let webhook = Stored {
        name,
        url: wanted.url,
        events: wanted.events,
        secret,
        old_secret,
        old_secret_until,
        enabled: wanted.enabled,
        disabled_reason: None,
        failing_since: failing.and_then(|known| known.failing_since),
        last_error: failing.and_then(|known| known.last_error.clone()),
        position,
        updated_at: now_ms,
    };
    (webhook, made)
}

async fn find(gateway: &Gateway, name: &str) -> Result<Stored, ApiError> {
    let mut connection = gateway.database()?.pool().acquire().await.map_err(refusal::storage)?;
    let found = store::find(&mut connection, name).await.map_err(refusal::storage)?;
    found.ok_or_else(|| unknown(name))
}

async fn counts(gateway: &Gateway, name: &str) -> Result<Counts, ApiError> {
    deliveries::counts(gateway.database()?, name).await.map_err(refusal::storage)
}

fn unknown(name: &str) -> ApiError {
    names::unknown("webhook_unknown", "webhook", name)
}
