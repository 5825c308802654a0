//! Topic subscriptions: the Instance ID service's `iid/v1:batchAdd` and `iid/v1:batchRemove`, and one by one in FCM v1.

use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::FcmError;
use super::server::Cut;
use super::{FcmAction, FcmSimulator, lock};

/// The most tokens in a request.
const MAX_TOKENS: usize = 1000;
/// The most topics that one token may have.
const MAX_TOPICS: usize = 2000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    to: String,
    registration_tokens: Vec<String>,
}

impl FcmSimulator {
    /// Who has subscribed to a project's topic.
    #[must_use]
    pub fn subscribers(&self, project: &str, topic: &str) -> BTreeSet<String> {
        lock(&self.0.topics).get(&(project.to_owned(), topic.to_owned())).cloned().unwrap_or_default()
    }
}

pub(super) async fn batch(
    State(simulator): State<FcmSimulator>,
    Path(call): Path<String>,
    Extension(cut): Extension<Cut>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let add = match call.as_str() {
        "v1:batchAdd" => true,
        "v1:batchRemove" => false,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let refuse = |status: StatusCode, why: &str| (status, Json(json!({ "error": why }))).into_response();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // Without it the service takes the token for a legacy server key.
    if text("access_token_auth") != Some("true") {
        return refuse(StatusCode::UNAUTHORIZED, "MissingAuthorization");
    }
    let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
    let Some(access) = bearer.and_then(|token| simulator.access(token.trim())) else {
        let FcmError { status, body, .. } = FcmError::unauthenticated();
        return (status, Json(body)).into_response();
    };
    let Ok(batch) = serde_json::from_slice::<Batch>(&body) else {
        return refuse(StatusCode::BAD_REQUEST, "InvalidRequest");
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
    let topic =
        batch.to.strip_prefix("/topics/").filter(|name| (1..=900).contains(&name.len()) && name.bytes().all(legal));
    let Some(topic) = topic else { return refuse(StatusCode::BAD_REQUEST, "InvalidTopicName") };
    if !(1..=MAX_TOKENS).contains(&batch.registration_tokens.len()) {
        return refuse(StatusCode::BAD_REQUEST, "TooManyRegistrationTokens");
    }
    if let Some(hit) = simulator.0.script.next(&format!("topics:{topic}"), &access.project) {
        tokio::time::sleep(hit.delay).await;
        match hit.action {
            FcmAction::Accept => {}
            FcmAction::Stall => std::future::pending::<()>().await,
            FcmAction::Cut => cut.now().await,
            FcmAction::Html502 => return (StatusCode::BAD_GATEWAY, Html("<!DOCTYPE html>")).into_response(),
            FcmAction::RevokeTokens => {
                lock(&simulator.0.access).clear();
                let FcmError { status, body, .. } = FcmError::unauthenticated();
                return (status, Json(body)).into_response();
            }
            FcmAction::Answer(error) => {
                let FcmError { status, body, .. } = FcmError::scripted(&error);
                return (status, Json(body)).into_response();
            }
        }
    }
    let results: Vec<Value> = batch
        .registration_tokens
        .into_iter()
        .map(|token| match change(&simulator, &access.project, topic, token, add) {
            Ok(()) => json!({}),
            Err(reason) => json!({ "error": reason }),
        })
        .collect();
    Json(json!({ "results": results })).into_response()
}

#[derive(Deserialize)]
pub(super) struct TopicName {
    topic_name: String,
}

/// `POST /v1/projects/PROJECT/registrations/TOKEN/topicSubscriptions?topic_name=TOPIC`: the way of newer Admin SDKs.
pub(super) async fn subscribe(
    State(simulator): State<FcmSimulator>,
    Path((project, token)): Path<(String, String)>,
    Query(TopicName { topic_name }): Query<TopicName>,
    headers: HeaderMap,
) -> Response {
    one(&simulator, &project, &topic_name, token, &headers, true)
}

/// `DELETE /v1/projects/PROJECT/registrations/TOKEN/topicSubscriptions/TOPIC`.
pub(super) async fn unsubscribe(
    State(simulator): State<FcmSimulator>,
    Path((project, token, topic)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    one(&simulator, &project, &topic, token, &headers, false)
}

fn one(
    simulator: &FcmSimulator,
    project: &str,
    topic: &str,
    token: String,
    headers: &HeaderMap,
    add: bool,
) -> Response {
    let refuse = |error: FcmError| (error.status, Json(error.body)).into_response();
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = authorization.and_then(|value| value.strip_prefix("Bearer "));
    let Some(access) = bearer.and_then(|token| simulator.access(token.trim())) else {
        return refuse(FcmError::unauthenticated());
    };
    if access.project != project {
        return refuse(FcmError::permission_denied(project));
    }
    match change(simulator, project, topic, token, add) {
        Ok(()) => Json(json!({})).into_response(),
        Err("NOT_FOUND") => refuse(FcmError::fcm("UNREGISTERED", "Requested entity was not found.")),
        Err(reason) => refuse(FcmError::fcm("INVALID_ARGUMENT", reason)),
    }
}

fn change(simulator: &FcmSimulator, project: &str, topic: &str, token: String, add: bool) -> Result<(), &'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-.".contains(&byte);
    if token.is_empty() || !token.bytes().all(legal) {
        return Err("INVALID_ARGUMENT");
    }
    match lock(&simulator.0.tokens).get(&token) {
        None if simulator.0.options.strict_tokens => return Err("NOT_FOUND"),
        Some(known) if known.gone => return Err("NOT_FOUND"),
        Some(known) if known.project.as_deref().is_some_and(|owner| owner != project) => {
            return Err("INVALID_ARGUMENT");
        }
        _ => {}
    }
    let mut topics = lock(&simulator.0.topics);
    if add
        && topics.iter().filter(|((owner, _), members)| owner == project && members.contains(&token)).count()
            >= MAX_TOPICS
    {
        return Err("TOO_MANY_TOPICS");
    }
    let members = topics.entry((project.to_owned(), topic.to_owned())).or_default();
    if add {
        members.insert(token);
    } else {
        members.remove(&token);
    }
    Ok(())
}
