//! Many notifications in one request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Notification, SendNotification};

/// The most notifications in one request.
pub const MAX_BATCH: usize = 1000;

/// Body of `POST /v1/notifications/batch`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendBatch {
    /// 1 to [`MAX_BATCH`] of them. Each is read by itself: one that does not fit holds up no other.
    #[schema(value_type = Vec<Object>)]
    pub notifications: Vec<serde_json::Value>,
}

/// One of a batch: a [`SendNotification`] and the key that the header `Idempotency-Key` brings elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchItem {
    /// What is sent.
    pub notification: SendNotification,
    /// 1 to 255 visible ASCII characters.
    pub idempotency_key: Option<String>,
}

impl BatchItem {
    /// Reads an element of [`SendBatch::notifications`].
    ///
    /// # Errors
    /// What does not fit, in words for the sender.
    pub fn read(mut value: serde_json::Value) -> Result<Self, String> {
        let key = value.as_object_mut().and_then(|fields| fields.remove("idempotency_key"));
        let idempotency_key = match key {
            None | Some(serde_json::Value::Null) => None,
            Some(serde_json::Value::String(key)) => Some(key),
            Some(other) => return Err(format!("`idempotency_key` is a text; found {other}")),
        };
        let notification = serde_json::from_value(value).map_err(|error| error.to_string())?;
        Ok(Self { notification, idempotency_key })
    }
}

/// Answer of `POST /v1/notifications/batch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchAnswer {
    /// One for each notification of the request, in its order.
    pub results: Vec<BatchResult>,
}

/// What came of one notification of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchResult {
    /// The HTTP status that it would have had alone: 202 when it is stored.
    pub status: u16,
    /// When it is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification: Option<Notification>,
    /// When it is refused: `{"code":…,"message":…}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<serde_json::Value>,
}
