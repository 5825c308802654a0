//! Who somebody is, and how that name stands in a topic.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The id of an app's user: the `sub` claim of a token. Any UTF-8 text of 1 to 256 bytes without NUL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(Arc<str>);

/// A text that cannot be a user id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a user id is 1 to {} bytes of UTF-8 without NUL; this one has {found} bytes", UserId::MAX_LENGTH)]
pub struct InvalidUserId {
    found: usize,
}

impl UserId {
    /// The longest id, in bytes.
    pub const MAX_LENGTH: usize = 256;

    /// Checks and takes an id.
    ///
    /// # Errors
    /// [`InvalidUserId`] when it is empty, longer than 256 bytes or has a NUL.
    pub fn new(id: &str) -> Result<Self, InvalidUserId> {
        if id.is_empty() || id.len() > Self::MAX_LENGTH || id.contains('\0') {
            return Err(InvalidUserId { found: id.len() });
        }
        Ok(Self(id.into()))
    }

    /// The id as the token has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as it stands in topics: percent-encoded for `_ / + # $ %` and control characters, so that
    /// user `42` can never reach the topics of user `42_3`.
    #[must_use]
    pub fn topic_prefix(&self) -> String {
        let mut prefix = String::with_capacity(self.0.len());
        for character in self.0.chars() {
            if needs_encoding(character) {
                let mut utf8 = [0; 4];
                for byte in character.encode_utf8(&mut utf8).bytes() {
                    prefix.push_str(&format!("%{byte:02X}"));
                }
            } else {
                prefix.push(character);
            }
        }
        prefix
    }

    /// The user whose [`UserId::topic_prefix`] is exactly `prefix`; `None` for a text that no id encodes to.
    #[must_use]
    pub fn from_topic_prefix(prefix: &str) -> Option<Self> {
        let decoded = percent_encoding::percent_decode_str(prefix).decode_utf8().ok()?;
        let user = Self::new(&decoded).ok()?;
        (user.topic_prefix() == prefix).then_some(user)
    }
}

fn needs_encoding(character: char) -> bool {
    matches!(character, '_' | '/' | '+' | '#' | '$' | '%') || character.is_control()
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl utoipa::PartialSchema for UserId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("A user's id: the `sub` of the app's tokens."))
            .into()
    }
}

impl utoipa::ToSchema for UserId {}

impl TryFrom<String> for UserId {
    type Error = InvalidUserId;

    fn try_from(id: String) -> Result<Self, InvalidUserId> {
        Self::new(&id)
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> Self {
        id.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn separators_are_encoded() {
        let user = UserId::new("42_3/+#$%é\u{1}").unwrap();
        assert_eq!(user.topic_prefix(), "42%5F3%2F%2B%23%24%25é%01");
    }

    #[test]
    fn an_encoding_that_we_would_not_make_names_nobody() {
        assert_eq!(UserId::from_topic_prefix("42%5f3"), None);
        assert_eq!(UserId::from_topic_prefix("%34%32"), None);
        assert_eq!(UserId::from_topic_prefix("4%"), None);
        assert_eq!(UserId::from_topic_prefix(""), None);
    }

    proptest! {
        #[test]
        fn prefixes_round_trip_and_never_contain_a_separator(id in "[^\\x00]{1,40}") {
            let user = UserId::new(&id).unwrap();
            let prefix = user.topic_prefix();
            prop_assert!(!prefix.contains(['_', '/', '+', '#', '$']));
            prop_assert_eq!(UserId::from_topic_prefix(&prefix), Some(user));
        }
    }
}
