//! The deduplication window: which messages were stored in the last minutes, so that a repeated publish is
//! stored once.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::message::{Message, Offset};

/// A message's identity for deduplication, as a keyed 128-bit hash of its id, its sender and its topic. The
/// sender is part of it so that nobody can suppress another's message by guessing its id; the topic, so that a
/// handler which reuses one id for several receivers loses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity(u64, u64);

/// Identities that were stored within the window, oldest dropped first.
#[derive(Debug)]
pub(super) struct Window {
    hashers: (RandomState, RandomState),
    seen: HashMap<Identity, Offset>,
    order: VecDeque<(i64, Identity)>,
    window_ms: i64,
    entries: usize,
}

impl Window {
    pub(super) fn new(window_ms: i64, entries: usize) -> Self {
        Self {
            hashers: (RandomState::new(), RandomState::new()),
            seen: HashMap::new(),
            order: VecDeque::new(),
            window_ms,
            entries,
        }
    }

    pub(super) fn identity(&self, message: &Message) -> Identity {
        let parts = (message.id.as_str(), message.sender.as_ref().map(|sender| sender.user.as_str()), &*message.topic);
        Identity(self.hashers.0.hash_one(parts), self.hashers.1.hash_one(parts))
    }

    pub(super) fn get(&self, identity: Identity) -> Option<Offset> {
        self.seen.get(&identity).copied()
    }

    pub(super) fn insert(&mut self, now_ms: i64, time_ms: i64, identity: Identity, offset: Offset) {
        self.forget_old(now_ms);
        if time_ms.saturating_add(self.window_ms) <= now_ms {
            return;
        }
        if self.seen.insert(identity, offset).is_none() {
            self.order.push_back((time_ms, identity));
        }
        while self.order.len() > self.entries {
            self.forget_first();
        }
    }

    pub(super) fn forget_old(&mut self, now_ms: i64) {
        while self.order.front().is_some_and(|(time, _)| time.saturating_add(self.window_ms) <= now_ms) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, identity)) = self.order.pop_front() {
            self.seen.remove(&identity);
        }
    }
}
