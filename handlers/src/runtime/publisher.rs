//! What a handler publishes. Nothing leaves before the handler has succeeded; then everything does, once.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use tidings_shared::identity::UserId;
use tidings_shared::message_id::MessageId;
use tidings_shared::topic;

use super::error::HandlerError;

/// A message to be published, with QoS 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The topic; no wildcards.
    pub topic: String,
    /// The payload.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub payload: Bytes,
    /// The broker keeps it for later subscribers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retain: bool,
    /// The media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// What the receiver wants to find again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_data: Option<Vec<u8>>,
    /// After that many seconds the broker forgets it; the broker's retention when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_s: Option<u32>,
    /// The broker's name for it. Set by the runtime, the same at every attempt, so that a repeated publish is stored once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
}

impl Outgoing {
    /// A message of raw bytes.
    ///
    /// # Errors
    /// A permanent [`HandlerError`] when nobody may publish to `topic` (wildcards, empty, NUL, over 65,535 bytes).
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Result<Self, HandlerError> {
        let topic = topic.into();
        if !topic::valid_topic(&topic) {
            return Err(HandlerError::permanent(format!(
                "cannot publish to {topic:?}: a topic has 1 to 65,535 bytes and no '+', '#' or NUL"
            )));
        }
        Ok(Self {
            topic,
            payload: payload.into(),
            retain: false,
            content_type: None,
            correlation_data: None,
            expiry_s: None,
            message_id: None,
        })
    }

    /// A JSON message.
    ///
    /// # Errors
    /// A permanent [`HandlerError`] when `value` cannot be JSON or `topic` is no topic.
    pub fn json<T: Serialize + ?Sized>(topic: impl Into<String>, value: &T) -> Result<Self, HandlerError> {
        let mut outgoing = Self::new(topic, serde_json::to_vec(value)?)?;
        outgoing.content_type = Some("application/json".to_owned());
        Ok(outgoing)
    }

    /// A JSON message on a topic that belongs to `user`: `<user>_<name>`.
    ///
    /// # Errors
    /// As [`Outgoing::json`].
    pub fn to_user<T: Serialize + ?Sized>(user: &UserId, name: &str, value: &T) -> Result<Self, HandlerError> {
        Self::json(topic::user_topic(user, name), value)
    }

    /// The broker keeps it for later subscribers.
    #[must_use]
    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    /// The broker forgets it after `seconds`.
    #[must_use]
    pub fn expires_after(mut self, seconds: u32) -> Self {
        self.expiry_s = Some(seconds);
        self
    }
}

/// Publishes messages: an extractor of handlers.
///
/// Messages wait until the handler has returned without an error and its transaction is committed; then they are
/// published in order, and only when the broker has acknowledged all of them is the handled message acknowledged.
/// When the handler fails, none of them is published. Each gets a message id made from the handled message's id, its
/// place and its topic, so a message that is handled twice is published once.
#[derive(Clone, Debug, Default)]
pub struct Publisher {
    waiting: Arc<Mutex<Vec<Outgoing>>>,
}

impl Publisher {
    /// Publishes a message.
    pub fn send(&self, message: Outgoing) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }

    /// Publishes raw bytes to a topic.
    ///
    /// # Errors
    /// As [`Outgoing::new`].
    pub fn publish(&self, topic: impl Into<String>, payload: impl Into<Bytes>) -> Result<(), HandlerError> {
        self.send(Outgoing::new(topic, payload)?);
        Ok(())
    }

    /// Publishes JSON to a topic.
    ///
    /// # Errors
    /// As [`Outgoing::json`].
    pub fn publish_json<T: Serialize + ?Sized>(&self, topic: impl Into<String>, value: &T) -> Result<(), HandlerError> {
        self.send(Outgoing::json(topic, value)?);
        Ok(())
    }

    /// Publishes JSON to `<user>_<name>`, which reaches that user's devices and nobody else's.
    ///
    /// # Errors
    /// As [`Outgoing::json`].
    pub fn to_user<T: Serialize + ?Sized>(&self, user: &UserId, name: &str, value: &T) -> Result<(), HandlerError> {
        self.send(Outgoing::to_user(user, name, value)?);
        Ok(())
    }

    pub(super) fn take(&self) -> Vec<Outgoing> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Names each message after the one that caused it, its place among its siblings and its topic.
pub(super) fn name_all(messages: &mut [Outgoing], cause: &MessageId) {
    for (index, message) in messages.iter_mut().enumerate() {
        message.message_id = Some(derived_id(cause, index, &message.topic));
    }
}

/// The id under which a dead letter is tried for the `number`th time: another one, so that it is not taken for done.
pub(super) fn replay_id(original: &MessageId, number: i64) -> MessageId {
    derived_id(original, usize::try_from(number).unwrap_or_default(), "replay")
}

fn derived_id(cause: &MessageId, index: usize, topic: &str) -> MessageId {
    let mut hash = Sha256::new();
    hash.update(cause.as_str().as_bytes());
    hash.update([0]);
    hash.update((index as u64).to_be_bytes());
    hash.update(topic.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    let text = uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string();
    // A UUID's text is always a message id; the cause stands in should that ever change.
    MessageId::new(&text).unwrap_or_else(|_| cause.clone())
}

fn to_base64<S: Serializer>(payload: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(payload))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_cause_gives_the_same_names_and_siblings_differ() {
        let cause = MessageId::new("cause").unwrap();
        let message = Outgoing::new("42_a", "x").unwrap();
        let mut first = vec![message.clone(), message.clone(), Outgoing::new("42_b", "x").unwrap()];
        let mut again = first.clone();
        name_all(&mut first, &cause);
        name_all(&mut again, &cause);
        assert_eq!(first, again);
        let ids: std::collections::BTreeSet<_> = first.iter().map(|message| message.message_id.clone()).collect();
        assert_eq!(ids.len(), 3);
    }

    #[test]
    fn a_wildcard_is_no_place_to_publish() {
        for topic in ["", "42_#", "a/+/b"] {
            assert!(Outgoing::new(topic, "x").is_err(), "{topic}");
        }
    }

    #[test]
    fn what_is_kept_for_later_is_whole() {
        let mut message = Outgoing::new("42_a", vec![0, 255, 10]).unwrap().retained().expires_after(9);
        message.correlation_data = Some(vec![1, 2]);
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<Outgoing>(&text).unwrap(), message);
    }
}
