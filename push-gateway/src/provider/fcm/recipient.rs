//! Whom FCM takes a message for: exactly one of `token`, `fid`, `topic` and `condition`.

use tidings_shared::push_api::Provider;

use crate::provider::{Recipient, Refusal};

/// The most topics that a condition may combine.
const MAX_CONDITION_TOPICS: usize = 5;

/// Refuses what FCM would refuse for its form.
///
/// # Errors
/// [`Refusal`] says what is wrong and what is allowed.
pub fn check_recipient(text: &str) -> Result<(), Refusal> {
    match Recipient::read(Provider::Fcm, text) {
        Recipient::Topic(name) => check_topic(name),
        Recipient::Condition(expression) => condition(expression),
        Recipient::Installation(id) => installation(id),
        Recipient::Token(_) | Recipient::Channel(_) => Ok(()),
    }
}

/// Refuses what cannot be a topic's name.
///
/// # Errors
/// [`Refusal`] says what is wrong and what is allowed.
pub fn check_topic(name: &str) -> Result<(), Refusal> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
    if (1..=900).contains(&name.len()) && name.bytes().all(legal) {
        return Ok(());
    }
    Err(Refusal::field(
        "topic.name",
        format!("\"{name}\""),
        "a topic's name has 1 to 900 of the characters a-z A-Z 0-9 - _ . ~ %",
    ))
}

fn condition(expression: &str) -> Result<(), Refusal> {
    let refused = |rule| Err(Refusal::field("condition.expression", format!("\"{expression}\""), rule));
    if expression.len() > 4096 || expression.chars().any(char::is_control) {
        return refused("it has at most 4096 bytes without control characters");
    }
    match expression.matches("in topics").count() {
        0 => refused("it says `'NAME' in topics`, combined with &&, || and !"),
        1..=MAX_CONDITION_TOPICS => Ok(()),
        _ => refused("it combines at most five topics"),
    }
}

fn installation(id: &str) -> Result<(), Refusal> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=64).contains(&id.len()) && id.bytes().all(legal) {
        return Ok(());
    }
    Err(Refusal::field(
        "fid.id",
        format!("\"{id}\""),
        "an installation id has 1 to 64 of the characters a-z A-Z 0-9 - _",
    ))
}

/// The name and the value in the message.
pub(super) fn target(text: &str) -> (&'static str, &str) {
    match Recipient::read(Provider::Fcm, text) {
        Recipient::Installation(id) => ("fid", id),
        Recipient::Topic(name) => ("topic", name),
        Recipient::Condition(expression) => ("condition", expression),
        Recipient::Token(token) | Recipient::Channel(token) => ("token", token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_names_its_field() {
        let many = (0..6).map(|number| format!("'t{number}' in topics")).collect::<Vec<_>>().join(" || ");
        for (text, refused) in [
            ("topic:news", None),
            ("topic:", Some("topic.name")),
            ("topic:two words", Some("topic.name")),
            ("condition:'a' in topics && !('b' in topics)", None),
            ("condition:a", Some("condition.expression")),
            (&format!("condition:{many}"), Some("five topics")),
            ("fid:cFq2_-", None),
            ("fid:a b", Some("fid.id")),
            ("dGVzdA:APA91b_-", None),
        ] {
            let found = check_recipient(text).map_err(|refusal| refusal.to_string());
            match refused {
                None => assert_eq!(found, Ok(()), "{text}"),
                Some(word) => assert!(found.unwrap_err().contains(word), "{text}"),
            }
        }
    }
}
