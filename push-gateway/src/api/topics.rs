//! Topic subscriptions at FCM, for registration tokens and for the devices of users.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use http::{HeaderMap, StatusCode};
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;
use tidings_shared::identity::UserId;
use tidings_shared::push_api::{Environment, Provider, TopicFailure, TopicMembers, TopicResults};

use super::{Gateway, refusal};
use crate::apps::Client;
use crate::devices;
use crate::provider::Recipient;
use crate::provider::fcm::Fcm;
use crate::provider::fcm::topics::{Change, TopicError};

/// The most tokens and users in one request.
const MAX_MEMBERS: usize = 1000;

/// Whose token it is, for the answer.
struct Member {
    position: Option<usize>,
    device: Option<(UserId, String)>,
}

/// Subscribes devices to a topic at FCM.
#[utoipa::path(post, path = "/v1/apps/{app}/topics/{topic}/subscribe", tag = "apps", params(("app" = String, Path, description = "The app (push.apps.NAME)"), ("topic" = String, Path, description = "The topic's name")), request_body = TopicMembers, security(("service_key" = [])), responses((status = 200, body = TopicResults)))]
pub(super) async fn subscribe(
    State(gateway): State<Arc<Gateway>>,
    Path((app, topic)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<TopicResults>, ApiError> {
    change(&gateway, Change::Subscribe, &app, &topic, &headers, body).await
}

/// Takes devices off a topic at FCM.
#[utoipa::path(post, path = "/v1/apps/{app}/topics/{topic}/unsubscribe", tag = "apps", params(("app" = String, Path, description = "The app (push.apps.NAME)"), ("topic" = String, Path, description = "The topic's name")), request_body = TopicMembers, security(("service_key" = [])), responses((status = 200, body = TopicResults)))]
pub(super) async fn unsubscribe(
    State(gateway): State<Arc<Gateway>>,
    Path((app, topic)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<TopicResults>, ApiError> {
    change(&gateway, Change::Unsubscribe, &app, &topic, &headers, body).await
}

async fn change(
    gateway: &Gateway,
    change: Change,
    app: &str,
    topic: &str,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<TopicResults>, ApiError> {
    require_service_key(headers, &gateway.service_keys)?;
    let wanted: TopicMembers = refusal::json(body)?;
    let count = wanted.tokens.len() + wanted.users.len();
    if !(1..=MAX_MEMBERS).contains(&count) {
        let message = format!("`tokens` and `users` have {count} together; 1 to {MAX_MEMBERS} are allowed");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", message));
    }
    let fcm = fcm(gateway, app)?;
    let (members, tokens) = members(gateway, app, wanted).await?;
    let results = fcm.change_topic(change, topic, &tokens).await.map_err(refused)?;
    let failed: Vec<_> =
        members.into_iter().zip(results).filter_map(|(member, result)| failure(member, result?)).collect();
    Ok(Json(TopicResults { done: tokens.len() - failed.len(), failed }))
}

fn failure(member: Member, reason: String) -> Option<TopicFailure> {
    let (user, device) = member.device.map_or((None, None), |(user, device)| (Some(user), Some(device)));
    Some(TopicFailure { position: member.position, user, device, reason })
}

async fn members(gateway: &Gateway, app: &str, wanted: TopicMembers) -> Result<(Vec<Member>, Vec<String>), ApiError> {
    let mut members = Vec::new();
    let mut tokens = wanted.tokens;
    members.extend((0..tokens.len()).map(|position| Member { position: Some(position), device: None }));
    if wanted.users.is_empty() {
        return Ok((members, tokens));
    }
    let mut connection = gateway.database()?.pool().acquire().await.map_err(refusal::storage)?;
    for user in wanted.users {
        let found = devices::store::of_user(&mut connection, &user).await.map_err(refusal::storage)?;
        for device in found {
            let registration = device.registration;
            if registration.provider == Provider::Fcm && registration.app == app {
                // Google's service takes an installation id as it takes a token.
                tokens.push(match Recipient::read(Provider::Fcm, &registration.token) {
                    Recipient::Installation(id) => id.to_owned(),
                    _ => registration.token,
                });
                members.push(Member { position: None, device: Some((registration.user, registration.device)) });
            }
        }
    }
    Ok((members, tokens))
}

fn fcm(gateway: &Gateway, app: &str) -> Result<Arc<Fcm>, ApiError> {
    let set = gateway.apps.set(Provider::Fcm, app);
    let preferred = set.and_then(|set| set.preferred(Environment::Production));
    match preferred.as_ref().map(|credential| credential.client()) {
        Some(Client::Fcm(client)) => Ok(Arc::clone(client)),
        _ => Err(refusal::app(&gateway.apps, Provider::Fcm, app)),
    }
}

fn refused(error: TopicError) -> ApiError {
    let message = error.to_string();
    match &error {
        TopicError::Invalid(refusal) => refusal::push(refusal),
        TopicError::Refused { .. } => ApiError::new(StatusCode::BAD_GATEWAY, "provider_refused", message),
        TopicError::Unanswered(_) => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "provider_unavailable", message).retry_after(10)
        }
    }
}
