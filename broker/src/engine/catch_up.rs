//! What a connected session still has to get: what was sent before and not acknowledged, retained messages, and what
//! it missed, read from the log in bounded portions as its window has room.

use std::num::NonZeroU64;

use tidings_shared::topic;

use super::deliver::{Hit, Offered};
use super::group::GroupId;
use super::inflight::{Source, State};
use super::io::{ConnId, ReadBatch, ReadPlan, Ticket};
use super::packet::{Form, fit, publish};
use super::session::{Session, SessionId, Subscription};
use super::subscriptions::is_wild;
use super::timers::Timer;
use super::{Engine, Output};
use crate::log::{Key, LogError, Message, Offset};
use rmqtt_codec::v5::{Packet, PublishAck2Reason, QoS};

/// Who asked for a read of the log.
#[derive(Clone, Debug)]
pub(crate) enum Reader {
    /// Messages that were missed.
    Session(SessionId),
    /// Messages that are to be sent again.
    Resend(SessionId, Vec<Offset>),
    Group(GroupId),
    GroupAgain(GroupId, Vec<Offset>),
    /// How far back the log is whole, for a client that has not been answered.
    Floor(ConnId),
}

/// How long to wait before a read that failed is tried again.
const RETRY_MS: i64 = 1_000;

/// Bytes of payload that one session gets from the log ahead of its acknowledgements, or before it has taken them.
const PORTION_BYTES: usize = 64 << 10;

/// How many retained messages are sent at once.
const RETAINED_AT_ONCE: usize = 256;

impl Engine {
    /// Sends whatever the session has room for.
    pub(crate) fn pump(&mut self, id: SessionId) {
        if self.sessions.get(id).is_none_or(|session| session.online.is_none()) {
            return;
        }
        if self.resend(id) && self.send_retained(id) {
            self.catch_up(id);
        }
        for group in self.refresh_groups(id) {
            self.pump_group(group);
        }
    }

    pub(crate) fn read(&mut self, reader: Reader, plan: ReadPlan, after: Offset, limit: usize) -> Ticket {
        self.read_when_drained(reader, plan, after, limit, None)
    }

    fn read_when_drained(
        &mut self,
        reader: Reader,
        plan: ReadPlan,
        after: Offset,
        limit: usize,
        when_drained: Option<ConnId>,
    ) -> Ticket {
        let ticket = self.new_ticket();
        self.reads.insert(ticket, reader);
        self.out.push(Output::Read { ticket, plan, after, limit, when_drained });
        ticket
    }

    /// Sends again, in their order and under their packet ids, messages that an earlier connection did not
    /// acknowledge (MQTT 5, section 4.4). Returns whether that is done.
    fn resend(&mut self, id: SessionId) -> bool {
        loop {
            let Some(session) = self.sessions.get_mut(id) else { return false };
            let Some(online) = &session.online else { return false };
            let unsent = |entry: &super::inflight::Entry| entry.state == State::Unsent;
            let Some(place) = session.outbound.entries.iter().position(unsent) else { return true };
            if session.outbound.used() >= online.window || session.flow.reading.is_some() {
                return false;
            }
            let entry = &session.outbound.entries[place];
            if entry.message.is_some() {
                self.send_again(id, place);
                continue;
            }
            if let Source::Retained(slot) = &entry.source {
                match self.retained.get(slot).cloned() {
                    Some(message) => session.outbound.entries[place].message = Some(message),
                    None => self.gone(id, place),
                }
                continue;
            }
            let missing = session.outbound.entries.iter().filter(|entry| unsent(entry) && entry.message.is_none());
            let mut offsets: Vec<Offset> =
                missing.filter_map(|entry| entry.source.offset()).take(self.settings.read_batch).collect();
            offsets.sort_unstable();
            let limit = offsets.len();
            let ticket = self.read(Reader::Resend(id, offsets.clone()), ReadPlan::Exact(offsets), Offset::START, limit);
            if let Some(session) = self.sessions.get_mut(id) {
                session.flow.reading = NonZeroU64::new(ticket.0);
            }
            return false;
        }
    }

    fn send_again(&mut self, id: SessionId, place: usize) {
        let now_ms = self.now;
        let Some(session) = self.sessions.get(id) else { return };
        let Some(online) = &session.online else { return };
        let Some(entry) = session.outbound.entries.get(place) else { return };
        let Some(message) = entry.message.clone() else { return };
        let mut hit: Option<Hit> = None;
        for subscription in &session.subscriptions {
            let group = matches!(entry.source, Source::Group(..));
            if subscription.group.is_some() == group && topic::matches(plain(&subscription.filter), &message.topic) {
                hit = Some(Hit::add(hit, subscription.options, subscription.id));
            }
        }
        let retained = matches!(entry.source, Source::Retained(_));
        let as_published = hit.as_ref().is_some_and(|hit| hit.options.retain_as_published());
        let form = Form {
            protocol: online.protocol,
            qos: QoS::try_from(entry.qos).unwrap_or(QoS::AtLeastOnce),
            pid: Some(entry.pid),
            dup: true,
            retain: retained || (message.retain && as_published),
            ids: hit.map(|hit| hit.ids).unwrap_or_default(),
            cursor: entry.source.offset().filter(|_| !retained).map(|offset| self.cursor(offset)),
            hole: false,
            now_ms,
        };
        let Some(packet) = fit(publish(&message, form), online.protocol, online.max_packet) else {
            self.stats.too_large += 1;
            return self.gone(id, place);
        };
        self.stats.sent[usize::from(entry.qos)] += 1;
        if let Some(session) = self.sessions.get_mut(id) {
            session.outbound.set_state(place, State::Sent);
            if let Some(entry) = session.outbound.entries.get_mut(place) {
                entry.sent_ms = now_ms;
            }
            self.watch_member(id);
        }
        self.send_in_order(id, Packet::Publish(Box::new(packet)));
    }

    /// A message that should be sent again is no longer kept. The client may hold its packet id (QoS 2), so that is
    /// released in the protocol's own way.
    fn gone(&mut self, id: SessionId, place: usize) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(entry) = session.outbound.entries.get(place).cloned() else { return };
        if entry.qos == 2 {
            session.outbound.set_state(place, State::Released);
            self.pubrel(id, entry.pid, PublishAck2Reason::Success);
        } else if let Some(entry) = session.outbound.take(|other| other.pid == entry.pid) {
            self.done(id, &entry);
        }
    }

    /// Sends retained messages that new subscriptions still have to get. Returns whether that is done.
    fn send_retained(&mut self, id: SessionId) -> bool {
        for _ in 0..RETAINED_AT_ONCE {
            let Some(session) = self.sessions.get_mut(id) else { return false };
            let Some(scan) = session.retained.first() else {
                // An emptied list keeps its memory; an idle session should not.
                session.retained = Vec::new();
                return true;
            };
            let filter = scan.filter.clone();
            let subscription = session.subscription(&filter);
            let Some((options, sub_id)) = subscription.map(|sub| (sub.options, sub.id)) else {
                session.retained.remove(0);
                continue;
            };
            let Some((slot, message)) = self.retained.next(&filter, scan.after.as_ref()) else {
                session.retained.remove(0);
                continue;
            };
            let (slot, message) = (slot.clone(), message.clone());
            let offset = self.retained.offset(&slot);
            let comes_in_its_place =
                self.sessions.get(id).is_some_and(|session| comes_again(session, &message, offset));
            if options.permits(&message) && !comes_in_its_place {
                let hit = Hit::add(None, options, sub_id);
                match self.offer(id, hit, Some(Source::Retained(slot.clone())), &message, false) {
                    Offered::Full => return false,
                    Offered::Expired => self.drop_retained(&slot),
                    Offered::Sent | Offered::TooLarge => {}
                }
            }
            let scan = self.sessions.get_mut(id).and_then(|session| session.retained.first_mut());
            if let Some(scan) = scan {
                scan.after = Some(slot);
            }
        }
        self.timers.set(self.now, Timer::Pump(id));
        true
    }

    /// Asks the log for what the session missed, when there is room for it.
    fn catch_up(&mut self, id: SessionId) {
        let read_batch = self.settings.read_batch;
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(online) = &session.online else { return };
        if session.flow.live || session.flow.reading.is_some() {
            return;
        }
        // No more is in flight than one portion: when all clients come back at once, that is what each costs.
        let room = read_batch.saturating_sub(session.outbound.used().into());
        let free = session.outbound.free(online.window, self.settings.max_inflight_bytes.min(PORTION_BYTES)).min(room);
        // A small window is refilled one by one, a large one in portions worth a read.
        if free < (usize::from(online.window) / 2).clamp(1, read_batch / 2) {
            return;
        }
        let plan = plan(session);
        if plan == ReadPlan::Keys(Vec::new()) {
            session.flow.live = true;
            session.flow.next = session.flow.next.max(self.head);
            return;
        }
        let live_only = |sub: &Subscription| sub.group.is_none() && sub.options.qos() == QoS::AtMostOnce;
        let when_drained = session.subscriptions.iter().any(live_only).then_some(online.conn);
        let limit = if plan == ReadPlan::All { read_batch * 4 } else { free };
        let after = session.flow.next;
        let ticket = self.read_when_drained(Reader::Session(id), plan, after, limit, when_drained);
        if let Some(session) = self.sessions.get_mut(id) {
            session.flow.reading = NonZeroU64::new(ticket.0);
        }
    }

    /// The log's answer to an [`Output::Read`].
    pub(crate) fn read_done(&mut self, ticket: Ticket, result: Result<ReadBatch, LogError>) {
        let Some(reader) = self.reads.remove(&ticket) else { return };
        match reader {
            Reader::Session(id) => {
                if self.reading_ended(id, ticket) {
                    match result {
                        Ok(batch) => self.caught_up(id, batch),
                        Err(_) => self.timers.set(self.now + RETRY_MS, Timer::Pump(id)),
                    }
                }
            }
            Reader::Resend(id, offsets) => {
                if self.reading_ended(id, ticket) {
                    match result {
                        Ok(batch) => self.found_again(id, &offsets, &batch),
                        Err(_) => self.timers.set(self.now + RETRY_MS, Timer::Pump(id)),
                    }
                }
            }
            Reader::Floor(conn) => self.floor_known(conn, result),
            Reader::Group(group) => self.group_read(group, ticket, result),
            Reader::GroupAgain(group, offsets) => self.group_read_again(group, ticket, &offsets, result),
        }
    }

    /// Whether the session still waits for this read.
    fn reading_ended(&mut self, id: SessionId, ticket: Ticket) -> bool {
        let Some(session) = self.sessions.get_mut(id) else { return false };
        let waits = session.flow.reading == NonZeroU64::new(ticket.0);
        if waits {
            session.flow.reading = None;
        }
        waits
    }

    fn found_again(&mut self, id: SessionId, offsets: &[Offset], batch: &ReadBatch) {
        let mut place = 0;
        while let Some(session) = self.sessions.get_mut(id) {
            let Some(entry) = session.outbound.entries.get_mut(place) else { break };
            let asked = entry.source.offset().filter(|offset| offsets.contains(offset));
            if let (State::Unsent, None, Some(offset)) = (entry.state, &entry.message, asked) {
                match batch.messages.iter().find(|(found, _)| *found == offset) {
                    Some((_, message)) => entry.message = Some(message.clone()),
                    None => {
                        let before = session.outbound.entries.len();
                        self.gone(id, place);
                        let after = self.sessions.get(id).map_or(0, |session| session.outbound.entries.len());
                        if after < before {
                            continue;
                        }
                    }
                }
            }
            place += 1;
        }
        self.pump(id);
    }

    fn caught_up(&mut self, id: SessionId, batch: ReadBatch) {
        if let Some(session) = self.sessions.get_mut(id)
            && batch.floor > session.flow.next
        {
            session.flow.hole = true;
            self.stats.holes += 1;
        }
        let mut bytes = 0;
        for (offset, message) in &batch.messages {
            let Some(session) = self.sessions.get(id) else { return };
            let Some(online) = &session.online else { return };
            if *offset <= session.flow.next {
                continue;
            }
            let hit = Self::own_hit(session, message, *offset);
            let dup = *offset <= session.flow.dup_until;
            // QoS 0 from before the connection is not kept for anybody.
            let wanted = hit.filter(|hit| hit.qos_of(message) > 0 || *offset > online.since);
            if let Some(hit) = wanted {
                let unlimited = hit.qos_of(message) == 0;
                if unlimited && bytes > 0 && bytes + message.payload.len() > PORTION_BYTES {
                    // When the client has taken these, the rest is read again.
                    return self.pump(id);
                }
                match self.offer(id, hit, Some(Source::Log(*offset)), message, dup) {
                    // Acknowledgements make room and go on from here.
                    Offered::Full => return,
                    Offered::Sent if unlimited => bytes += message.payload.len() + message.topic.len(),
                    _ => {}
                }
            }
            if let Some(session) = self.sessions.get_mut(id) {
                session.flow.next = *offset;
            }
        }
        let Some(session) = self.sessions.get_mut(id) else { return };
        let flow = &mut session.flow;
        flow.next = flow.next.max(batch.upto);
        flow.live = batch.at_end && flow.missed <= flow.next;
        if let (true, Some(recovery)) = (flow.live, session.recovery.as_deref_mut()) {
            recovery.caught_up();
            if recovery.is_over() {
                session.recovery = None;
            }
        }
        self.mark_dirty(id);
        self.pump(id);
    }
}

/// Whether a retained message comes from the log anyway: to a session in recovery, after its cursor.
fn comes_again(session: &Session, message: &Message, offset: Offset) -> bool {
    let own = matches!((&message.key, session.owner.user()), (Key::User(key), Some(user)) if key == user);
    let from = session.recovery.as_deref().and_then(|recovery| recovery.from);
    own && from.is_some_and(|from| offset > from) && offset > session.flow.next && !session.flow.live
}

/// A filter without `$share/GROUP/`.
fn plain(filter: &str) -> &str {
    topic::split_shared(filter).map_or(filter, |shared| shared.filter)
}

/// Where the log keeps what a session subscribes to.
fn plan(session: &Session) -> ReadPlan {
    let filters = session.subscriptions.iter().filter(|subscription| subscription.group.is_none());
    let mut keys = Vec::new();
    for subscription in filters {
        if !keys_of(&subscription.filter, session, &mut keys) {
            return ReadPlan::All;
        }
    }
    keys.sort_unstable();
    keys.dedup();
    ReadPlan::Keys(keys)
}

/// Adds the keys under which a filter's messages are stored; `false` when they cannot be named.
fn keys_of(filter: &str, session: &Session, keys: &mut Vec<Key>) -> bool {
    if !is_wild(filter) {
        keys.extend(topic::owner_of(filter).map(Key::User));
        keys.push(Key::Command(filter.to_owned()));
        return true;
    }
    match session.owner.user() {
        Some(user) if topic::is_own(user, filter) => {
            // `42/#` matches the bare topic `42` too, which has no owner by its form.
            keys.push(Key::User(user.clone()));
            keys.push(Key::Command(user.topic_prefix()));
            true
        }
        _ => false,
    }
}

/// The keys of one filter of a shared group, as far as they can be named.
pub(crate) fn group_plan(filter: &str) -> ReadPlan {
    if is_wild(filter) {
        return ReadPlan::All;
    }
    let mut keys: Vec<Key> = topic::owner_of(filter).map(Key::User).into_iter().collect();
    keys.push(Key::Command(filter.to_owned()));
    ReadPlan::Keys(keys)
}
