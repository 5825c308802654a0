//! Shared subscriptions: each message goes to one member of the group (MQTT 5, section 4.8.2).
//!
//! A group is one reader of the log with a set of messages that members have claimed. A member that is not connected
//! or whose window is full is passed over; what a leaving member has not acknowledged goes to another one (QoS 1), and
//! so does what a member keeps too long (`group_health`). With QoS 2 the specification forbids that: the exchange is
//! completed with the same client, or not at all.
//!
//! Handlers form groups among themselves, and the devices of a user among themselves: nobody can join a foreign group
//! by its name and draw messages off.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;

use tidings_shared::topic;

use super::Engine;
use super::catch_up::{Reader, group_plan};
use super::deliver::{Hit, Offered};
use super::group::{FULL, GroupId, load};
use super::inflight::Source;
use super::io::{ReadBatch, ReadPlan, Ticket};
use super::session::SessionId;
use super::timers::Timer;
use crate::log::{LogError, Message, Offset};

/// What became of a message of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// A member has it, or nobody needs it any more.
    Done,
    /// No member can take anything now.
    NobodyReady,
    /// Those who could take one have this one already.
    NobodyElse,
}

impl Engine {
    pub(crate) fn deliver_to_group(&mut self, id: GroupId, offset: Option<Offset>, message: &Arc<Message>) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(offset) = offset else {
            self.give(id, None, message, false);
            return;
        };
        if !group.flow.live {
            group.flow.missed = group.flow.missed.max(offset);
            return;
        }
        if offset <= group.flow.next {
            return;
        }
        let given = self.give(id, Some(offset), message, false);
        if let Some(group) = self.groups.get_mut(id) {
            if given == Given::Done {
                group.flow.next = offset;
            } else {
                group.flow.pass_over(offset);
                self.mark_group_dirty(id);
            }
        }
    }

    /// Gives a message to the member whose turn it is.
    fn give(&mut self, id: GroupId, offset: Option<Offset>, message: &Arc<Message>, dup: bool) -> Given {
        let (mut left_out, mut has_it, mut last) = (false, false, None);
        let source = offset.map(|offset| Source::Group(id, offset));
        let again = offset.is_some_and(|offset| self.groups.get(id).is_some_and(|g| g.again.contains_key(&offset)));
        loop {
            let Some(group) = self.groups.get_mut(id) else { return Given::Done };
            let Some((place, session_id)) = group.next_after(last) else { break };
            let Some(session) = self.sessions.get(session_id) else {
                group.place(session_id, None);
                continue;
            };
            // It may have got messages from elsewhere since its place was set.
            let load = load(session, self.settings.max_inflight_bytes);
            if load != Some(place.0) {
                group.place(session_id, load);
                continue;
            }
            last = Some((place, session_id));
            if again && session.outbound.entries.iter().any(|entry| Some(&entry.source) == source.as_ref()) {
                has_it = true;
                continue;
            }
            let Some(member) = group.member(session_id).copied().filter(|member| member.options.permits(message))
            else {
                continue;
            };
            let hit = Hit::add(None, member.options, member.id);
            let stored = hit.qos_of(message) > 0;
            if stored && place.0 == FULL {
                // So have all who come after it.
                break;
            }
            match self.offer(session_id, hit, source.clone(), message, dup) {
                Offered::Sent => {
                    self.given(id, session_id, offset.filter(|_| stored));
                    return Given::Done;
                }
                Offered::Expired => return Given::Done,
                Offered::TooLarge => left_out = true,
                Offered::Full => {}
            }
        }
        match (left_out, has_it) {
            // When those who could take it do not take packets of its size, it is left out.
            (true, false) => Given::Done,
            (_, true) => Given::NobodyElse,
            (false, false) => Given::NobodyReady,
        }
    }

    fn given(&mut self, id: GroupId, session_id: SessionId, claim: Option<Offset>) {
        let load = self.sessions.get(session_id).map_or(0, |session| session.outbound.used());
        if let Some(group) = self.groups.get_mut(id) {
            group.served(session_id, load);
            if let Some(offset) = claim {
                group.claimed.insert(offset, session_id);
            }
        }
        if claim.is_some() {
            self.watch_member(session_id);
        }
        self.mark_group_dirty(id);
    }

    /// A member has acknowledged a message: whoever else was given it meanwhile may still do so, and nobody else gets it.
    pub(crate) fn group_done(&mut self, id: GroupId, offset: Offset) {
        if let Some(group) = self.groups.get_mut(id) {
            group.claimed.remove(&offset);
            group.again.remove(&offset);
            self.mark_group_dirty(id);
        }
    }

    /// A member's connection is gone: what it did not acknowledge goes to others. `ended`: its session is over too.
    pub(crate) fn release_claims(&mut self, session_id: SessionId, ended: bool) {
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        let mut groups: BTreeSet<GroupId> = session.subscriptions.iter().filter_map(|sub| sub.group).collect();
        if groups.is_empty() && session.outbound.entries.iter().all(|entry| !matches!(entry.source, Source::Group(..)))
        {
            return;
        }
        while let Some(entry) =
            session.outbound.take(|entry| matches!(entry.source, Source::Group(..)) && (ended || entry.qos == 1))
        {
            let Source::Group(group_id, offset) = entry.source else { continue };
            groups.insert(group_id);
            let Some(group) = self.groups.get_mut(group_id) else { continue };
            // Another member may have it meanwhile, or have acknowledged it.
            if group.claimed.get(&offset) == Some(&session_id) {
                group.claimed.remove(&offset);
                if entry.qos == 1 {
                    group.again.insert(offset, entry.message);
                }
            }
        }
        for group in groups {
            self.refresh_member(group, session_id);
            self.mark_group_dirty(group);
            self.timers.set(self.now, Timer::PumpGroup(group));
        }
    }

    /// Gives out whatever members have room for.
    pub(crate) fn pump_group(&mut self, id: GroupId) {
        let batch = self.settings.read_batch;
        let mut last = None;
        loop {
            let Some(group) = self.groups.get(id) else { return };
            if !group.any_ready() {
                return;
            }
            let from = last.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            match group.again.range((from, std::ops::Bound::Unbounded)).next() {
                None => break,
                Some((offset, Some(message))) => {
                    let (offset, message) = (*offset, message.clone());
                    let held = group.claimed.contains_key(&offset);
                    let dup = offset <= group.flow.dup_until;
                    match self.give(id, Some(offset), &message, dup) {
                        Given::NobodyReady => return,
                        Given::NobodyElse => last = Some(offset),
                        Given::Done => {
                            self.stats.reassigned += u64::from(held);
                            if let Some(group) = self.groups.get_mut(id) {
                                group.again.remove(&offset);
                            }
                        }
                    }
                }
                Some((_, None)) => {
                    if group.flow.reading.is_none() {
                        let unread = group.again.iter().filter(|(_, message)| message.is_none());
                        let offsets: Vec<Offset> = unread.map(|(offset, _)| *offset).take(batch).collect();
                        let (reader, limit) = (Reader::GroupAgain(id, offsets.clone()), offsets.len());
                        self.read_for_group(id, reader, ReadPlan::Exact(offsets), limit);
                    }
                    return;
                }
            }
        }
        let Some(group) = self.groups.get(id) else { return };
        if group.flow.live || group.flow.reading.is_some() {
            return;
        }
        // What members have no room for is kept until they have: one that is slow keeps nobody waiting.
        let plan = group_plan(&group.filter);
        let limit = if plan == ReadPlan::All { batch * 4 } else { batch };
        self.read_for_group(id, Reader::Group(id), plan, limit);
    }

    fn read_for_group(&mut self, id: GroupId, reader: Reader, plan: ReadPlan, limit: usize) {
        let Some(group) = self.groups.get(id) else { return };
        let after = group.flow.next;
        let ticket = self.read(reader, plan, after, limit);
        if let Some(group) = self.groups.get_mut(id) {
            group.flow.reading = NonZeroU64::new(ticket.0);
        }
    }

    fn group_reading_ended(&mut self, id: GroupId, ticket: Ticket) -> bool {
        let Some(group) = self.groups.get_mut(id) else { return false };
        let waits = group.flow.reading == NonZeroU64::new(ticket.0);
        if waits {
            group.flow.reading = None;
        }
        waits
    }

    pub(crate) fn group_read(&mut self, id: GroupId, ticket: Ticket, result: Result<ReadBatch, LogError>) {
        if !self.group_reading_ended(id, ticket) {
            return;
        }
        let Ok(batch) = result else { return self.timers.set(self.now + 1_000, Timer::PumpGroup(id)) };
        for (offset, message) in &batch.messages {
            let Some(group) = self.groups.get(id) else { return };
            let known = group.claimed.contains_key(offset) || group.again.contains_key(offset);
            let wanted = group.options.permits(message) && topic::matches(&group.filter, &message.topic);
            if *offset <= group.flow.next || known || !wanted {
                continue;
            }
            let dup = *offset <= group.flow.dup_until;
            let given = self.give(id, Some(*offset), message, dup);
            if let Some(group) = self.groups.get_mut(id) {
                group.flow.next = *offset;
                if given != Given::Done {
                    group.again.insert(*offset, Some(message.clone()));
                }
            }
        }
        if let Some(group) = self.groups.get_mut(id) {
            group.flow.next = group.flow.next.max(batch.upto);
            group.flow.live = batch.at_end && group.flow.missed <= group.flow.next;
        }
        self.mark_group_dirty(id);
        self.pump_group(id);
    }

    pub(crate) fn group_read_again(
        &mut self,
        id: GroupId,
        ticket: Ticket,
        offsets: &[Offset],
        result: Result<ReadBatch, LogError>,
    ) {
        if !self.group_reading_ended(id, ticket) {
            return;
        }
        let Ok(batch) = result else { return self.timers.set(self.now + 1_000, Timer::PumpGroup(id)) };
        let Some(group) = self.groups.get_mut(id) else { return };
        for offset in offsets {
            let found = batch.messages.iter().find(|(found, _)| found == offset);
            match (found, group.again.get_mut(offset)) {
                (Some((_, message)), Some(place)) => *place = Some(message.clone()),
                // No longer kept.
                (None, Some(None)) => {
                    group.again.remove(offset);
                }
                _ => {}
            }
        }
        self.mark_group_dirty(id);
        self.pump_group(id);
    }
}
