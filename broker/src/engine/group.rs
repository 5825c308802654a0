//! The groups of shared subscriptions, their members, and who among them is next.
//!
//! The members who are connected stand in an order: who has the fewest unacknowledged messages comes first, and among
//! equals who has waited longest. So the choice costs the logarithm of the number of members. A member's place is
//! put right when its acknowledgements come in, and when it is about to be chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slab::Slab;
use tidings_shared::topic;

use super::Engine;
use super::hash::{Map, Seeded};
use super::session::{Flow, Owner, Session, SessionId};
use super::subscriptions::{Entry, Options, Target};
use crate::log::{Message, Offset};

/// A group's place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupId {
    key: u32,
    serial: u32,
}

/// One subscriber of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) options: Options,
    /// Subscription identifier, 0 for none.
    pub(crate) id: u32,
    /// Its place in the order, while it is connected.
    place: Option<Place>,
    /// Grows with every message that the group gives out: who got one last stands last.
    turn: u64,
}

/// How many unacknowledged messages a member has, and its turn.
type Place = (u16, u64);

/// The subscribers of one `$share/NAME/FILTER`.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) owner: Owner,
    /// `$share/NAME/FILTER`
    pub(crate) name: Arc<str>,
    pub(crate) filter: Arc<str>,
    members: BTreeMap<SessionId, Member>,
    /// The members who are connected, the next one first; those who can take nothing now stand at the end.
    ready: BTreeSet<(Place, SessionId)>,
    turn: u64,
    /// What any of the members may get.
    pub(crate) options: Options,
    pub(crate) flow: Flow,
    /// Messages that a member has and has not acknowledged.
    pub(crate) claimed: BTreeMap<Offset, SessionId>,
    /// Messages that are to be given out before anything else: read when no member had room, or left by a member.
    pub(crate) again: BTreeMap<Offset, Option<Arc<Message>>>,
    pub(crate) dirty: bool,
    pub(crate) recorded: bool,
}

impl Group {
    pub(crate) fn member(&self, session: SessionId) -> Option<&Member> {
        self.members.get(&session)
    }

    /// Sets what a member's place is to be; `None`: it is not connected.
    pub(crate) fn place(&mut self, session: SessionId, load: Option<u16>) {
        let Some(member) = self.members.get_mut(&session) else { return };
        let place = load.map(|load| (load, member.turn));
        if member.place == place {
            return;
        }
        if let Some(old) = std::mem::replace(&mut member.place, place) {
            self.ready.remove(&(old, session));
        }
        if let Some(new) = place {
            self.ready.insert((new, session));
        }
    }

    /// The next member after `last` in the order.
    pub(crate) fn next_after(&self, last: Option<(Place, SessionId)>) -> Option<(Place, SessionId)> {
        match last {
            None => self.ready.first().copied(),
            Some(last) => {
                self.ready.range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded)).next().copied()
            }
        }
    }

    /// The member has got a message.
    pub(crate) fn served(&mut self, session: SessionId, load: u16) {
        self.turn += 1;
        if let Some(member) = self.members.get_mut(&session) {
            member.turn = self.turn;
        }
        self.place(session, Some(load));
    }

    /// Whether a member can take a message.
    pub(crate) fn any_ready(&self) -> bool {
        self.ready.first().is_some_and(|((load, _), _)| *load < FULL)
    }
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

/// The load of a member that is connected and can take nothing but QoS 0: its window is full, or it lets messages grow
/// old.
pub(crate) const FULL: u16 = u16::MAX;

/// How many unacknowledged messages a session has; `None` when it is not connected.
pub(crate) fn load(session: &Session, max_bytes: usize) -> Option<u16> {
    let online = session.online.as_ref()?;
    let outbound = &session.outbound;
    let able = !online.stalled && !outbound.has_unsent() && outbound.free(online.window, max_bytes) > 0;
    Some(if able { outbound.used() } else { FULL })
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
            self.groups.insert(Group {
                owner: owner.clone(),
                name: name.clone(),
                filter,
                members: BTreeMap::new(),
                ready: BTreeSet::new(),
                turn: 0,
                options,
                flow: Flow::at(self.head),
                claimed: BTreeMap::new(),
                again: BTreeMap::new(),
                dirty: false,
                recorded: false,
            })
        });
        if let Some(group) = self.groups.get_mut(group_id) {
            group.options = group.options.union(options);
            let entry = Entry { target: Target::Group(group_id), options: group.options, id: 0 };
            self.index.insert(&group.filter, entry);
            let old = group.members.get(&session).copied();
            let (place, turn) = old.map_or((None, group.turn), |old| (old.place, old.turn));
            group.members.insert(session, Member { options, id, place, turn });
        }
        self.refresh_member(group_id, session);
        group_id
    }

    /// A session unsubscribes or ends; the last one takes the group with it.
    pub(crate) fn leave_group(&mut self, session: SessionId, group_id: GroupId) {
        let Some(group) = self.groups.get_mut(group_id) else { return };
        group.place(session, None);
        group.members.remove(&session);
        if group.members.is_empty()
            && let Some(group) = self.groups.remove(group_id)
        {
            self.index.remove(&group.filter, Target::Group(group_id));
            self.forget_group(&group);
        }
    }

    /// Puts a member in the place that it has now.
    pub(crate) fn refresh_member(&mut self, group: GroupId, session: SessionId) {
        let load = self.sessions.get(session).and_then(|session| load(session, self.settings.max_inflight_bytes));
        if let Some(group) = self.groups.get_mut(group) {
            group.place(session, load);
        }
    }
}
