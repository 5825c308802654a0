//! What the log stores: a message, the key it is found by, and its place.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_shared::identity::UserId;
use tidings_shared::message_id::MessageId;

/// The place of a message in the log. The first is 1; 0 stands for "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub u64);

impl Offset {
    /// Before the first message.
    pub const START: Self = Self(0);

    /// The place right after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a message is found by: the user whose devices it is for, or the command topic that handlers read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// All own topics of one user, in one order.
    User(UserId),
    /// One topic without an owner.
    Command(String),
}

/// The device that published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The `sub` of its token.
    pub user: UserId,
    /// Its MQTT client id, or what it named itself on the HTTP door.
    pub client: String,
}

/// One published message, as it is stored and as every receiver gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The same on every redelivery and on every door.
    pub id: MessageId,
    /// Where it was published.
    pub topic: Arc<str>,
    /// The content, as it came.
    pub payload: Bytes,
    /// The publisher's QoS, 0 to 2.
    pub qos: u8,
    /// Whether the publisher asked for it to be retained.
    pub retain: bool,
    /// What it is found by.
    pub key: Key,
    /// The device that published; `None` for a handler or the broker itself.
    pub sender: Option<Sender>,
    /// The handler that published, as a hash of its client id, so that `no local` holds for handlers too; 0 for
    /// devices, the HTTP door and the broker itself.
    #[serde(skip)]
    pub publisher: u64,
    /// Published under an `acl` grant or by a handler; `false` for a device under the command rule.
    pub granted: bool,
    /// When the broker received it, in ms since 1970.
    pub time_ms: i64,
    /// From when on it is delivered no more, in ms since 1970.
    pub expires_at_ms: Option<i64>,
    /// What MQTT 5 carries along.
    pub properties: MessageProperties,
}

impl Message {
    /// Whether it must not be delivered any more.
    #[must_use]
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expires_at_ms.is_some_and(|expires| expires <= now_ms)
    }
}

/// The MQTT 5 properties that travel with a message unchanged (MQTT 5, 3.3.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageProperties {
    /// Content Type.
    pub content_type: Option<String>,
    /// Response Topic.
    pub response_topic: Option<String>,
    /// Correlation Data.
    pub correlation_data: Option<Bytes>,
    /// Payload Format Indicator: the payload is UTF-8 text.
    pub payload_is_utf8: bool,
    /// User Properties of the publisher, in order; never one of `tidings_shared::properties::STAMPED`.
    pub user_properties: Vec<(String, String)>,
}

/// Where an appended message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its place.
    pub offset: Offset,
    /// The place of the message before it under the same key: a receiver that has not seen that one has a gap.
    pub previous: Option<Offset>,
    /// It had been stored before, at `offset`; deliver nothing.
    pub duplicate: bool,
}
