//! The topic rules (`tidings_shared::topic::access`) with what the engine knows about users and handlers.

use std::collections::HashSet;

use bytes::Bytes;
use tidings_shared::identity::UserId;
use tidings_shared::topic;
use tidings_shared::topic::access::{Decision, Facts, Principal, decide_publish};

use super::hash::Seeded;
use super::subscriptions::{Index, is_wild};
use super::{Engine, Output};
use crate::log::{RecordKey, RecordKind};

/// What the rules ask about.
#[derive(Debug)]
pub(crate) struct World {
    /// Users who have ever logged in and whose ids look like a command's word: no others are asked for.
    words: HashSet<UserId, Seeded>,
    commands: HashSet<String, Seeded>,
    command_filters: Vec<String>,
}

pub(crate) const KNOWN_USER: &str = "user/";

impl World {
    pub(crate) fn new(seed: Seeded, commands: &[String]) -> Self {
        let (filters, exact) = commands.iter().cloned().partition(|command| is_wild(command));
        let mut topics = HashSet::with_hasher(seed);
        topics.extend::<Vec<String>>(exact);
        Self { words: HashSet::with_hasher(seed), commands: topics, command_filters: filters }
    }

    /// Whether the user was not known before, and has to be remembered.
    pub(crate) fn meet(&mut self, user: &UserId) -> bool {
        let is_word = user.as_str().chars().all(|c| c.is_alphabetic() || c == '-');
        is_word && !self.words.contains(user) && self.words.insert(user.clone())
    }
}

struct Knowledge<'a> {
    world: &'a World,
    index: &'a Index,
}

impl Facts for Knowledge<'_> {
    fn is_known_user(&self, user: &UserId) -> bool {
        self.world.words.contains(user)
    }

    fn handler_listens(&self, topic: &str) -> bool {
        self.index.handler_listens(topic)
    }

    fn is_configured_command(&self, name: &str) -> bool {
        self.world.commands.contains(name)
            || self.world.command_filters.iter().any(|filter| topic::matches(filter, name))
    }
}

impl Engine {
    pub(crate) fn decide_publish(&self, principal: &Principal, topic: &str) -> Decision {
        decide_publish(principal, topic, &Knowledge { world: &self.world, index: &self.index })
    }

    /// A device of this user has logged in.
    pub(crate) fn meet(&mut self, user: &UserId) {
        if self.world.meet(user) {
            let key = RecordKey::new(RecordKind::Internal, format!("{KNOWN_USER}{user}").into_bytes());
            let records = vec![(key, Some(Bytes::from_static(b"1")))];
            self.out.push(Output::Put { ticket: None, records, durable: false });
        }
    }
}
