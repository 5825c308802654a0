//! What can be asked of the simulators over HTTP.
//!
//! | call | what it does |
//! |---|---|
//! | `GET /pushes?token=T&after=N&limit=L&wait=25s` | pushes after number N, waiting for the first one; `last` is the next `after` |
//! | `POST /apns/script`, `POST /fcm/script`, `POST /webpush/script` | adds a [`Rule`](crate::script::Rule); `GET` shows the ones in force |
//! | `POST /apns/tokens`, `POST /fcm/tokens` | makes a device token known |
//! | `POST /apns/keys` | makes a provider key known |
//! | `POST /apns/connections` | does a [`ConnectionCommand`] to every connection |
//! | `POST /webpush/subscriptions`, `POST /webpush/unsubscribe` | a browser subscribes: answers the subscription; it forgets it |
//! | `GET /apns/stats`, `GET /fcm/stats`, `GET /webpush/stats` | counters |
//! | `POST /googlewallet/script`, `GET /googlewallet/stats`, `GET /googlewallet/objects/ID` | the same of Google Wallet; an object with its messages |
//! | `POST /fcm/service-accounts` | makes a service account: answers its key file |
//! | `POST /reset` | forgets scripts, tokens, pushes and counters |
//! | `POST /tokens`, `GET /token/USER?ttl=1h` | a signed token as JSON, or as text |
//! | `GET /.well-known/jwks.json`, `GET /.well-known/openid-configuration` | the issuer |

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tidings_shared::http::ApiError;
use tidings_shared::identity::UserId;

use super::issuer::{TokenRequest, parse_ttl};
use crate::Simulators;
use crate::apns::{ApnsAction, ApnsStats, ConnectionCommand, DeviceToken, ProviderKey};
use crate::fcm::{DEVELOPMENT_PROJECT, FcmAction, FcmStats, RegistrationToken, ServiceAccount};
use crate::inbox::Push;
use crate::script::Rule;
use crate::webpush::{BrowserSubscription, WebPushAction, WebPushStats};

/// The longest wait for a push, below the time-outs of common proxies.
const MAX_WAIT_MS: i64 = 55_000;
const DEFAULT_LIMIT: usize = 1_000;

/// A JSON body; a wrong one is refused with what is wrong with it.
struct Body<T>(T);

impl<T, S> FromRequest<S> for Body<T>
where
    Json<T>: FromRequest<S, Rejection = JsonRejection>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, ApiError> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(invalid(rejection.body_text())),
        }
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", message)
}

/// The control door.
pub fn router(simulators: Simulators) -> Router {
    Router::new()
        .route("/pushes", get(pushes))
        .route("/apns/script", get(apns_rules).post(apns_script))
        .route("/apns/tokens", post(apns_token))
        .route("/apns/keys", post(apns_key))
        .route("/apns/connections", post(apns_connections))
        .route("/apns/stats", get(apns_stats))
        .route("/fcm/script", get(fcm_rules).post(fcm_script))
        .route("/fcm/tokens", post(fcm_token))
        .route("/fcm/service-accounts", post(fcm_account))
        .route("/fcm/stats", get(fcm_stats))
        .route("/webpush/script", get(webpush_rules).post(webpush_script))
        .route("/webpush/subscriptions", post(webpush_subscribe))
        .route("/webpush/unsubscribe", post(webpush_unsubscribe))
        .route("/webpush/stats", get(webpush_stats))
        .route("/googlewallet/script", post(wallet_script))
        .route("/googlewallet/stats", get(wallet_stats))
        .route("/googlewallet/objects/{id}", get(wallet_object))
        .route("/reset", post(reset))
        .route("/tokens", post(mint))
        .route("/token/{user}", get(mint_text))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/.well-known/openid-configuration", get(metadata))
        .fallback(unknown)
        .with_state(simulators)
}

async fn unknown() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "the simulators' control has: /pushes, /apns/{script,tokens,keys,connections,stats}, \
         /fcm/{script,tokens,service-accounts,stats}, \
         /webpush/{script,subscriptions,unsubscribe,stats}, /googlewallet/{script,stats,objects/ID}, /reset, /tokens, /token/USER, /.well-known/jwks.json, \
         /.well-known/openid-configuration, /healthz, /readyz, /metrics",
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PushQuery {
    token: Option<String>,
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    wait: Option<String>,
}

#[derive(Serialize)]
struct Pushes {
    pushes: Vec<Arc<Push>>,
    /// The `after` of the next request.
    last: u64,
}

async fn pushes(
    State(simulators): State<Simulators>,
    query: Result<Query<PushQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Pushes>, ApiError> {
    let Query(query) = query.map_err(|rejection| invalid(rejection.body_text()))?;
    let wait_ms = query.wait.as_deref().map_or(Ok(0), parse_ttl).map_err(|why| invalid(why.replace("ttl", "wait")))?;
    let wait = Duration::from_millis(wait_ms.clamp(0, MAX_WAIT_MS).unsigned_abs());
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, 10_000);
    // APNs' tokens are hex and kept in lower case; those of FCM keep their case.
    let token = query.token.map(|token| {
        let hex = token.len() >= 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex { token.to_ascii_lowercase() } else { token }
    });
    let found = simulators.inbox().wait(token.as_deref(), query.after, limit, wait);
    let pushes = tokio::select! {
        pushes = found => pushes,
        () = simulators.shutdown().wait() => Vec::new(),
    };
    let last = pushes.last().map_or(query.after, |push| push.seq);
    Ok(Json(Pushes { pushes, last }))
}

async fn apns_rules(State(simulators): State<Simulators>) -> Json<Vec<Rule<ApnsAction>>> {
    Json(simulators.apns().script().active())
}

async fn apns_script(State(simulators): State<Simulators>, Body(mut rule): Body<Rule<ApnsAction>>) -> StatusCode {
    // Tokens are hex; the ids of channels keep their case.
    if let Some(token) = &mut rule.token
        && !token.starts_with("channel:")
    {
        token.make_ascii_lowercase();
    }
    simulators.apns().script().add(rule);
    StatusCode::NO_CONTENT
}

async fn apns_token(State(simulators): State<Simulators>, Body(token): Body<DeviceToken>) -> StatusCode {
    simulators.apns().register_token(token);
    StatusCode::NO_CONTENT
}

async fn apns_key(State(simulators): State<Simulators>, Body(key): Body<ProviderKey>) -> Result<StatusCode, ApiError> {
    simulators.apns().register_key(&key).map_err(|error| invalid(format!("{error:#}")))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn apns_connections(State(simulators): State<Simulators>, Body(command): Body<ConnectionCommand>) -> Json<Value> {
    Json(json!({ "connections": simulators.apns().command(&command) }))
}

async fn apns_stats(State(simulators): State<Simulators>) -> Json<ApnsStats> {
    Json(simulators.apns().stats())
}

async fn fcm_rules(State(simulators): State<Simulators>) -> Json<Vec<Rule<FcmAction>>> {
    Json(simulators.fcm().script().active())
}

async fn fcm_script(State(simulators): State<Simulators>, Body(rule): Body<Rule<FcmAction>>) -> StatusCode {
    simulators.fcm().script().add(rule);
    StatusCode::NO_CONTENT
}

async fn fcm_token(State(simulators): State<Simulators>, Body(token): Body<RegistrationToken>) -> StatusCode {
    simulators.fcm().register_token(token);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountRequest {
    #[serde(default = "development_project")]
    project: String,
}

fn development_project() -> String {
    DEVELOPMENT_PROJECT.to_owned()
}

async fn fcm_account(
    State(simulators): State<Simulators>,
    Body(request): Body<AccountRequest>,
) -> Result<Json<ServiceAccount>, ApiError> {
    let made = tokio::task::spawn_blocking(move || simulators.fcm().create_service_account(&request.project)).await;
    match made {
        Ok(Ok(account)) => Ok(Json(account)),
        Ok(Err(error)) => {
            tracing::error!(%error, "a service account cannot be made");
            Err(ApiError::internal())
        }
        Err(_) => Err(ApiError::internal()),
    }
}

async fn fcm_stats(State(simulators): State<Simulators>) -> Json<FcmStats> {
    Json(simulators.fcm().stats())
}

async fn webpush_rules(State(simulators): State<Simulators>) -> Json<Vec<Rule<WebPushAction>>> {
    Json(simulators.webpush().script().active())
}

async fn webpush_script(State(simulators): State<Simulators>, Body(rule): Body<Rule<WebPushAction>>) -> StatusCode {
    simulators.webpush().script().add(rule);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscribeRequest {
    /// The only key that may send.
    #[serde(default)]
    application_server_key: Option<String>,
}

async fn webpush_subscribe(
    State(simulators): State<Simulators>,
    Body(request): Body<SubscribeRequest>,
) -> Result<Json<BrowserSubscription>, ApiError> {
    let subscribed = simulators.webpush().subscribe(request.application_server_key.as_deref());
    subscribed.map(Json).map_err(|error| invalid(format!("{error:#}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnsubscribeRequest {
    endpoint: String,
}

async fn webpush_unsubscribe(
    State(simulators): State<Simulators>,
    Body(request): Body<UnsubscribeRequest>,
) -> Result<StatusCode, ApiError> {
    if simulators.webpush().unsubscribe(&request.endpoint) {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(invalid("no subscription has this endpoint"))
}

async fn webpush_stats(State(simulators): State<Simulators>) -> Json<WebPushStats> {
    Json(simulators.webpush().stats())
}

async fn wallet_script(
    State(simulators): State<Simulators>,
    Body(rule): Body<Rule<crate::googlewallet::WalletAction>>,
) -> StatusCode {
    simulators.googlewallet().script().add(rule);
    StatusCode::NO_CONTENT
}

async fn wallet_stats(State(simulators): State<Simulators>) -> Json<crate::googlewallet::WalletStats> {
    Json(simulators.googlewallet().stats())
}

async fn wallet_object(
    State(simulators): State<Simulators>,
    Path(id): Path<String>,
) -> Result<Json<crate::googlewallet::WalletObject>, ApiError> {
    simulators.googlewallet().object(&id).map(Json).ok_or_else(|| invalid("there is no such object"))
}

async fn reset(State(simulators): State<Simulators>) -> StatusCode {
    simulators.reset();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MintRequest {
    user: UserId,
    #[serde(default = "hour")]
    ttl: String,
    #[serde(default)]
    acl: Option<Value>,
    #[serde(default)]
    claims: Map<String, Value>,
}

fn hour() -> String {
    "1h".to_owned()
}

fn mint_token(simulators: &Simulators, request: MintRequest) -> Result<(String, i64), ApiError> {
    let ttl_ms = parse_ttl(&request.ttl).map_err(invalid)?;
    let token_request = TokenRequest { ttl_ms, acl: request.acl, claims: request.claims };
    simulators.issuer().mint(&request.user, &token_request).map_err(|error| {
        tracing::error!(%error, "a token cannot be signed");
        ApiError::internal()
    })
}

async fn mint(State(simulators): State<Simulators>, Body(request): Body<MintRequest>) -> Result<Json<Value>, ApiError> {
    let user = request.user.clone();
    let (token, expires_at_ms) = mint_token(&simulators, request)?;
    Ok(Json(json!({ "token": token, "user": user, "expires_at_ms": expires_at_ms })))
}

#[derive(Deserialize)]
struct TtlQuery {
    ttl: Option<String>,
}

async fn mint_text(
    State(simulators): State<Simulators>,
    Path(user): Path<String>,
    Query(query): Query<TtlQuery>,
) -> Result<String, ApiError> {
    let user = UserId::new(&user).map_err(|error| invalid(error.to_string()))?;
    let ttl = query.ttl.unwrap_or_else(hour);
    let request = MintRequest { user, ttl, acl: None, claims: Map::new() };
    mint_token(&simulators, request).map(|(token, _)| token)
}

async fn jwks(State(simulators): State<Simulators>) -> Json<Value> {
    Json(simulators.issuer().jwks())
}

async fn metadata(State(simulators): State<Simulators>) -> Json<Value> {
    Json(simulators.issuer().metadata())
}
