//! The body of `GET /v1/messages`.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tidings_shared::cursor::Cursor;

use crate::log::{Message, Stored};

/// What a poll answers when there is something to say.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    messages: Vec<Item>,
    cursor: String,
    recovered: bool,
}

/// One message, as every answer and every event shows it. The payload is in `payload` when it is UTF-8, else in `payload_base64`.
#[derive(Debug, Serialize)]
pub(super) struct Item {
    topic: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    qos: u8,
    #[serde(rename = "message-id")]
    message_id: String,
    time: i64,
    cursor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data_base64: Option<String>,
    properties: BTreeMap<String, Values>,
}

/// A user property; MQTT allows a name several times.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
}

impl Answer {
    pub(super) fn new(stored: &[Stored], next: Cursor, recovered: bool) -> Self {
        let messages =
            stored.iter().map(|(offset, message)| item(message, Cursor { epoch: next.epoch, offset: offset.0 }));
        Self { messages: messages.collect(), cursor: next.to_string(), recovered }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let tag = tag(&self.cursor);
        let mut response = axum::Json(self).into_response();
        response.headers_mut().insert(header::ETAG, tag);
        uncached(response)
    }
}

/// 304: nothing after this cursor.
pub(super) fn not_modified(cursor: Cursor) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    response.headers_mut().insert(header::ETAG, tag(&cursor.to_string()));
    uncached(response)
}

fn tag(cursor: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{cursor}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

fn uncached(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("Authorization"));
    response
}

pub(super) fn item(message: &Message, cursor: Cursor) -> Item {
    let text = str::from_utf8(&message.payload).ok();
    let properties = &message.properties;
    let mut named: BTreeMap<String, Values> = BTreeMap::new();
    for (name, value) in &properties.user_properties {
        let held = named.remove(name);
        let values = match held {
            None => Values::One(value.clone()),
            Some(Values::One(first)) => Values::Many(vec![first, value.clone()]),
            Some(Values::Many(mut many)) => {
                many.push(value.clone());
                Values::Many(many)
            }
        };
        named.insert(name.clone(), values);
    }
    Item {
        topic: message.topic.to_string(),
        payload: text.map(str::to_owned),
        payload_base64: text.is_none().then(|| STANDARD.encode(&message.payload)),
        qos: message.qos,
        message_id: message.id.to_string(),
        time: message.time_ms,
        cursor: cursor.to_string(),
        user: message.sender.as_ref().map(|sender| sender.user.to_string()),
        client: message.sender.as_ref().map(|sender| sender.client.clone()),
        expires_at: message.expires_at_ms,
        content_type: properties.content_type.clone(),
        response_topic: properties.response_topic.clone(),
        correlation_data_base64: properties.correlation_data.as_ref().map(|data| STANDARD.encode(data)),
        properties: named,
    }
}
