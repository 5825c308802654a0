//! The engine's state from the log, at the start.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tidings_shared::identity::UserId;

use super::access::KNOWN_USER;
use super::inflight::{Outbound, Source};
use super::io::ReadPlan;
use super::records::{CLEAN_STOP, HORIZON};
use super::recovery::Recovery;
use super::retained;
use super::session::{Flow, Owner, Session, SessionId, Subscription};
use super::stored::{CursorRecord, GroupRecord, SessionRecord};
use super::timers::Timer;
use super::wake::{FETCHED, Mark};
use super::{Engine, Output, Settings};
use crate::log::{Key, LogError, Message, MessageLog, Offset, RecordKey, RecordKind};

/// How many packet ids may have been used in the time that cursors lag behind a crash. The client may still hold
/// them, so they are not given to other messages (QoS 2).
const PACKET_ID_LEAP: u16 = 1 << 14;

const SCAN: usize = 1_000;

impl Engine {
    /// The engine as it was when it last wrote to this log. `seed` should be random; a run with the same seed and the
    /// same inputs is the same.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn restore(settings: Settings, seed: u64, log: &dyn MessageLog, now_ms: i64) -> Result<Self, LogError> {
        let mut engine = Self::new(settings, seed, log.epoch(), log.head(), now_ms);
        let mut horizon = Offset::START;
        let mut clean = false;
        for (key, value) in log.records(RecordKind::Internal) {
            match std::str::from_utf8(&key.id) {
                Ok(HORIZON) => horizon = postcard::from_bytes(&value).unwrap_or_default(),
                Ok(CLEAN_STOP) => {
                    clean = true;
                    engine.out.push(Output::Put { ticket: None, records: vec![(key, None)], durable: false });
                }
                Ok(name) if name.starts_with(FETCHED) => {
                    let user = name.strip_prefix(FETCHED).and_then(|user| UserId::new(user).ok());
                    if let (Some(user), Ok(upto)) = (user, postcard::from_bytes(&value)) {
                        engine.wake.fetched.insert(user, upto);
                    }
                }
                Ok(name) => {
                    let user = name.strip_prefix(KNOWN_USER).and_then(|user| UserId::new(user).ok());
                    if let Some(user) = user {
                        engine.world.meet(&user);
                    }
                }
                Err(_) => {}
            }
        }
        engine.horizon_written = horizon;
        for (_, value) in log.records(RecordKind::Retained) {
            match retained::decode(&value) {
                Some((message, offset)) if !message.is_expired(now_ms) => {
                    engine.retained.set(Arc::new(message), offset);
                }
                Some(_) => {}
                None => engine.unreadable += 1,
            }
        }
        engine.restore_revocations(log);
        engine.restore_sessions(log, clean);
        for (key, value) in log.records(RecordKind::WakeMark) {
            let user = std::str::from_utf8(&key.id).ok().and_then(|user| UserId::new(user).ok());
            if let (Some(user), Ok(mark)) = (user, postcard::from_bytes::<Mark>(&value)) {
                engine.wake.marks.insert(user, mark);
            } else {
                engine.unreadable += 1;
            }
        }
        for (key, value) in log.records(RecordKind::Presence) {
            let user = std::str::from_utf8(&key.id).ok().and_then(|user| UserId::new(user).ok());
            if let (Some(user), Ok(at)) = (user, <[u8; 8]>::try_from(&value[..])) {
                engine.seen.restore(&user, i64::from_be_bytes(at));
            } else {
                engine.unreadable += 1;
            }
        }
        engine.restore_recent(log, horizon)?;
        Ok(engine)
    }

    /// How many records could not be understood at the start (written by another version, or damaged).
    #[must_use]
    pub fn unreadable_records(&self) -> usize {
        self.unreadable
    }

    fn restore_sessions(&mut self, log: &dyn MessageLog, clean: bool) {
        // After a crash, what came after the cursors were written may have been sent before.
        let dup_until = if clean { Offset::START } else { self.head };
        let leap = if clean { 0 } else { PACKET_ID_LEAP };
        let mut cursors: HashMap<RecordKey, (CursorRecord, Option<Box<Recovery>>)> = log
            .records(RecordKind::Cursor)
            .into_iter()
            .filter_map(|(key, value)| Some((key, CursorRecord::decode(&value)?)))
            .collect();
        // In a fixed order, so that runs replay.
        let mut records = log.records(RecordKind::Session);
        records.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut restored = Vec::new();
        for (key, value) in records {
            let Ok(record) = postcard::from_bytes::<SessionRecord>(&value) else {
                self.unreadable += 1;
                continue;
            };
            let (cursor, recovery) = cursors.remove(&RecordKey::new(RecordKind::Cursor, key.id)).unzip();
            let id = self.restore_session(record, cursor.as_ref(), recovery.flatten(), dup_until);
            restored.push((id, cursor));
        }
        self.restore_groups(log, dup_until);
        for (id, cursor) in restored {
            let (Some(session), Some(cursor)) = (self.sessions.get_mut(id), cursor) else { continue };
            let entries = cursor.outbound(&session.owner, &self.groups);
            for entry in &entries {
                if let Source::Group(group, offset) = entry.source
                    && let Some(group) = self.groups.get_mut(group)
                {
                    group.again.remove(&offset);
                    group.claimed.insert(offset, id);
                }
            }
            session.outbound = Outbound::restored(entries, cursor.next_pid.wrapping_add(leap).max(1));
        }
    }

    fn restore_session(
        &mut self,
        record: SessionRecord,
        cursor: Option<&CursorRecord>,
        recovery: Option<Box<Recovery>>,
        dup_until: Offset,
    ) -> SessionId {
        let (head, now) = (self.head, self.now);
        let owner = record.owner;
        let mut session = Session::new(owner.clone(), record.client.into(), record.expiry_s, head);
        session.recorded = true;
        session.subscriptions.reserve_exact(record.subscriptions.len());
        let oldest = record.subscriptions.iter().map(|subscription| subscription.since).min();
        let next = cursor.map(|cursor| cursor.next).or(oldest).unwrap_or(head);
        session.flow = Flow { next, live: next >= head, missed: head, dup_until, ..Flow::default() };
        if cursor.is_none() {
            session.outbound.next_pid = PACKET_ID_LEAP;
        }
        session.inbound = cursor.map(CursorRecord::inbound).unwrap_or_default();
        session.retained = cursor.map(CursorRecord::scans).unwrap_or_default();
        session.recovery = recovery;
        session.expires_at = cursor.and_then(|cursor| cursor.expires_at);
        if session.expires_at.is_none() && session.expiry_s != u32::MAX {
            session.expires_at = Some(now.saturating_add(i64::from(session.expiry_s) * 1000));
        }
        let expires_at = session.expires_at;
        let will = record.will.map(Box::new);
        let delay_s = will.as_ref().map(|will| will.delay_s.min(session.expiry_s));
        session.will = will;
        let id = self.sessions.insert(session);
        if let Some(at) = expires_at {
            self.timers.set(at, Timer::SessionEnd(id));
        }
        if let Some(delay_s) = delay_s {
            let due = now.saturating_add(i64::from(delay_s) * 1000);
            if let Some(will) = self.sessions.get_mut(id).and_then(|session| session.will.as_mut()) {
                will.due = Some(due);
            }
            self.timers.set(due, Timer::Will(id));
        }
        for subscription in record.subscriptions {
            let filter: Arc<str> = subscription.filter.into();
            if let Some(session) = self.sessions.get_mut(id) {
                session.subscriptions.push(Subscription {
                    filter: filter.clone(),
                    options: subscription.options,
                    id: subscription.id,
                    since: subscription.since,
                    group: None,
                    by: 0,
                });
            }
            self.stats.subscriptions += 1;
            self.place_subscription(id, &owner, &filter, subscription.options, subscription.id);
            self.group_since(&owner, &filter, subscription.since, dup_until);
        }
        id
    }

    /// A group without a record has read nothing since its first member came.
    fn group_since(&mut self, owner: &Owner, name: &Arc<str>, since: Offset, dup_until: Offset) {
        let head = self.head;
        let Some(group) = self.groups.find(owner, name).and_then(|id| self.groups.get_mut(id)) else { return };
        let next = group.flow.next.min(since);
        group.flow = Flow { next, live: next >= head, missed: head, dup_until, ..Flow::default() };
    }

    fn restore_groups(&mut self, log: &dyn MessageLog, dup_until: Offset) {
        for (_, value) in log.records(RecordKind::Group) {
            let Ok(record) = postcard::from_bytes::<GroupRecord>(&value) else {
                self.unreadable += 1;
                continue;
            };
            let head = self.head;
            let id = self.groups.find(&record.owner, &record.name.into());
            let Some(group) = id.and_then(|id| self.groups.get_mut(id)) else { continue };
            group.recorded = true;
            group.flow.next = record.next;
            group.flow.live = record.next >= head;
            group.flow.dup_until = dup_until;
            group.again = record.open.into_iter().map(|offset| (offset, None)).collect();
        }
    }

    /// Messages whose effects may not have been recorded before the end: retained ones are set again; those for users
    /// that nobody is known to have acknowledged get a fresh grace period.
    fn restore_recent(&mut self, log: &dyn MessageLog, horizon: Offset) -> Result<(), LogError> {
        let mut by_user: HashMap<UserId, Vec<SessionId>> = HashMap::new();
        for (id, session) in self.sessions.iter() {
            if let Some(user) = session.owner.user() {
                by_user.entry(user.clone()).or_default().push(id);
            }
        }
        let mut after = horizon;
        loop {
            let batch = log.scan(after, SCAN)?;
            for (offset, message) in &batch {
                after = *offset;
                if message.retain {
                    self.retain(message, *offset);
                }
                if let Key::User(user) = &message.key {
                    let sessions = by_user.get(user).map(Vec::as_slice).unwrap_or_default();
                    let fetched = self.wake.fetched.get(user).is_some_and(|upto| offset <= upto);
                    let acked = fetched || sessions.iter().any(|id| self.is_known_acked(*id, *offset, message));
                    if !acked && !message.is_expired(self.now) {
                        self.wake_stored(user, *offset, message);
                    }
                }
            }
            if batch.len() < SCAN {
                // What was written above is written again in the first step.
                return Ok(());
            }
        }
    }

    fn is_known_acked(&self, id: SessionId, offset: Offset, message: &Message) -> bool {
        let Some(session) = self.sessions.get(id) else { return false };
        let hit = Self::own_hit(session, message, offset);
        let open: BTreeSet<Offset> =
            session.outbound.entries.iter().filter_map(|entry| entry.source.offset()).collect();
        offset <= session.flow.next && !open.contains(&offset) && hit.is_some_and(|hit| hit.qos_of(message) > 0)
    }
}

/// Reads what [`Output::Read`](super::Output::Read) asks for: the half of the engine's contract with the log that
/// touches the disk.
///
/// # Errors
/// When the log cannot be read.
pub fn read(log: &dyn MessageLog, plan: &ReadPlan, after: Offset, limit: usize) -> Result<super::ReadBatch, LogError> {
    let head = log.head();
    let floor = match plan {
        // Taken before the messages: what is dropped meanwhile is told with the next portion.
        ReadPlan::Keys(keys) => keys.iter().map(|key| log.floor(key)).max().unwrap_or_default(),
        ReadPlan::All => Offset(log.first().0.saturating_sub(1)),
        ReadPlan::Exact(_) => Offset::START,
    };
    if limit == 0 {
        return Ok(super::ReadBatch { messages: Vec::new(), upto: head, at_end: false, floor });
    }
    let (mut messages, mut upto, mut at_end) = (Vec::new(), head, true);
    match plan {
        ReadPlan::All => {
            messages = log.scan(after, limit)?;
            at_end = messages.len() < limit;
            if let (false, Some((last, _))) = (at_end, messages.last()) {
                upto = *last;
            }
        }
        ReadPlan::Keys(keys) => {
            for key in keys {
                let found = log.read(key, after, limit)?;
                // A full portion is complete only up to its last message.
                if let (true, Some((last, _))) = (found.len() >= limit, found.last()) {
                    at_end = false;
                    upto = upto.min(*last);
                }
                messages.extend(found);
            }
            messages.sort_by_key(|(offset, _)| *offset);
        }
        ReadPlan::Exact(offsets) => {
            for offset in offsets {
                let found = log.scan(Offset(offset.0.saturating_sub(1)), 1)?;
                messages.extend(found.into_iter().filter(|(found, _)| found == offset));
            }
        }
    }
    if !matches!(plan, ReadPlan::Exact(_)) {
        messages.retain(|(offset, _)| *offset <= upto);
    }
    Ok(super::ReadBatch { messages, upto, at_end, floor })
}
