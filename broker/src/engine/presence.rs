//! Who is there: connections by user, when a user was last seen, and events about both.
//!
//! Nothing is kept for users who have a session: a connected one says so, and one that is not tells by its expiry when
//! it was left. For users without a session the last time is kept in a table with a bound, written with the cursors,
//! and forgotten when it is as old as the oldest message.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tidings_shared::events::{PresenceChanged, PresenceState};
use tidings_shared::identity::UserId;
use tidings_shared::topic::names;

use super::Engine;
use super::hash::{Map, Seeded};
use super::io::{ClientPresence, Presence};
use super::publish::Draft;
use super::session::Session;
use crate::log::{MessageProperties, RecordKey, RecordKind};

/// How many users without a session are remembered; beyond that the one who was seen longest ago is forgotten.
const MAX_SEEN: usize = 100_000;
/// A user who polls over HTTP is noted this often.
const POLLED_MS: i64 = 60_000;

/// When users were seen last.
#[derive(Debug)]
pub(crate) struct Seen {
    at: Map<UserId, i64>,
    /// The same, the one who was seen longest ago first.
    order: BTreeSet<(i64, UserId)>,
    /// Whose records have to be written, or removed.
    dirty: BTreeSet<UserId>,
}

impl Seen {
    pub(crate) fn new(seed: Seeded) -> Self {
        Self { at: Map::with_hasher(seed), order: BTreeSet::new(), dirty: BTreeSet::new() }
    }

    fn at(&self, user: &UserId) -> Option<i64> {
        self.at.get(user).copied()
    }

    fn note(&mut self, user: &UserId, at: i64) {
        match self.at.get_mut(user) {
            Some(known) if *known >= at => return,
            Some(known) => {
                self.order.remove(&(*known, user.clone()));
                *known = at;
            }
            None => drop(self.at.insert(user.clone(), at)),
        }
        self.order.insert((at, user.clone()));
        self.dirty.insert(user.clone());
        if self.at.len() > MAX_SEEN {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, user)) = self.order.pop_first() {
            self.at.remove(&user);
            self.dirty.insert(user);
        }
    }

    fn forget_before(&mut self, at: i64) {
        while self.order.first().is_some_and(|(seen, _)| *seen < at) {
            self.forget_first();
        }
    }

    /// What a record says, at the start.
    pub(crate) fn restore(&mut self, user: &UserId, at: i64) {
        self.note(user, at);
        self.dirty.clear();
    }
}

impl Engine {
    /// What is known about a user.
    pub(crate) fn presence(&self, user: &UserId) -> Presence {
        let session = |session: &Session| ClientPresence {
            client: session.client.to_string(),
            connected_since_ms: session.online.as_ref().map(|online| online.since_ms),
            last_seen_ms: session.last_seen_ms(),
        };
        let sessions: Vec<_> = self.sessions.of_user(user).map(|(_, found)| session(found)).collect();
        let online = sessions.iter().any(|session| session.connected_since_ms.is_some());
        let oldest = self.now.saturating_sub(self.settings.presence_keep_ms);
        let seen = self.seen.at(user).into_iter().chain(sessions.iter().filter_map(|session| session.last_seen_ms));
        let last_seen_ms = seen.max().filter(|at| !online && *at >= oldest);
        Presence { online, last_seen_ms, sessions }
    }

    fn is_online(&self, user: &UserId) -> bool {
        self.sessions.of_user(user).any(|(_, session)| session.online.is_some())
    }

    /// A session has ended: its user was there until its connection was gone.
    pub(crate) fn note_ended(&mut self, session: &Session) {
        if let Some(user) = session.owner.user() {
            let at = session.last_seen_ms().unwrap_or(self.now);
            self.note_seen(user, at);
        }
    }

    /// A device of the user has asked over HTTP.
    pub(crate) fn note_polled(&mut self, user: &UserId) {
        if self.seen.at(user).is_none_or(|at| self.now - at >= POLLED_MS) {
            self.note_seen(user, self.now);
        }
    }

    fn note_seen(&mut self, user: &UserId, at: i64) {
        self.seen.note(user, at);
        self.flush_soon();
    }

    /// The records that have changed since they were last written.
    pub(crate) fn seen_records(&mut self) -> Vec<(RecordKey, Option<Bytes>)> {
        self.seen.forget_before(self.now.saturating_sub(self.settings.presence_keep_ms));
        let dirty = std::mem::take(&mut self.seen.dirty);
        let record = |user: UserId| {
            let value = self.seen.at(&user).map(|at| Bytes::copy_from_slice(&at.to_be_bytes()));
            (RecordKey::new(RecordKind::Presence, user.as_str().as_bytes().to_vec()), value)
        };
        dirty.into_iter().map(record).collect()
    }

    /// Tells whoever subscribes to it that a client of the user has come or gone.
    pub(crate) fn tell_presence(&mut self, user: &UserId, client: &Arc<str>, state: PresenceState) {
        if self.stopping || !self.index.is_listened_to(names::EVENT_PRESENCE) {
            return;
        }
        let event = PresenceChanged {
            user: user.clone(),
            client: client.to_string(),
            state,
            user_online: self.is_online(user),
            time: self.now,
        };
        let Ok(payload) = serde_json::to_vec(&event) else { return };
        let message = self.compose(Draft {
            sender: None,
            publisher: 0,
            topic: names::EVENT_PRESENCE.into(),
            payload: Bytes::from(payload),
            qos: 0,
            retain: false,
            granted: true,
            message_id: None,
            expiry_s: None,
            properties: MessageProperties { content_type: Some("application/json".to_owned()), ..Default::default() },
        });
        self.deliver(None, &message, None);
    }
}
