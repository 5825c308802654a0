//! Members of shared groups that do not acknowledge: they are passed over, and what they hold at QoS 1 goes to others.
//! A late acknowledgement is welcome all the same. Who acknowledges anything, or connects again, is trusted again.

use super::Engine;
use super::group::GroupId;
use super::inflight::{Entry, Source, State};
use super::session::SessionId;
use super::timers::Timer;
use crate::log::Offset;

impl Engine {
    /// The session was given a message of a group: should it keep it too long, that is noticed.
    pub(crate) fn watch_member(&mut self, id: SessionId) {
        let timeout = self.settings.group_ack_timeout_ms;
        if timeout == 0 {
            return;
        }
        let online = self.sessions.get_mut(id).and_then(|session| session.online.as_mut());
        if let Some(online) = online.filter(|online| !online.watched) {
            online.watched = true;
            self.timers.set(self.now.saturating_add(timeout), Timer::Member(id));
        }
    }

    /// Looks at what the session has not acknowledged.
    pub(crate) fn check_member(&mut self, id: SessionId) {
        let (now, timeout) = (self.now, self.settings.group_ack_timeout_ms);
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(online) = session.online.as_mut() else { return };
        online.watched = false;
        let held = |entry: &Entry| match entry.source {
            Source::Group(group, offset) if entry.state != State::Unsent => {
                Some((group, offset, entry.qos, entry.sent_ms.saturating_add(timeout)))
            }
            _ => None,
        };
        let held: Vec<(GroupId, Offset, u8, i64)> = session.outbound.entries.iter().filter_map(held).collect();
        // What another member has meanwhile is watched there.
        let mine = |group: GroupId, offset: Offset| {
            self.groups
                .get(group)
                .is_some_and(|group| group.claimed.get(&offset) == Some(&id) && !group.again.contains_key(&offset))
        };
        let next = held.iter().filter(|(.., due)| *due > now).map(|(.., due)| *due).min();
        let late: Vec<_> =
            held.into_iter().filter(|(group, offset, _, due)| *due <= now && mine(*group, *offset)).collect();
        if let Some(at) = next
            && let Some(online) = self.sessions.get_mut(id).and_then(|session| session.online.as_mut())
        {
            online.watched = true;
            self.timers.set(at, Timer::Member(id));
        }
        if !late.is_empty() {
            self.pass_over_member(id, late);
        }
    }

    fn pass_over_member(&mut self, id: SessionId, late: Vec<(GroupId, Offset, u8, i64)>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let Some(online) = session.online.as_mut().filter(|online| !online.stalled) {
            online.stalled = true;
            self.stats.stalled += 1;
        }
        for (group_id, offset, qos, _) in late {
            let Some(session) = self.sessions.get(id) else { return };
            let kept = |entry: &&Entry| entry.source == Source::Group(group_id, offset);
            let message = session.outbound.entries.iter().find(kept).and_then(|entry| entry.message.clone());
            if let (1, Some(group)) = (qos, self.groups.get_mut(group_id)) {
                group.again.insert(offset, message);
                self.timers.set(self.now, Timer::PumpGroup(group_id));
            }
        }
        self.refresh_groups(id);
    }

    /// The session has acknowledged something.
    pub(crate) fn member_acknowledged(&mut self, id: SessionId) {
        if let Some(online) = self.sessions.get_mut(id).and_then(|session| session.online.as_mut()) {
            online.stalled = false;
        }
    }

    /// Puts the session in its place in each of its groups.
    pub(crate) fn refresh_groups(&mut self, id: SessionId) -> Vec<GroupId> {
        let Some(session) = self.sessions.get(id) else { return Vec::new() };
        let groups: Vec<GroupId> = session.subscriptions.iter().filter_map(|sub| sub.group).collect();
        for group in &groups {
            self.refresh_member(*group, id);
        }
        groups
    }
}
