//! Retained messages: the last one of each topic, for whoever subscribes later (MQTT 5, section 3.3.1.3).
//!
//! A topic has two places: one for what is its owner's (or was published by a handler), one for what devices publish
//! as a command. So no device can replace or clear what a handler left for a user.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_shared::topic;

use super::subscriptions::is_wild;
use super::{Engine, Output};
use crate::log::{Message, Offset, RecordKey, RecordKind};

/// The place of a retained message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Slot {
    topic: Arc<str>,
    command: bool,
}

impl Slot {
    pub(crate) fn of(message: &Message) -> Self {
        Self { topic: message.topic.clone(), command: !message.granted }
    }

    fn record(&self) -> RecordKey {
        let mut id = vec![u8::from(self.command)];
        id.extend_from_slice(self.topic.as_bytes());
        RecordKey::new(RecordKind::Retained, id)
    }
}

/// All retained messages, in the order of their topics.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    /// With their places in the log, as far as they are known.
    messages: BTreeMap<Slot, (Arc<Message>, Offset)>,
    bytes: usize,
}

impl Retained {
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, slot: &Slot) -> Option<&Arc<Message>> {
        self.messages.get(slot).map(|(message, _)| message)
    }

    /// Where the log has it; the start, when that is not known (or it was QoS 0).
    pub(crate) fn offset(&self, slot: &Slot) -> Offset {
        self.messages.get(slot).map_or(Offset::START, |(_, offset)| *offset)
    }

    pub(crate) fn set(&mut self, message: Arc<Message>, offset: Offset) {
        self.bytes += size(&message);
        if let Some((old, _)) = self.messages.insert(Slot::of(&message), (message, offset)) {
            self.bytes -= size(&old);
        }
    }

    /// Whether there was one.
    pub(crate) fn remove(&mut self, slot: &Slot) -> bool {
        let old = self.messages.remove(slot);
        if let Some((old, _)) = &old {
            self.bytes -= size(old);
        }
        old.is_some()
    }

    /// The first one after `after` (or of all) that the filter matches.
    pub(crate) fn next(&self, filter: &str, after: Option<&Slot>) -> Option<(&Slot, &Arc<Message>)> {
        let prefix = literal_prefix(filter);
        let start = match after {
            Some(slot) => Bound::Excluded(slot.clone()),
            None => Bound::Included(Slot { topic: prefix.into(), command: false }),
        };
        self.messages
            .range((start, Bound::Unbounded))
            .take_while(|(slot, _)| slot.topic.starts_with(prefix))
            .find(|(slot, _)| topic::matches(filter, &slot.topic))
            .map(|(slot, (message, _))| (slot, message))
    }
}

fn size(message: &Message) -> usize {
    message.topic.len() + message.payload.len()
}

/// What every topic that the filter matches begins with.
fn literal_prefix(filter: &str) -> &str {
    if !is_wild(filter) {
        return filter;
    }
    let end = filter.find(['+', '#']).unwrap_or(filter.len());
    filter[..end].trim_end_matches('/')
}

/// The record of a retained message: the message, and its place behind it.
fn encode(message: &Message, offset: Offset) -> Option<Bytes> {
    let value = postcard::to_stdvec(message).ok()?;
    postcard::to_extend(&offset, value).ok().map(Bytes::from)
}

/// Reads such a record; one of an older version has no place.
pub(crate) fn decode(value: &[u8]) -> Option<(Message, Offset)> {
    let (message, rest) = postcard::take_from_bytes(value).ok()?;
    Some((message, postcard::from_bytes(rest).unwrap_or_default()))
}

impl Engine {
    /// Whether there is no room for one more retained message.
    pub(crate) fn retained_full(&self, topic: &str, payload: &Bytes) -> bool {
        !payload.is_empty()
            && (self.retained.len() >= self.settings.max_retained
                || self.retained.bytes() + topic.len() + payload.len() > self.settings.max_retained_bytes)
    }

    /// A message that was published with the retain flag: it replaces the one before, or clears it.
    pub(crate) fn retain(&mut self, message: &Arc<Message>, offset: Offset) {
        let slot = Slot::of(message);
        let value = if message.payload.is_empty() {
            if !self.retained.remove(&slot) {
                return;
            }
            None
        } else {
            self.retained.set(message.clone(), offset);
            encode(message, offset)
        };
        self.out.push(Output::Put { ticket: None, records: vec![(slot.record(), value)], durable: true });
    }

    /// Forgets a retained message that has expired.
    pub(crate) fn drop_retained(&mut self, slot: &Slot) {
        if self.retained.remove(slot) {
            self.out.push(Output::Put { ticket: None, records: vec![(slot.record(), None)], durable: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_a_filter_begins_every_topic_it_matches() {
        for (filter, prefix) in [("a/b", "a/b"), ("a/#", "a"), ("a/+/c", "a"), ("#", ""), ("+/a", ""), ("a//#", "a")] {
            assert_eq!(literal_prefix(filter), prefix, "{filter}");
        }
    }
}
