//! Whom a payload names. Apps write it in many ways; all of these name user `23412`:
//!
//! - `{"user":"23412"}`, and instead of `user`: `user_id`, `userId`, `contact`, `contact_id`, `contactId`, `target`,
//!   `requester`, `to`, `from`, `id`;
//! - a number instead of the text: `{"user":23412}`;
//! - the bare JSON text or number: `"23412"`, `23412`;
//! - plain text: `23412`, also with white space around it.
//!
//! Where several keys are there, one that names somebody other than the sender wins: `{"from":"68946","to":"23412"}`
//! sent by `68946` names `23412`.

use serde_json::{Map, Value};
use tidings_shared::identity::UserId;

const KEYS: [&str; 11] =
    ["user", "user_id", "userId", "contact", "contact_id", "contactId", "target", "requester", "to", "from", "id"];

/// Why a payload names nobody, for the app's developer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamesNobody {
    /// It begins like JSON but is none.
    #[error("the payload is not valid JSON: {0}")]
    Json(String),
    /// No key that we know.
    #[error("the payload names no user; send {{\"user\":\"ID\"}}")]
    NoKey,
    /// The id is no user id.
    #[error("{0}")]
    Id(String),
}

/// The user that the payload of `sender` names.
///
/// # Errors
/// Says what is wrong with it.
pub fn named_in(payload: &[u8], sender: &UserId) -> Result<UserId, NamesNobody> {
    let text = std::str::from_utf8(payload).map_err(|_| NamesNobody::Id("the payload is not UTF-8".to_owned()))?.trim();
    if text.starts_with(['{', '[', '"']) {
        return match serde_json::from_str(text).map_err(|error| NamesNobody::Json(error.to_string()))? {
            Value::Object(fields) => from_fields(&fields, sender),
            Value::String(id) => user(&id),
            _ => Err(NamesNobody::NoKey),
        };
    }
    if text.is_empty() || text == "null" {
        return Err(NamesNobody::NoKey);
    }
    user(text)
}

fn from_fields(fields: &Map<String, Value>, sender: &UserId) -> Result<UserId, NamesNobody> {
    let named = KEYS.iter().filter_map(|key| fields.get(*key)).filter(|value| !value.is_null());
    let mut first = None;
    for value in named {
        let found = match value {
            Value::String(id) => user(id),
            Value::Number(number) if !number.is_f64() => user(&number.to_string()),
            _ => Err(NamesNobody::Id("a user id is a text or a whole number".to_owned())),
        };
        match found {
            Ok(other) if other != *sender => return Ok(other),
            found => first = first.or(Some(found)),
        }
    }
    first.unwrap_or(Err(NamesNobody::NoKey))
}

fn user(id: &str) -> Result<UserId, NamesNobody> {
    UserId::new(id).map_err(|error| NamesNobody::Id(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(payload: &str) -> Result<String, NamesNobody> {
        named_in(payload.as_bytes(), &UserId::new("68946").unwrap()).map(|user| user.to_string())
    }

    #[test]
    fn every_documented_way_names_the_user() {
        for payload in [
            r#"{"user":"23412"}"#,
            r#"{"user_id":"23412"}"#,
            r#"{"userId":23412}"#,
            r#" {"contact":"23412","name":"Ann"} "#,
            r#"{"from":"68946","to":"23412"}"#,
            r#"{"to":"68946","from":23412}"#,
            r#"{"target":"23412"}"#,
            r#"{"requester":"23412"}"#,
            r#"{"user":null,"id":"23412"}"#,
            r#""23412""#,
            "23412",
            " 23412\n",
        ] {
            assert_eq!(named(payload).as_deref(), Ok("23412"), "{payload}");
        }
    }

    #[test]
    fn what_names_nobody_is_explained() {
        for (payload, words) in [
            ("", "send {\"user\":\"ID\"}"),
            ("null", "send {\"user\":\"ID\"}"),
            ("{}", "names no user"),
            ("[1]", "names no user"),
            (r#"{"usr":"1"}"#, "names no user"),
            (r#"{"user":"#, "not valid JSON"),
            (r#"{"user":""}"#, "1 to 256 bytes"),
            (r#"{"user":1.5}"#, "whole number"),
            (r#"{"user":["1"]}"#, "whole number"),
        ] {
            let error = named(payload).unwrap_err().to_string();
            assert!(error.contains(words), "{payload}: {error}");
        }
    }

    #[test]
    fn somebody_who_names_only_themselves_is_named() {
        assert_eq!(named(r#"{"user":"68946"}"#).as_deref(), Ok("68946"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_user_or_an_explanation(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = named_in(&payload, &UserId::new("68946").unwrap());
        }

        #[test]
        fn any_id_comes_through_json_whole(id in "[^\\x00]{1,40}") {
            let payload = serde_json::json!({ "user": id }).to_string();
            prop_assert_eq!(named(&payload), Ok(id));
        }
    }
}
