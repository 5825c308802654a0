//! Shared subscriptions: each message goes to one member of the group (MQTT 5, section 4.8.2).
//!
//! A group is one reader of the log with a set of messages that members have claimed. A member that is not connected
//! or whose window is full is passed over; what a leaving member has not acknowledged goes to another one (QoS 1).
//! With QoS 2 the specification forbids that: the exchange is completed with the same client, or not at all.
//!
//! Handlers form groups among themselves, and the devices of a user among themselves: nobody can join a foreign group
//! by its name and draw messages off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slab::Slab;
use tidings_shared::topic;

use super::Engine;
use super::catch_up::{Reader, group_plan};
use super::deliver::{Hit, Offered};
use super::hash::{Map, Seeded};
use super::inflight::Source;
use super::io::{ReadBatch, ReadPlan, Ticket};
use super::session::{Flow, Owner, SessionId};
use super::subscriptions::{Entry, Options, Target};
use super::timers::Timer;
use crate::log::{LogError, Message, Offset};

/// A group's place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupId {
    key: u32,
    serial: u32,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    session: SessionId,
    options: Options,
    id: u32,
}

/// The subscribers of one `$share/NAME/FILTER`.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) owner: Owner,
    /// `$share/NAME/FILTER`
    pub(crate) name: Arc<str>,
    filter: Arc<str>,
    members: Vec<Member>,
    /// Whose turn it is.
    turn: usize,
    pub(crate) flow: Flow,
    /// Messages that a member has and has not acknowledged.
    pub(crate) claimed: BTreeMap<Offset, SessionId>,
    /// Messages that were a member's and are to be given to another.
    pub(crate) again: BTreeMap<Offset, Option<Arc<Message>>>,
    pub(crate) dirty: bool,
    pub(crate) recorded: bool,
}

/// All groups.
#[derive(Debug)]
pub(crate) struct Groups {
    slots: Slab<(u32, Group)>,
    names: Map<(Owner, Arc<str>), GroupId>,
    serial: u32,
}

impl Groups {
    pub(crate) fn new(seed: Seeded) -> Self {
        Self { slots: Slab::new(), names: Map::with_hasher(seed), serial: 0 }
    }

    pub(crate) fn find(&self, owner: &Owner, name: &Arc<str>) -> Option<GroupId> {
        self.names.get(&(owner.clone(), name.clone())).copied()
    }

    pub(crate) fn get(&self, id: GroupId) -> Option<&Group> {
        self.slots.get(id.key as usize).filter(|(serial, _)| *serial == id.serial).map(|(_, group)| group)
    }

    pub(crate) fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.slots.get_mut(id.key as usize).filter(|(serial, _)| *serial == id.serial).map(|(_, group)| group)
    }

    fn insert(&mut self, group: Group) -> GroupId {
        self.serial = self.serial.wrapping_add(1);
        let name = (group.owner.clone(), group.name.clone());
        let key = self.slots.insert((self.serial, group));
        let id = GroupId { key: u32::try_from(key).unwrap_or(u32::MAX), serial: self.serial };
        self.names.insert(name, id);
        id
    }

    fn remove(&mut self, id: GroupId) -> Option<Group> {
        self.get(id)?;
        let (_, group) = self.slots.remove(id.key as usize);
        self.names.remove(&(group.owner.clone(), group.name.clone()));
        Some(group)
    }

    pub(crate) fn ids(&self) -> Vec<GroupId> {
        let id = |(key, (serial, _)): (usize, &(u32, Group))| GroupId {
            key: u32::try_from(key).unwrap_or(u32::MAX),
            serial: *serial,
        };
        self.slots.iter().map(id).collect()
    }
}

impl Engine {
    /// A session subscribes to `$share/NAME/FILTER`, or changes its options.
    pub(crate) fn join_group(
        &mut self,
        session: SessionId,
        owner: &Owner,
        name: &Arc<str>,
        options: Options,
        id: u32,
    ) -> GroupId {
        let group_id = self.groups.find(owner, name).unwrap_or_else(|| {
            let filter: Arc<str> = topic::split_shared(name).map_or(&**name, |shared| shared.filter).into();
            let group_id = self.groups.insert(Group {
                owner: owner.clone(),
                name: name.clone(),
                filter: filter.clone(),
                members: Vec::new(),
                turn: 0,
                flow: Flow::at(self.head),
                claimed: BTreeMap::new(),
                again: BTreeMap::new(),
                dirty: false,
                recorded: false,
            });
            self.index.insert(&filter, Entry { target: Target::Group(group_id), options, id: 0 });
            group_id
        });
        if let Some(group) = self.groups.get_mut(group_id) {
            let member = Member { session, options, id };
            match group.members.iter_mut().find(|other| other.session == session) {
                Some(old) => *old = member,
                None => group.members.push(member),
            }
        }
        group_id
    }

    /// A session unsubscribes or ends; the last one takes the group with it.
    pub(crate) fn leave_group(&mut self, session: SessionId, group_id: GroupId) {
        let Some(group) = self.groups.get_mut(group_id) else { return };
        group.members.retain(|member| member.session != session);
        if group.members.is_empty()
            && let Some(group) = self.groups.remove(group_id)
        {
            self.index.remove(&group.filter, Target::Group(group_id));
            self.forget_group(&group);
        }
    }

    pub(crate) fn deliver_to_group(&mut self, id: GroupId, offset: Option<Offset>, message: &Arc<Message>) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(offset) = offset else {
            self.offer_member(id, None, message, false);
            return;
        };
        if !group.flow.live {
            group.flow.missed = group.flow.missed.max(offset);
            return;
        }
        if offset <= group.flow.next {
            return;
        }
        let taken = self.offer_member(id, Some(offset), message, false);
        if let Some(group) = self.groups.get_mut(id) {
            if taken {
                group.flow.next = offset;
            } else {
                group.flow.pass_over(offset);
                self.mark_group_dirty(id);
            }
        }
    }

    /// Gives a message to the next member that can take it. `false`: none can now.
    fn offer_member(&mut self, id: GroupId, offset: Option<Offset>, message: &Arc<Message>, dup: bool) -> bool {
        let Some(group) = self.groups.get(id) else { return true };
        let (count, turn) = (group.members.len(), group.turn);
        let mut too_large = false;
        for step in 0..count {
            let place = (turn + step) % count;
            let Some(group) = self.groups.get(id) else { return true };
            let member = group.members[place];
            let hit = Hit::add(None, member.options, member.id);
            let stored = hit.qos_of(message) > 0;
            let source = offset.map(|offset| Source::Group(id, offset));
            match self.offer(member.session, hit, source, message, dup) {
                Offered::Sent => {
                    if let Some(group) = self.groups.get_mut(id) {
                        group.turn = place + 1;
                        if let (true, Some(offset)) = (stored, offset) {
                            group.claimed.insert(offset, member.session);
                        }
                    }
                    self.mark_group_dirty(id);
                    return true;
                }
                Offered::Expired => return true,
                Offered::TooLarge => too_large = true,
                Offered::Full => {}
            }
        }
        // When those who could take it do not take packets of its size, it is left out.
        too_large
    }

    /// A member has acknowledged a message.
    pub(crate) fn group_done(&mut self, id: GroupId, offset: Offset) {
        if let Some(group) = self.groups.get_mut(id) {
            group.claimed.remove(&offset);
            self.mark_group_dirty(id);
        }
    }

    /// A member's connection is gone: what it did not acknowledge goes to others. `ended`: its session is over too.
    pub(crate) fn release_claims(&mut self, session_id: SessionId, ended: bool) {
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        if session.subscriptions.iter().all(|subscription| subscription.group.is_none())
            && session.outbound.entries.iter().all(|entry| !matches!(entry.source, Source::Group(..)))
        {
            return;
        }
        let mut groups = BTreeSet::new();
        while let Some(entry) =
            session.outbound.take(|entry| matches!(entry.source, Source::Group(..)) && (ended || entry.qos == 1))
        {
            let Source::Group(group_id, offset) = entry.source else { continue };
            let Some(group) = self.groups.get_mut(group_id) else { continue };
            group.claimed.remove(&offset);
            if entry.qos == 1 {
                group.again.insert(offset, entry.message);
            }
            groups.insert(group_id);
        }
        for group in groups {
            self.mark_group_dirty(group);
            self.timers.set(self.now, Timer::PumpGroup(group));
        }
    }

    /// Gives out whatever members have room for.
    pub(crate) fn pump_group(&mut self, id: GroupId) {
        let batch = self.settings.read_batch;
        loop {
            let Some(group) = self.groups.get(id) else { return };
            match group.again.first_key_value() {
                None => break,
                Some((offset, Some(message))) => {
                    let (offset, message) = (*offset, message.clone());
                    let dup = offset <= group.flow.dup_until;
                    if !self.offer_member(id, Some(offset), &message, dup) {
                        return;
                    }
                    if let Some(group) = self.groups.get_mut(id) {
                        group.again.remove(&offset);
                    }
                }
                Some((_, None)) => {
                    if group.flow.reading.is_none() && self.group_room(id) > 0 {
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
        let room = self.group_room(id);
        // While acknowledgements are still to come, wait until a read is worth its while.
        if room == 0 || (room < batch / 4 && !group.claimed.is_empty()) {
            return;
        }
        let plan = group_plan(&group.filter);
        let limit = if plan == ReadPlan::All { batch * 4 } else { room.min(batch) };
        self.read_for_group(id, Reader::Group(id), plan, limit);
    }

    fn read_for_group(&mut self, id: GroupId, reader: Reader, plan: ReadPlan, limit: usize) {
        let Some(group) = self.groups.get(id) else { return };
        let after = group.flow.next;
        let ticket = self.read(reader, plan, after, limit);
        if let Some(group) = self.groups.get_mut(id) {
            group.flow.reading = Some(ticket);
        }
    }

    /// How many messages the members could take now.
    fn group_room(&self, id: GroupId) -> usize {
        let Some(group) = self.groups.get(id) else { return 0 };
        let room = |member: &Member| {
            let session = self.sessions.get(member.session)?;
            let online = session.online.as_ref()?;
            let free = session.outbound.free(online.window, self.settings.max_inflight_bytes);
            Some(if session.outbound.has_unsent() { 0 } else { free })
        };
        group.members.iter().filter_map(room).sum()
    }

    fn group_reading_ended(&mut self, id: GroupId, ticket: Ticket) -> bool {
        let Some(group) = self.groups.get_mut(id) else { return false };
        let waits = group.flow.reading == Some(ticket);
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
            let permitted = group.members.first().is_some_and(|member| member.options.permits(message));
            let known = group.claimed.contains_key(offset) || group.again.contains_key(offset);
            if *offset <= group.flow.next || known || !permitted || !topic::matches(&group.filter, &message.topic) {
                continue;
            }
            let dup = *offset <= group.flow.dup_until;
            if !self.offer_member(id, Some(*offset), message, dup) {
                return;
            }
            if let Some(group) = self.groups.get_mut(id) {
                group.flow.next = *offset;
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
