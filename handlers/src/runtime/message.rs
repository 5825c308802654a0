//! One message as it arrives, whatever brought it.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_shared::identity::UserId;
use tidings_shared::message_id::MessageId;
use tidings_shared::properties;

/// A message that a handler is asked to handle.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The topic that it was published to.
    pub topic: String,
    /// Its payload, as it was sent.
    pub payload: Bytes,
    /// What came with it.
    pub properties: Properties,
}

/// The properties of a message: those of MQTT 5 that concern a handler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// The media type that the publisher gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Where the publisher wants an answer. A device may write anything here: see [`super::Reply`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_topic: Option<String>,
    /// What the publisher wants to find in an answer again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_data: Option<Vec<u8>>,
    /// Names and values; a name may come more than once. `user`, `client`, `message-id` and `time` come from the
    /// broker and can be trusted (see `tidings_shared::properties`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<(String, String)>,
}

/// Who published a message: from the broker's stamp, never from the payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    /// The user: the token's `sub`.
    pub user: UserId,
    /// The MQTT client id of the device.
    pub client: String,
}

impl Properties {
    /// The value of a user property; the last one when the name comes more than once.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.user.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Message {
    /// A message without properties.
    #[must_use]
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), properties: Properties::default() }
    }

    /// Stamps the sender as the broker does.
    #[must_use]
    pub fn from(mut self, user: &UserId, client: &str) -> Self {
        self.properties.user.push((properties::USER.to_owned(), user.as_str().to_owned()));
        self.properties.user.push((properties::CLIENT.to_owned(), client.to_owned()));
        self
    }

    /// Stamps the message id as the broker does.
    #[must_use]
    pub fn with_id(mut self, id: &MessageId) -> Self {
        self.properties.user.push((properties::MESSAGE_ID.to_owned(), id.as_str().to_owned()));
        self
    }

    /// The device that published it; `None` for a message of a handler.
    #[must_use]
    pub fn sender(&self) -> Option<Sender> {
        let user = UserId::new(self.properties.get(properties::USER)?).ok()?;
        let client = self.properties.get(properties::CLIENT).unwrap_or_default().to_owned();
        Some(Sender { user, client })
    }

    /// The broker's name for it; `None` when a broker other than ours gave none.
    #[must_use]
    pub fn id(&self) -> Option<MessageId> {
        MessageId::new(self.properties.get(properties::MESSAGE_ID)?).ok()
    }

    /// When the broker received it (ms since 1970, UTC).
    #[must_use]
    pub fn time_ms(&self) -> Option<i64> {
        self.properties.get(properties::TIME)?.parse().ok()
    }
}

/// The parts of the topic that stood at the places of a pattern's `{name}` and wildcards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures(pub(super) Arc<[(String, String)]>);

impl Captures {
    /// The part of the topic at `{name}`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The part of the topic at `{name}`, parsed; `None` when it is not of that form.
    #[must_use]
    pub fn parse<T: FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }
}
