//! The name of one message, the same on every door and on every redelivery.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// 1 to 64 visible ASCII characters. The broker makes a UUIDv7 where the publisher gave none;
/// a handler may bring its own, so that a publish it repeats is stored once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(Arc<str>);

/// A text that cannot name a message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a message id is 1 to 64 visible ASCII characters without spaces")]
pub struct InvalidMessageId;

impl MessageId {
    /// The longest id, in bytes.
    pub const MAX_LENGTH: usize = 64;

    /// Checks and takes a text.
    ///
    /// # Errors
    /// [`InvalidMessageId`] unless it is 1 to 64 visible ASCII characters.
    pub fn new(text: &str) -> Result<Self, InvalidMessageId> {
        let fits = (1..=Self::MAX_LENGTH).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_graphic()) { Ok(Self(text.into())) } else { Err(InvalidMessageId) }
    }

    /// A UUIDv7 from the given time (ms since 1970) and 10 random bytes, both passed in so that runs replay.
    #[must_use]
    pub fn from_parts(now_ms: i64, random: [u8; 10]) -> Self {
        let millis = u64::try_from(now_ms).unwrap_or(0);
        let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        Self(uuid.to_string().into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for MessageId {
    type Error = InvalidMessageId;

    fn try_from(text: String) -> Result<Self, InvalidMessageId> {
        Self::new(&text)
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_later_times_sort_later() {
        let early = MessageId::from_parts(1_000, [255; 10]);
        let late = MessageId::from_parts(2_000, [0; 10]);
        assert!(early < late);
        assert_eq!(MessageId::new(early.as_str()), Ok(early));
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_refused() {
        for text in ["", "a b", "ü", "a\n", &"x".repeat(65)] {
            assert_eq!(MessageId::new(text), Err(InvalidMessageId), "{text}");
        }
    }
}
