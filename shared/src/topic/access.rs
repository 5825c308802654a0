//! Who may publish and subscribe where. Default: deny. Every decision names the rule that made it.
//!
//! | who | may subscribe | may publish |
//! |---|---|---|
//! | a handler | anything | anything but the reserved `$…` topics ([`super::is_reserved`]) |
//! | a device | its user's own topics; what its token's `acl` grants | command topics; what its token's `acl` grants |
//!
//! A topic with a prefix (`word_…`, `word/…`) is another user's when the prefix cannot be a command's word (it has
//! anything but letters and hyphens, as ids do) or when a user of that id is known. `broker.topics.commands`, the
//! built-in commands and, for words, a handler's own subscription say that a topic is a command after all.
//!
//! A second wall stands behind this one: what a device publishes under [`Rule::Command`] is delivered to handlers
//! (and to subscriptions that an `acl` granted), never to a device's own topics. So whatever ids users choose for
//! themselves, none of them can read the commands of others, and none can forge a message to others.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{covers, is_own, is_reserved, matches, names, owner_prefix, split_shared, valid_topic};
use crate::identity::UserId;

/// Who is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A device of a user, logged in with a token.
    Device {
        /// The token's `sub`.
        user: UserId,
        /// The token's `acl`.
        acl: Acl,
    },
    /// A handler (or another service), logged in with a shared key.
    Handler,
}

impl Principal {
    /// The user of a device.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::Device { user, .. } => Some(user),
            Self::Handler => None,
        }
    }
}

/// Topic filters that a token's claim `acl` adds: `{"publish": ["room/+"], "subscribe": ["room/#"]}`, or a list
/// of filters that holds for both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "AclClaim")]
pub struct Acl {
    /// Filters whose topics the device may publish.
    pub publish: Vec<String>,
    /// Filters that the device may subscribe to, or to anything narrower.
    pub subscribe: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum AclClaim {
    Both(Vec<String>),
    Each {
        #[serde(default, alias = "pub")]
        publish: Vec<String>,
        #[serde(default, alias = "sub")]
        subscribe: Vec<String>,
    },
}

impl From<AclClaim> for Acl {
    fn from(claim: AclClaim) -> Self {
        match claim {
            AclClaim::Both(filters) => Self { publish: filters.clone(), subscribe: filters },
            AclClaim::Each { publish, subscribe } => Self { publish, subscribe },
        }
    }
}

/// What the decision needs to know about the world.
pub trait Facts {
    /// Whether a user of this id has ever logged in here.
    fn is_known_user(&self, user: &UserId) -> bool;
    /// Whether a handler has (or had, in a session that lives on) a subscription that matches this topic and whose
    /// first level is no wildcard.
    fn handler_listens(&self, topic: &str) -> bool;
    /// Whether the operator has named this topic a command (`broker.topics.commands`).
    fn is_configured_command(&self, topic: &str) -> bool;
}

/// The rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Handlers may.
    Handler,
    /// The token's `acl` grants it.
    Acl,
    /// The topic is the device's own user's.
    OwnTopic,
    /// The topic is a command topic.
    Command,
    /// Only handlers publish on a user's topics, even on the device's own.
    OwnTopicIsForHandlers,
    /// The topic is another user's.
    OtherUser,
    /// The filter reaches beyond the user's own topics.
    NotOwnTopic,
    /// The topic begins with `$`: those are the broker's own, or for handlers only.
    Reserved,
    /// The text is no topic name or filter.
    Malformed,
}

/// What was decided, and by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may happen.
    pub allowed: bool,
    /// The rule that said so.
    pub rule: Rule,
}

impl Decision {
    const fn allow(rule: Rule) -> Self {
        Self { allowed: true, rule }
    }

    const fn deny(rule: Rule) -> Self {
        Self { allowed: false, rule }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handler => "handlers may use every topic but the broker's own",
            Self::Acl => "the token's acl claim grants it",
            Self::OwnTopic => "the topic is the user's own",
            Self::Command => "it is a command topic",
            Self::OwnTopicIsForHandlers => "only handlers publish on a user's topics",
            Self::OtherUser => {
                "the topic belongs to another user; if it is a command, name it in broker.topics.commands"
            }
            Self::NotOwnTopic => "a device subscribes to its own user's topics (USER_name or USER/...) only",
            Self::Reserved => "this topic that begins with $ is the broker's own, or for handlers only",
            Self::Malformed => "it is not a valid topic",
        })
    }
}

/// May `principal` publish (or leave as its will) a message on `topic`?
#[must_use]
pub fn decide_publish(principal: &Principal, topic: &str, facts: &impl Facts) -> Decision {
    if !valid_topic(topic) {
        return Decision::deny(Rule::Malformed);
    }
    if is_reserved(topic) {
        return Decision::deny(Rule::Reserved);
    }
    let (user, acl) = match principal {
        Principal::Handler => return Decision::allow(Rule::Handler),
        Principal::Device { .. } if topic.starts_with('$') => return Decision::deny(Rule::Reserved),
        Principal::Device { user, acl } => (user, acl),
    };
    if acl.publish.iter().any(|filter| matches(filter, topic)) {
        return Decision::allow(Rule::Acl);
    }
    if names::COMMANDS.contains(&topic) || facts.is_configured_command(topic) {
        return Decision::allow(Rule::Command);
    }
    let Some(prefix) = owner_prefix(topic) else {
        // A bare own id is the user's too; any other bare word is a command.
        return if is_own(user, topic) {
            Decision::deny(Rule::OwnTopicIsForHandlers)
        } else {
            Decision::allow(Rule::Command)
        };
    };
    let is_word = prefix.chars().all(|c| c.is_alphabetic() || c == '-');
    if is_word && facts.handler_listens(topic) {
        return Decision::allow(Rule::Command);
    }
    if is_own(user, topic) {
        return Decision::deny(Rule::OwnTopicIsForHandlers);
    }
    match UserId::from_topic_prefix(prefix) {
        Some(owner) if !is_word || facts.is_known_user(&owner) => Decision::deny(Rule::OtherUser),
        _ => Decision::allow(Rule::Command),
    }
}

/// May `principal` subscribe to `filter`? `$share/GROUP/` is taken off first.
#[must_use]
pub fn decide_subscribe(principal: &Principal, filter: &str) -> Decision {
    let Some(shared) = split_shared(filter) else {
        return Decision::deny(Rule::Malformed);
    };
    let filter = shared.filter;
    if super::first_level(filter) == "$queue" {
        // Elsewhere this is another form of a shared subscription: it should not look as if it worked.
        return Decision::deny(Rule::Reserved);
    }
    let (user, acl) = match principal {
        Principal::Handler => return Decision::allow(Rule::Handler),
        Principal::Device { user, acl } => (user, acl),
    };
    if filter.starts_with('$') {
        return Decision::deny(Rule::Reserved);
    }
    if is_own(user, filter) {
        return Decision::allow(Rule::OwnTopic);
    }
    if acl.subscribe.iter().any(|granted| covers(granted, filter)) {
        return Decision::allow(Rule::Acl);
    }
    Decision::deny(Rule::NotOwnTopic)
}

#[cfg(test)]
mod tests;
