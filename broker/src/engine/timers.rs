//! What happens by itself, in the engine's own time.

use std::collections::BTreeSet;

use super::Engine;
use super::group::GroupId;
use super::session::{SessionId, Storing};

/// Something that is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A session that is not connected ends.
    SessionEnd(SessionId),
    /// The delay of a will is over.
    Will(SessionId),
    /// Go on with what a session still has to get.
    Pump(SessionId),
    /// Try again to store what a session's packets wait for.
    Store(SessionId),
    /// Go on with what a shared group still has to get.
    PumpGroup(GroupId),
    /// Look whether a member of shared groups keeps messages too long.
    Member(SessionId),
    /// Try again to publish wake-up events that could not be stored.
    Events,
    /// Forget revocations that are over.
    Revocations,
}

/// All timers.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeSet<(i64, Timer)>);

impl Timers {
    pub(crate) fn set(&mut self, at: i64, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub(crate) fn cancel(&mut self, at: i64, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    pub(crate) fn next(&self) -> Option<i64> {
        self.0.first().map(|(at, _)| *at)
    }

    fn take_due(&mut self, now: i64) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }
}

impl Engine {
    /// When [`Input::Tick`](super::Input::Tick) is due, if ever.
    #[must_use]
    pub fn next_deadline(&self) -> Option<i64> {
        [self.timers.next(), self.wake.next_deadline(), self.flush_at].into_iter().flatten().min()
    }

    pub(crate) fn run_timers(&mut self) {
        // A timer may set another one for the same moment (a long list in portions): that one waits for the next call.
        let mut due = Vec::new();
        while let Some(timer) = self.timers.take_due(self.now) {
            due.push(timer);
        }
        for timer in due {
            match timer {
                Timer::SessionEnd(id) => {
                    let now = self.now;
                    let ended = |at: Option<i64>| at.is_some_and(|at| at <= now);
                    if self.sessions.get(id).is_some_and(|s| s.online.is_none() && ended(s.expires_at)) {
                        self.end_session(id);
                    }
                }
                Timer::Will(id) => self.publish_will(id),
                Timer::Pump(id) => self.pump(id),
                Timer::Store(id) => self.go_on_storing(id, Storing::Failed),
                Timer::PumpGroup(id) => self.pump_group(id),
                Timer::Member(id) => self.check_member(id),
                Timer::Events => self.retry_events(),
                Timer::Revocations => self.drop_old_revocations(),
            }
        }
        self.run_wake();
        if self.flush_at.is_some_and(|at| at <= self.now) {
            self.flush(None);
        }
    }
}
