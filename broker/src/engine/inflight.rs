//! Messages on their way to one client: sent with QoS 1 or 2 and not acknowledged yet (MQTT 5, section 4.3).

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::group::GroupId;
use super::retained::Slot;
use crate::log::{Message, Offset};

/// Where the message of an entry is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In the log, for this session.
    Log(Offset),
    /// In the log, claimed from a shared group.
    Group(GroupId, Offset),
    /// It is a retained message.
    Retained(Slot),
}

impl Source {
    pub(crate) fn offset(&self) -> Option<Offset> {
        match self {
            Self::Log(offset) | Self::Group(_, offset) => Some(*offset),
            Self::Retained(_) => None,
        }
    }
}

/// How far the exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Sent on an earlier connection, to be sent again on this one.
    Unsent,
    /// PUBLISH was sent on this connection.
    Sent,
    /// QoS 2: PUBREC has come, PUBCOMP has not.
    Released,
}

/// One message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) pid: NonZeroU16,
    /// 1 or 2.
    pub(crate) qos: u8,
    pub(crate) state: State,
    /// It is the session's own user's, so its acknowledgement cancels the wake-up.
    pub(crate) own: bool,
    pub(crate) bytes: u32,
    /// When it was sent on this connection.
    pub(crate) sent_ms: i64,
    pub(crate) source: Source,
    /// The content, while the client is connected.
    pub(crate) message: Option<Arc<Message>>,
}

/// All messages on their way to one client, in the order in which they were first sent.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) entries: VecDeque<Entry>,
    pub(crate) next_pid: u16,
    /// Entries that count against the client's receive maximum, and their bytes.
    used: u16,
    bytes: u32,
}

impl Default for Outbound {
    fn default() -> Self {
        Self { entries: VecDeque::new(), next_pid: 1, used: 0, bytes: 0 }
    }
}

impl Outbound {
    pub(crate) fn restored(entries: VecDeque<Entry>, next_pid: u16) -> Self {
        let mut outbound = Self { entries, next_pid, used: 0, bytes: 0 };
        outbound.count();
        outbound
    }

    fn count(&mut self) {
        let counted = || self.entries.iter().filter(|entry| entry.state != State::Unsent);
        self.bytes = counted().map(|entry| entry.bytes).sum();
        self.used = u16::try_from(counted().count()).unwrap_or(u16::MAX);
    }

    /// How many more messages may be sent. While earlier ones wait to be sent again, none.
    pub(crate) fn free(&self, window: u16, max_bytes: usize) -> usize {
        if self.bytes as usize >= max_bytes { 0 } else { usize::from(window.saturating_sub(self.used)) }
    }

    pub(crate) fn used(&self) -> u16 {
        self.used
    }

    pub(crate) fn has_unsent(&self) -> bool {
        usize::from(self.used) < self.entries.len()
    }

    /// A packet id that is not in use. There always is one: the window is smaller than 65,535.
    pub(crate) fn new_pid(&mut self) -> NonZeroU16 {
        loop {
            let pid = NonZeroU16::new(self.next_pid).unwrap_or(NonZeroU16::MIN);
            self.next_pid = pid.get().checked_add(1).unwrap_or(1);
            if !self.entries.iter().any(|entry| entry.pid == pid) {
                return pid;
            }
        }
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.used += 1;
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
    }

    /// Takes out the entry that `done` chooses.
    pub(crate) fn take(&mut self, done: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let place = self.entries.iter().position(done)?;
        let entry = self.entries.remove(place)?;
        if entry.state != State::Unsent {
            self.used = self.used.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
        if self.entries.is_empty() {
            self.entries.shrink_to(4);
        }
        Some(entry)
    }

    /// Changes the state of the entry at `place`.
    pub(crate) fn set_state(&mut self, place: usize, state: State) {
        if let Some(entry) = self.entries.get_mut(place) {
            entry.state = state;
            if state == State::Released {
                entry.message = None;
            }
        }
        self.count();
    }

    /// The connection is gone: everything that was not released has to be sent again, and contents are let go.
    pub(crate) fn disconnected(&mut self) {
        for entry in &mut self.entries {
            entry.message = None;
            if entry.state == State::Sent {
                entry.state = State::Unsent;
            }
        }
        self.entries.shrink_to_fit();
        self.count();
    }
}
