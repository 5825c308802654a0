//! Who has to be woken: users with a stored message that none of their devices has acknowledged when the grace period
//! ends. Push is triggered by a missing acknowledgement, not by presence.
//!
//! A user is reported once (`$tidings/events/unacked`) and then not again until a device of theirs has come back;
//! each device that comes back after that is reported once (`$tidings/events/returned`). Both are stored messages for
//! whoever subscribes. What a user's record says survives a restart; messages that were waiting when the broker went
//! down, and are not known to be acknowledged, get a fresh grace period.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_shared::events::{DeviceReturned, UserUnacked};
use tidings_shared::identity::UserId;
use tidings_shared::message_id::MessageId;
use tidings_shared::topic::names;

use super::hash::{Map, Seeded};
use super::publish::{Draft, Origin};
use super::timers::Timer;
use super::{Engine, Output};
use crate::log::{Message, MessageProperties, Offset, RecordKey, RecordKind};

/// How many clients of a user are remembered as returned; beyond that a return may be reported again, which is harmless.
const MAX_RETURNED: usize = 32;
/// How many acknowledgements are remembered that came before their messages: as many as appends are on their way.
const MAX_EARLY: usize = 4_096;
/// How long until an event that could not be stored is tried again.
const RETRY_MS: i64 = 1_000;

/// The records of users who have read over HTTP.
pub(crate) const FETCHED: &str = "fetched/";

fn fetched_key(user: &UserId) -> RecordKey {
    RecordKey::new(RecordKind::Internal, format!("{FETCHED}{user}").into_bytes())
}

/// What is kept of a user who was reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Reported, and no device has come back since.
    pub(crate) asleep: bool,
    /// The clients that have come back since the last report.
    pub(crate) returned: Vec<String>,
}

/// A message that waits for its acknowledgement.
#[derive(Clone, Debug)]
struct Waiting {
    deadline: i64,
    user: UserId,
    offset: Offset,
    message: MessageId,
    stored_at_ms: i64,
    expires_at_ms: Option<i64>,
}

/// An event on its way into the log.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Unacked(UserUnacked, Offset),
    Returned(DeviceReturned),
}

/// An acknowledgement that came before the engine heard that the message was stored: its reader had found it in the
/// log already.
#[derive(Clone, Debug)]
struct Early {
    user: UserId,
    from: Offset,
    upto: Offset,
}

/// The wake-up logic's memory.
#[derive(Debug)]
pub(crate) struct Wake {
    /// In the order of the log; the grace period is the same for all, so also in the order of their deadlines.
    queue: VecDeque<Waiting>,
    /// The messages of `queue` that are not acknowledged, by user.
    pending: Map<UserId, BTreeSet<Offset>>,
    pub(crate) marks: Map<UserId, Mark>,
    /// Reports that are not stored yet.
    storing: BTreeSet<Offset>,
    failed: Vec<Event>,
    early: Vec<Early>,
    /// How far users have read over HTTP, where a restart would otherwise not know it: no session says so.
    pub(crate) fetched: Map<UserId, Offset>,
}

impl Wake {
    pub(crate) fn new(seed: Seeded) -> Self {
        Self {
            queue: VecDeque::new(),
            pending: Map::with_hasher(seed),
            marks: Map::with_hasher(seed),
            storing: BTreeSet::new(),
            failed: Vec::new(),
            early: Vec::new(),
            fetched: Map::with_hasher(seed),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<i64> {
        self.queue.front().map(|waiting| waiting.deadline)
    }

    /// Everything up to here needs no more attention: a restart looks only at what comes after.
    pub(crate) fn horizon(&self, head: Offset) -> Offset {
        let first =
            self.queue.front().map(|waiting| waiting.offset).into_iter().chain(self.storing.first().copied()).min();
        first.map_or(head, |first| Offset(first.0.saturating_sub(1)))
    }

    /// Remembers an acknowledgement of messages that are not known to be stored yet.
    fn acknowledged_early(&mut self, user: &UserId, from: Offset, upto: Offset, head: Offset) {
        if upto > head && self.early.len() < MAX_EARLY {
            self.early.push(Early { user: user.clone(), from, upto });
        }
    }

    fn was_acknowledged_early(&mut self, user: &UserId, offset: Offset) -> bool {
        let acknowledged = |early: &Early| early.user == *user && (early.from..=early.upto).contains(&offset);
        let found = self.early.iter().any(acknowledged);
        self.early.retain(|early| early.upto > offset);
        found
    }

    fn forget(&mut self, user: &UserId, gone: impl Fn(Offset) -> bool) {
        if let Some(pending) = self.pending.get_mut(user) {
            pending.retain(|offset| !gone(*offset));
            if pending.is_empty() {
                self.pending.remove(user);
            }
        }
    }
}

impl Engine {
    /// A message for a user was stored.
    pub(crate) fn wake_stored(&mut self, user: &UserId, offset: Offset, message: &Message) {
        let early = self.wake.was_acknowledged_early(user, offset);
        if early || self.wake.marks.get(user).is_some_and(|mark| mark.asleep) {
            return;
        }
        self.wake.pending.entry(user.clone()).or_default().insert(offset);
        self.wake.queue.push_back(Waiting {
            deadline: self.now.saturating_add(self.settings.wake_grace_ms),
            user: user.clone(),
            offset,
            message: message.id.clone(),
            stored_at_ms: message.time_ms,
            expires_at_ms: message.expires_at_ms,
        });
    }

    /// A device of the user has acknowledged one message.
    pub(crate) fn wake_acked(&mut self, user: &UserId, client: &str, offset: Offset) {
        self.wake.forget(user, |waiting| waiting == offset);
        self.wake.acknowledged_early(user, offset, offset, self.head);
        self.wake_returned(user, client);
    }

    /// A device of the user polls over HTTP: everything up to its cursor has arrived.
    pub(crate) fn polled(&mut self, user: &UserId, client: &str, cursor: Option<Offset>) {
        self.meet(user);
        self.note_polled(user);
        if let Some(cursor) = cursor {
            let waited = self.wake.pending.get(user).and_then(BTreeSet::first).is_some_and(|first| *first <= cursor);
            if waited {
                self.wake.fetched.insert(user.clone(), cursor);
                let record = (fetched_key(user), postcard::to_stdvec(&cursor).ok().map(Bytes::from));
                self.out.push(Output::Put { ticket: None, records: vec![record], durable: false });
            }
            self.wake.forget(user, |offset| offset <= cursor);
            if !self.appends.is_empty() {
                self.wake.acknowledged_early(user, Offset::START, cursor, self.head);
            }
        }
        self.wake_returned(user, client);
    }

    /// Forgets how far users have read where a restart looks only at what came later; their records, to be removed.
    pub(crate) fn fetched_before(&mut self, horizon: Offset) -> Vec<(RecordKey, Option<Bytes>)> {
        let mut past = Vec::new();
        self.wake.fetched.retain(|user, upto| {
            let needed = *upto > horizon;
            if !needed {
                past.push((fetched_key(user), None));
            }
            needed
        });
        past
    }

    /// A device is back.
    pub(crate) fn wake_returned(&mut self, user: &UserId, client: &str) {
        let Some(mark) = self.wake.marks.get_mut(user) else { return };
        if !mark.asleep && mark.returned.iter().any(|known| known == client) {
            return;
        }
        mark.asleep = false;
        if mark.returned.len() < MAX_RETURNED {
            mark.returned.push(client.to_owned());
        }
        let event = DeviceReturned { user: user.clone(), client: client.to_owned(), at_ms: self.now };
        self.publish_event(Event::Returned(event));
    }

    /// Reports users whose grace period is over.
    pub(crate) fn run_wake(&mut self) {
        while self.wake.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            let Some(waiting) = self.wake.queue.pop_front() else { return };
            let due = self.wake.pending.get(&waiting.user).is_some_and(|pending| pending.contains(&waiting.offset));
            if !due {
                continue;
            }
            if waiting.expires_at_ms.is_some_and(|expires| expires <= self.now) {
                // A device that woke up for it would find nothing.
                self.wake.forget(&waiting.user, |offset| offset == waiting.offset);
                continue;
            }
            self.wake.pending.remove(&waiting.user);
            self.wake.marks.insert(waiting.user.clone(), Mark { asleep: true, returned: Vec::new() });
            let event = UserUnacked {
                user: waiting.user,
                message_id: waiting.message,
                stored_at_ms: waiting.stored_at_ms,
                cursor: self.cursor(waiting.offset).to_string(),
            };
            self.wake.storing.insert(waiting.offset);
            self.publish_event(Event::Unacked(event, waiting.offset));
        }
    }

    fn publish_event(&mut self, event: Event) {
        let (topic, payload, message_id) = match &event {
            // Named after what it reports: should it be stored again after a crash, the log recognises it.
            Event::Unacked(unacked, offset) => (
                names::EVENT_UNACKED,
                serde_json::to_vec(unacked),
                MessageId::new(&format!("unacked-{}", self.cursor(*offset))).ok(),
            ),
            Event::Returned(returned) => (names::EVENT_RETURNED, serde_json::to_vec(returned), None),
        };
        let Ok(payload) = payload else { return };
        let draft = Draft {
            sender: None,
            publisher: 0,
            topic: topic.into(),
            payload: Bytes::from(payload),
            qos: 1,
            retain: false,
            granted: true,
            message_id,
            expiry_s: None,
            properties: MessageProperties { content_type: Some("application/json".to_owned()), ..Default::default() },
        };
        let message: Arc<Message> = self.compose(draft);
        self.route(message, Origin::Event(event), None);
    }

    /// The event is stored: now its user's record.
    pub(crate) fn event_stored(&mut self, event: &Event) {
        let user = match event {
            Event::Unacked(unacked, offset) => {
                self.stats.wakes += 1;
                self.wake.storing.remove(offset);
                &unacked.user
            }
            Event::Returned(returned) => &returned.user,
        };
        let Some(mark) = self.wake.marks.get(user) else { return };
        let Ok(value) = postcard::to_stdvec(mark) else { return };
        let key = RecordKey::new(RecordKind::WakeMark, user.as_str().as_bytes().to_vec());
        self.out.push(Output::Put { ticket: None, records: vec![(key, Some(value.into()))], durable: true });
    }

    pub(crate) fn event_not_stored(&mut self, event: Event) {
        if self.stopping {
            // Its user's messages are looked at again after the start.
            return;
        }
        self.wake.failed.push(event);
        self.timers.set(self.now.saturating_add(RETRY_MS), Timer::Events);
    }

    pub(crate) fn retry_events(&mut self) {
        for event in std::mem::take(&mut self.wake.failed) {
            // A user who came back meanwhile is awake: the report would only be followed by its withdrawal.
            let superseded = match &event {
                Event::Unacked(unacked, offset) => {
                    let awake = self.wake.marks.get(&unacked.user).is_some_and(|mark| !mark.asleep);
                    if awake {
                        self.wake.storing.remove(offset);
                    }
                    awake
                }
                Event::Returned(_) => false,
            };
            if !superseded {
                self.publish_event(event);
            }
        }
    }
}
