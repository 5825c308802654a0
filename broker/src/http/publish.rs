//! `POST /v1/publish/{topic}`: the body is the payload; 202 means that it is durable (or handed on, with QoS 0).

use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::LengthLimitError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidings_shared::http::ApiError;
use tidings_shared::message_id::MessageId;
use tidings_shared::topic::access::Principal;
use tokio::time::timeout;

use super::messages::stopping;
use super::{Door, request};
use crate::engine::{PublishError, PublishRequest};
use crate::log::MessageProperties;

/// The header with the publisher's own name for the message: a repeated request is stored once.
const MESSAGE_ID: &str = "message-id";

/// What `curl --data` says when nobody said anything: it describes no payload.
const FORM: &str = "application/x-www-form-urlencoded";

#[derive(Deserialize)]
pub(super) struct Asked {
    qos: Option<String>,
    retain: Option<String>,
    expiry: Option<String>,
    client: Option<String>,
}

#[derive(Serialize)]
struct Accepted {
    #[serde(rename = "message-id")]
    message_id: MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

pub(super) async fn without_topic() -> ApiError {
    topic_invalid()
}

pub(super) async fn publish(
    State(door): State<Door>,
    topic: Result<Path<String>, PathRejection>,
    query: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (principal, claims) = request::publisher(&door.parts, &headers).await?;
    let Path(topic) = topic.map_err(|_| topic_invalid())?;
    let Query(asked) = query.map_err(|_| request::invalid("query", "of the form name=value&name=value"))?;
    let qos = match asked.qos.as_deref() {
        None | Some("1") => 1,
        Some("0") => 0,
        Some(_) => return Err(request::invalid("qos", "0 or 1")),
    };
    let expiry = asked.expiry.map(|text| request::duration("expiry", &text)).transpose()?;
    let message_id = message_id(&principal, &headers)?;
    let client = request::client(asked.client, &headers)?;
    let retain = request::flag("retain", asked.retain.as_deref())?;
    let payload = payload(&door, body).await?;
    // The body may have taken its time.
    if let Some(claims) = &claims {
        door.parts.engine.revocations().admit(claims)?;
    }
    door.parts.throttles.publish(&principal, payload.len()).map_err(too_fast)?;
    let publish = PublishRequest {
        principal,
        client,
        topic,
        qos,
        retain,
        message_id,
        expiry_s: expiry.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX)),
        properties: properties(&headers, &payload),
        payload,
    };
    let published = door.parts.engine.publish(publish).await.map_err(refusal)?;
    let status = if published.duplicate { StatusCode::OK } else { StatusCode::ACCEPTED };
    let cursor = published.cursor.map(|cursor| cursor.to_string());
    Ok((status, Json(Accepted { message_id: published.message_id, cursor })).into_response())
}

/// The message's id. A handler's own is taken as it is. A device's only names its request: the id is derived from it
/// and the user, so that no user can take another's.
fn message_id(principal: &Principal, headers: &HeaderMap) -> Result<Option<MessageId>, ApiError> {
    let Some(value) = headers.get(MESSAGE_ID) else { return Ok(None) };
    let given = value.to_str().ok().and_then(|text| MessageId::new(text).ok()).ok_or_else(|| {
        let message = "Message-Id must be 1 to 64 visible ASCII characters without spaces";
        ApiError::new(StatusCode::BAD_REQUEST, "message_id_invalid", message)
    })?;
    let Some(user) = principal.user() else { return Ok(Some(given)) };
    let digest = Sha256::new().chain_update(user.as_str()).chain_update([0]).chain_update(given.as_str()).finalize();
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(MessageId::new(&hex).ok())
}

async fn payload(door: &Door, body: Body) -> Result<Bytes, ApiError> {
    let limits = &door.parts.limits;
    let read = timeout(limits.body_deadline, to_bytes(body, limits.body)).await.map_err(|_| {
        let message = "the body did not arrive in time; try again";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
    })?;
    read.map_err(|error| {
        let too_long = std::error::Error::source(&error).is_some_and(|source| source.is::<LengthLimitError>());
        if too_long {
            let message = format!("the body is longer than {} bytes, the most that is taken here", limits.body);
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
        } else {
            let message = "the body could not be read to its end; send it again";
            ApiError::new(StatusCode::BAD_REQUEST, "body_unreadable", message)
        }
    })
}

fn properties(headers: &HeaderMap, payload: &[u8]) -> MessageProperties {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.filter(|kind| !kind.eq_ignore_ascii_case(FORM));
    let is_text = content_type.is_some_and(|kind| kind.starts_with("text/") || kind.starts_with("application/json"));
    MessageProperties {
        content_type: content_type.map(str::to_owned),
        payload_is_utf8: is_text && str::from_utf8(payload).is_ok(),
        ..MessageProperties::default()
    }
}

fn too_fast(wait: Duration) -> ApiError {
    let message = "this user publishes more in a second than is allowed here; nothing was published, try again";
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "message_rate", message).retry_after(seconds)
}

fn topic_invalid() -> ApiError {
    let message = "the topic after /v1/publish/ must be 1 to 65,535 bytes of UTF-8 without NUL, + and #";
    ApiError::new(StatusCode::BAD_REQUEST, "topic_invalid", message)
}

fn refusal(error: PublishError) -> ApiError {
    let unavailable = |code, message| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
    match error {
        PublishError::NotAuthorized(rule) => {
            let message = format!("publishing on this topic is not allowed: {rule}");
            ApiError::new(StatusCode::FORBIDDEN, "topic_forbidden", message)
        }
        PublishError::TopicInvalid => topic_invalid(),
        PublishError::QuotaExceeded => {
            unavailable("log_full", "the broker cannot store more messages at the moment; try again").retry_after(5)
        }
        PublishError::NotStored => unavailable("not_stored", "the message was not stored; try again").retry_after(1),
        PublishError::Stopped => stopping(),
    }
}
