//! A session: what the broker keeps about one client of one user, connected or not. Kept small: a connected, idle
//! session costs some hundreds of bytes.

use std::num::NonZeroU64;
use std::sync::Arc;

use rmqtt_codec::v5::Packet;
use serde::{Deserialize, Serialize};
use tidings_shared::identity::UserId;
use tidings_shared::topic::access::Principal;

use super::group::GroupId;
use super::inbound::Inbound;
use super::inflight::Outbound;
use super::io::{ConnId, Protocol};
use super::recovery::Recovery;
use super::revocations::TokenFacts;
use super::subscriptions::Options;
use super::will::Will;
use crate::log::Offset;

/// A session's place in memory. The serial number makes a place that was used again another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId {
    pub(super) key: u32,
    pub(super) serial: u32,
}

/// Whose sessions: no client id reaches another user's session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Owner {
    User(UserId),
    Handlers,
}

impl Owner {
    pub(crate) fn of(principal: &Principal) -> Self {
        principal.user().map_or(Self::Handlers, |user| Self::User(user.clone()))
    }

    pub(crate) fn user(&self) -> Option<&UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::Handlers => None,
        }
    }
}

/// One subscription of a session.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// As the client named it, `$share/GROUP/` included.
    pub(crate) filter: Arc<str>,
    pub(crate) options: Options,
    /// Subscription identifier, 0 for none.
    pub(crate) id: u32,
    /// Only messages after this place are for it.
    pub(crate) since: Offset,
    pub(crate) group: Option<GroupId>,
    /// The SUBSCRIBE that made it or changed it last.
    pub(crate) by: u32,
}

/// How far a reader of the log has come: a session, or a shared group.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flow {
    /// Everything for this reader up to here was sent (or left out for a reason).
    pub(crate) next: Offset,
    /// Nothing for this reader after `next` was passed over: what comes next may be sent from memory.
    pub(crate) live: bool,
    /// The last message that was passed over.
    pub(crate) missed: Offset,
    /// The ticket of the read of the log that is under way.
    pub(crate) reading: Option<NonZeroU64>,
    /// Retention was faster than the reader: the next message says so.
    pub(crate) hole: bool,
    /// Up to here, messages may have been sent before a crash: they are marked DUP.
    pub(crate) dup_until: Offset,
}

impl Flow {
    pub(crate) fn at(head: Offset) -> Self {
        Self { next: head, live: true, ..Self::default() }
    }

    /// The message at `offset` cannot be sent now: from here on the log is read.
    pub(crate) fn pass_over(&mut self, offset: Offset) {
        if self.live {
            self.live = false;
            self.next = self.next.max(Offset(offset.0.saturating_sub(1)));
        }
        self.missed = self.missed.max(offset);
    }

    /// The place to store: everything up to it is done or in flight.
    pub(crate) fn position(&self, head: Offset) -> Offset {
        if self.live { head.max(self.next) } else { self.next }
    }
}

/// Retained messages that a new subscription still has to get.
#[derive(Clone, Debug)]
pub(crate) struct RetainedScan {
    pub(crate) filter: Arc<str>,
    /// The last one that was sent.
    pub(crate) after: Option<super::retained::Slot>,
}

/// Where a session stands with packets that wait until its state is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storing {
    /// None wait.
    Idle,
    /// The log was asked.
    Asked,
    /// The log could not; it is asked again after a while.
    Failed,
}

/// What exists only while the client is connected.
#[derive(Debug)]
pub(crate) struct Online {
    pub(crate) conn: ConnId,
    pub(crate) protocol: Protocol,
    pub(crate) principal: Principal,
    /// What revocations look at.
    pub(crate) token: Option<Box<TokenFacts>>,
    /// Messages with QoS > 0 that may be unacknowledged at once.
    pub(crate) window: u16,
    /// The largest packet that the client takes.
    pub(crate) max_packet: usize,
    /// The log's head when it connected: QoS 0 from before is not for it.
    pub(crate) since: Offset,
    /// When it connected.
    pub(crate) since_ms: i64,
    /// Session expiry as the CONNECT had it (MQTT 5, 3.14.2.2.2).
    pub(crate) asked_expiry_s: u32,
    pub(crate) aliases: Vec<Option<Arc<str>>>,
    /// QoS 1 publishes that wait for the log.
    pub(crate) appending: u16,
    /// Packets that wait until the session's state is stored (QoS 2), and those behind them.
    pub(crate) deferred: Vec<Packet>,
    /// Whether the state is being stored for packets before those.
    pub(crate) storing: Storing,
    /// It has kept a shared group's message too long and acknowledged nothing since.
    pub(crate) stalled: bool,
    /// A timer looks after what it has of shared groups.
    pub(crate) watched: bool,
}

/// One client of one user (MQTT 5, section 4.1).
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) owner: Owner,
    pub(crate) client: Arc<str>,
    /// 0: the session ends with its connection.
    pub(crate) expiry_s: u32,
    /// When it ends, while it is not connected.
    pub(crate) expires_at: Option<i64>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) flow: Flow,
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Vec<Inbound>,
    pub(crate) retained: Vec<RetainedScan>,
    pub(crate) will: Option<Box<Will>>,
    pub(crate) online: Option<Box<Online>>,
    /// It began at a cursor.
    pub(crate) recovery: Option<Box<Recovery>>,
    /// Its cursor waits to be written.
    pub(crate) dirty: bool,
    /// It has records in the log.
    pub(crate) recorded: bool,
}

impl Session {
    pub(crate) fn new(owner: Owner, client: Arc<str>, expiry_s: u32, head: Offset) -> Self {
        Self {
            owner,
            client,
            expiry_s,
            expires_at: None,
            subscriptions: Vec::new(),
            flow: Flow::at(head),
            outbound: Outbound::default(),
            inbound: Vec::new(),
            retained: Vec::new(),
            will: None,
            online: None,
            recovery: None,
            dirty: false,
            recorded: false,
        }
    }

    /// Whether it outlives its connection.
    pub(crate) fn persistent(&self) -> bool {
        self.expiry_s > 0
    }

    /// When it was connected last, as far as its expiry tells; for one that is not connected.
    pub(crate) fn last_seen_ms(&self) -> Option<i64> {
        Some(self.expires_at?.saturating_sub(i64::from(self.expiry_s) * 1000))
    }

    pub(crate) fn conn(&self) -> Option<ConnId> {
        self.online.as_ref().map(|online| online.conn)
    }

    pub(crate) fn subscription(&self, filter: &str) -> Option<&Subscription> {
        self.subscriptions.iter().find(|subscription| &*subscription.filter == filter)
    }
}
