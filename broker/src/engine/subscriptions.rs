//! Which subscriptions match a topic. Filters without wildcards are found by one hash look-up; filters with
//! wildcards are a tree by level, so the work of a publish depends on the levels of its topic, not on how many
//! filters there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmqtt_codec::v5::{QoS, SubscriptionOptions};
use serde::{Deserialize, Serialize};

use super::group::GroupId;
use super::hash::{Map, Seeded};
use super::session::SessionId;
use crate::log::Message;

/// What a subscription was granted, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Options(u8);

impl Options {
    const NO_LOCAL: u8 = 4;
    const RETAIN_AS_PUBLISHED: u8 = 8;
    const ACL: u8 = 16;
    const HANDLER: u8 = 32;

    pub(crate) fn new(options: &SubscriptionOptions, by_handler: bool, by_acl: bool) -> Self {
        let mut bits = options.qos.value();
        for (set, bit) in [
            (options.no_local, Self::NO_LOCAL),
            (options.retain_as_published, Self::RETAIN_AS_PUBLISHED),
            (by_acl, Self::ACL),
            (by_handler, Self::HANDLER),
        ] {
            bits |= if set { bit } else { 0 };
        }
        Self(bits)
    }

    pub(crate) fn qos(self) -> QoS {
        match self.0 & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    pub(crate) fn no_local(self) -> bool {
        self.0 & Self::NO_LOCAL != 0
    }

    pub(crate) fn retain_as_published(self) -> bool {
        self.0 & Self::RETAIN_AS_PUBLISHED != 0
    }

    pub(crate) fn by_handler(self) -> bool {
        self.0 & Self::HANDLER != 0
    }

    /// The second wall of the topic rules: what a device published as a command never reaches a device's own topics.
    pub(crate) fn permits(self, message: &Message) -> bool {
        message.granted || self.0 & (Self::HANDLER | Self::ACL) != 0
    }

    /// Both at once, for overlapping subscriptions of one session: the greater QoS (MQTT 5, 3.3.4).
    pub(crate) fn union(self, other: Self) -> Self {
        Self((self.0 & 3).max(other.0 & 3) | ((self.0 | other.0) & !3))
    }
}

/// Who gets what a filter matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Session(SessionId),
    Group(GroupId),
}

/// One subscription, as a publish sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) target: Target,
    pub(crate) options: Options,
    /// Subscription identifier, 0 for none.
    pub(crate) id: u32,
}

/// The subscriptions of one filter: nearly always one, rarely some, seldom very many.
#[derive(Debug, Default)]
enum Targets {
    #[default]
    Empty,
    One(Entry),
    Few(Vec<Entry>),
    Many(BTreeMap<Target, Entry>),
}

const FEW: usize = 16;

impl Targets {
    fn insert(&mut self, entry: Entry) {
        *self = match std::mem::take(self) {
            Self::Empty => Self::One(entry),
            Self::One(old) if old.target == entry.target => Self::One(entry),
            Self::One(old) => Self::Few(vec![old, entry]),
            Self::Few(mut few) => {
                match few.iter_mut().find(|old| old.target == entry.target) {
                    Some(old) => *old = entry,
                    None => few.push(entry),
                }
                if few.len() > FEW {
                    Self::Many(few.into_iter().map(|e| (e.target, e)).collect())
                } else {
                    Self::Few(few)
                }
            }
            Self::Many(mut many) => {
                many.insert(entry.target, entry);
                Self::Many(many)
            }
        };
    }

    fn remove(&mut self, target: Target) {
        match self {
            Self::One(old) if old.target == target => *self = Self::Empty,
            Self::Few(few) => {
                few.retain(|old| old.target != target);
                if let [last] = few[..] {
                    *self = Self::One(last);
                }
            }
            Self::Many(many) => {
                many.remove(&target);
                if many.is_empty() {
                    *self = Self::Empty;
                }
            }
            Self::Empty | Self::One(_) => {}
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn each(&self, found: &mut impl FnMut(&Entry)) {
        match self {
            Self::Empty => {}
            Self::One(entry) => found(entry),
            Self::Few(few) => few.iter().for_each(found),
            Self::Many(many) => many.values().for_each(found),
        }
    }
}

#[derive(Debug, Default)]
struct Node {
    children: Option<Box<Map<Box<str>, Node>>>,
    /// `+`
    plus: Option<Box<Node>>,
    /// Filters that end here.
    here: Targets,
    /// Filters that go on with `#` and end.
    rest: Targets,
}

impl Node {
    fn insert(&mut self, filter: Option<&str>, seed: Seeded, entry: Entry) {
        let Some(filter) = filter else { return self.here.insert(entry) };
        let (level, tail) = split_level(filter);
        match level {
            "#" => self.rest.insert(entry),
            "+" => self.plus.get_or_insert_default().insert(tail, seed, entry),
            _ => {
                let children = self.children.get_or_insert_with(|| Box::new(Map::with_hasher(seed)));
                match children.get_mut(level) {
                    Some(child) => child.insert(tail, seed, entry),
                    None => children.entry(level.into()).or_default().insert(tail, seed, entry),
                }
            }
        }
    }

    /// Whether nothing is left here.
    fn remove(&mut self, filter: Option<&str>, target: Target) -> bool {
        match filter.map(split_level) {
            None => self.here.remove(target),
            Some(("#", _)) => self.rest.remove(target),
            Some(("+", tail)) => {
                if self.plus.as_mut().is_some_and(|plus| plus.remove(tail, target)) {
                    self.plus = None;
                }
            }
            Some((level, tail)) => {
                if let Some(children) = &mut self.children {
                    if children.get_mut(level).is_some_and(|child| child.remove(tail, target)) {
                        children.remove(level);
                    }
                    if children.is_empty() {
                        self.children = None;
                    }
                }
            }
        }
        self.children.is_none() && self.plus.is_none() && self.here.is_empty() && self.rest.is_empty()
    }

    /// `topic` is what is left of it below this node; `None` when it ends here.
    fn each(&self, topic: Option<&str>, found: &mut impl FnMut(&Targets)) {
        if !self.rest.is_empty() {
            found(&self.rest);
        }
        let Some(topic) = topic else {
            if !self.here.is_empty() {
                found(&self.here);
            }
            return;
        };
        let (level, tail) = split_level(topic);
        if let Some(plus) = &self.plus {
            plus.each(tail, found);
        }
        if let Some(child) = self.children.as_ref().and_then(|children| children.get(level)) {
            child.each(tail, found);
        }
    }
}

fn split_level(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((level, tail)) => (level, Some(tail)),
        None => (text, None),
    }
}

/// Whether a filter has a wildcard.
pub(crate) fn is_wild(filter: &str) -> bool {
    filter.contains(['+', '#'])
}

/// All subscriptions. Filters have been checked (form, number of levels, which bounds the depth of the tree).
#[derive(Debug)]
pub(crate) struct Index {
    seed: Seeded,
    exact: Map<Arc<str>, Targets>,
    root: Node,
}

impl Index {
    pub(crate) fn new(seed: Seeded) -> Self {
        Self { seed, exact: Map::with_hasher(seed), root: Node::default() }
    }

    /// Adds, or replaces the options of the same target's.
    pub(crate) fn insert(&mut self, filter: &Arc<str>, entry: Entry) {
        if is_wild(filter) {
            self.root.insert(Some(filter), self.seed, entry);
        } else {
            self.exact.entry(filter.clone()).or_default().insert(entry);
        }
    }

    pub(crate) fn remove(&mut self, filter: &str, target: Target) {
        if is_wild(filter) {
            self.root.remove(Some(filter), target);
        } else if let Some(targets) = self.exact.get_mut(filter) {
            targets.remove(target);
            if targets.is_empty() {
                self.exact.remove(filter);
            }
        }
    }

    /// Adds every subscription that matches the topic to `hits`, those of one target side by side.
    pub(crate) fn collect(&self, topic: &str, hits: &mut Vec<Entry>) {
        let mut lists = 0;
        self.lists(topic, true, &mut |targets| {
            lists += 1;
            targets.each(&mut |entry| hits.push(*entry));
        });
        if lists > 1 {
            hits.sort_by_key(|entry| entry.target);
        }
    }

    /// Whether anybody subscribes to this topic.
    pub(crate) fn is_listened_to(&self, topic: &str) -> bool {
        let mut listens = false;
        self.lists(topic, true, &mut |_| listens = true);
        listens
    }

    /// Whether a handler subscribes to this topic with a filter whose first level is no wildcard.
    pub(crate) fn handler_listens(&self, topic: &str) -> bool {
        let mut listens = false;
        self.lists(topic, false, &mut |targets| {
            targets.each(&mut |entry| listens |= entry.options.by_handler());
        });
        listens
    }

    fn lists(&self, topic: &str, first_level_wild: bool, found: &mut impl FnMut(&Targets)) {
        if let Some(targets) = self.exact.get(topic) {
            found(targets);
        }
        // A wildcard in the first level matches no topic that begins with `$` (MQTT 5, 4.7.2).
        if first_level_wild && !topic.starts_with('$') {
            return self.root.each(Some(topic), found);
        }
        let (level, tail) = split_level(topic);
        if let Some(child) = self.root.children.as_ref().and_then(|children| children.get(level)) {
            child.each(tail, found);
        }
    }
}

#[cfg(test)]
mod tests;
