//! Topics: their names, their form, and whose they are. The only place in Tidings with topic strings.
//!
//! `USER_name` and `USER/...` belong to USER (see [`UserId::topic_prefix`]); any other topic is a command topic.
//! Who may do what with them is decided in [`access`].

pub mod access;
pub mod filter;
pub mod names;

pub use filter::{SharedFilter, covers, matches, shared_filter, split_shared, valid_filter, valid_topic};

use crate::identity::UserId;

/// The text before the first `_` or `/`, which names a user where a topic is a user's; `None` without either,
/// and for topics that begin with `$` or with a separator.
#[must_use]
pub fn owner_prefix(topic: &str) -> Option<&str> {
    let end = topic.find(['_', '/'])?;
    (end > 0 && !topic.starts_with('$')).then(|| &topic[..end])
}

/// The prefix of topics on which a user's devices may await answers: `USER/`.
#[must_use]
pub fn response_prefix(user: &UserId) -> String {
    format!("{}/", user.topic_prefix())
}

/// The text before the first `/`.
#[must_use]
pub fn first_level(topic: &str) -> &str {
    topic.split_once('/').map_or(topic, |(level, _)| level)
}

/// Whether nobody but the broker may publish on a topic: `$tidings/…`, and what other brokers' clients take for
/// something else than a topic (`$share/…`, `$queue/…`, `$SYS/…`). Other topics that begin with `$` are free for
/// handlers; a wildcard in the first level of a filter matches none of them (MQTT 5, 4.7.2).
#[must_use]
pub fn is_reserved(topic: &str) -> bool {
    ["$tidings", "$share", "$queue", "$SYS"].contains(&first_level(topic))
}

/// The user whom a topic would belong to by its form.
///
/// A message that a handler publishes (or a device under an `acl` grant) is stored under this user where there is
/// one, and under the command topic otherwise. A message that a device publishes under the command rule is always
/// stored under the command topic. So a handler that subscribes to `request_contact` and catches up from the
/// log reads both: the command topic's messages, and those of the user `request` on exactly this topic.
#[must_use]
pub fn owner_of(topic: &str) -> Option<UserId> {
    UserId::from_topic_prefix(owner_prefix(topic)?)
}

/// The topic `USER_name`, for example `423144_contact_approved`.
#[must_use]
pub fn user_topic(user: &UserId, name: &str) -> String {
    format!("{}_{name}", user.topic_prefix())
}

/// Whether the first level of a topic or filter is the user's own: exactly their id, or their id and `_`.
#[must_use]
pub fn is_own(user: &UserId, topic: &str) -> bool {
    let prefix = user.topic_prefix();
    match topic.strip_prefix(prefix.as_str()) {
        Some(rest) => rest.is_empty() || rest.starts_with(['_', '/']),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserId {
        UserId::new(id).unwrap()
    }

    #[test]
    fn a_topic_belongs_to_the_user_before_the_first_separator() {
        assert_eq!(owner_of("423144_contact_approved"), Some(user("423144")));
        assert_eq!(owner_of("423144/orders/7"), Some(user("423144")));
        assert_eq!(owner_of("42%5F3_inbox"), Some(user("42_3")));
        assert_eq!(owner_of("ping"), None);
        assert_eq!(owner_of("/a"), None);
        assert_eq!(owner_of("$tidings/events/x"), None);
    }

    #[test]
    fn the_topics_of_one_user_are_never_those_of_another() {
        assert!(is_own(&user("42"), "42_inbox"));
        assert!(is_own(&user("42"), "42/#"));
        assert!(is_own(&user("42"), "42"));
        assert!(!is_own(&user("42"), "42%5F3_inbox"));
        assert!(!is_own(&user("42"), "421_inbox"));
        assert!(!is_own(&user("42_3"), "42_3_inbox"));
        assert_eq!(user_topic(&user("42_3"), "inbox"), "42%5F3_inbox");
    }
}
