//! Recovery by cursor: a client that connects without a session, and says up to where it has read, gets what it missed
//! for every subscription that it makes on that connection.
//!
//! Such a subscription begins at the cursor instead of now. The first one sets the session back to the cursor; from
//! there on it is a session like any other that catches up from the log. A later one sets it back again, and what the
//! earlier ones have given to the client meanwhile is noted, so that it comes once, however the filters overlap.

use std::sync::Arc;

use rmqtt_codec::v5::{Connect, UserProperty};
use serde::{Deserialize, Serialize};
use tidings_shared::cursor::Cursor;
use tidings_shared::{properties, topic};

use super::Engine;
use super::catch_up::Reader;
use super::deliver::is_local;
use super::io::{ConnId, ConnectRequest, Protocol, ReadBatch, ReadPlan};
use super::session::{Flow, Session, SessionId};
use super::subscriptions::Options;
use crate::log::{Key, LogError, Message, Offset};

/// A subscription has given everything up to a place to the client.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Had {
    filter: Arc<str>,
    options: Options,
    since: Offset,
    upto: Offset,
}

/// What a session in recovery has to know.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Recovery {
    /// Where new subscriptions of this connection begin; nowhere on a later one.
    #[serde(skip)]
    pub(crate) from: Option<Offset>,
    /// Filters that were unsubscribed: subscribed again, they begin now.
    #[serde(skip)]
    left: Vec<Arc<str>>,
    had: Vec<Had>,
}

impl Recovery {
    pub(crate) fn at(from: Offset) -> Self {
        Self { from: Some(from), ..Self::default() }
    }

    pub(crate) fn has_to_be_stored(&self) -> bool {
        !self.had.is_empty()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.from.is_none() && self.had.is_empty()
    }

    /// Whether the client has got this message already, through an older subscription.
    pub(crate) fn has_had(&self, session: &Session, message: &Message, offset: Offset) -> bool {
        self.had.iter().any(|had| {
            (had.since < offset && offset <= had.upto)
                && had.options.permits(message)
                && topic::matches(&had.filter, &message.topic)
                && !(had.options.no_local() && is_local(session, message))
        })
    }

    /// What the session has read up to the end of the log, every subscription has given.
    pub(crate) fn caught_up(&mut self) {
        self.had = Vec::new();
    }

    pub(crate) fn disconnected(&mut self) {
        (self.from, self.left) = (None, Vec::new());
    }
}

/// What the log has for a client that brings a cursor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// From here on it has everything.
    floor: Offset,
    /// Its end.
    head: Offset,
}

/// What CONNACK says about where the client stands.
pub(crate) struct Standing {
    /// Whether nothing is missing between the client's cursor and what comes; `None` when it did not ask.
    pub(crate) recovered: Option<bool>,
    /// Where subscriptions of a new session begin.
    pub(crate) from: Option<Offset>,
}

/// The cursor of a CONNECT.
///
/// # Errors
/// Why it cannot be used, for the client.
pub(crate) fn cursor_of(connect: &Connect, protocol: Protocol) -> Result<Option<Cursor>, String> {
    let named = |(name, _): &&UserProperty| &**name == properties::CURSOR;
    let mut found = connect.user_properties.iter().filter(named).map(|(_, value)| value);
    match (protocol, found.next(), found.next()) {
        (Protocol::V3, ..) | (_, None, _) => Ok(None),
        (_, Some(value), None) => value.parse().map(Some).map_err(|error| format!("user property cursor: {error}")),
        (_, Some(_), Some(_)) => Err("user property cursor: there are several; send one".to_owned()),
    }
}

impl Engine {
    /// Asks how far back the log is whole, before a client that brings a cursor is answered.
    pub(crate) fn ask_floor(&mut self, conn: ConnId, request: ConnectRequest) {
        // A handler's subscriptions are not known yet: where they reach further than the log, the first message says so.
        let keys = request.principal.user().map(|user| Key::User(user.clone())).into_iter().collect();
        self.arriving.insert(conn, Box::new(request));
        self.read(Reader::Floor(conn), ReadPlan::Keys(keys), Offset::START, 0);
    }

    /// How far back the log is whole (or that is not known): now the client is answered.
    pub(crate) fn floor_known(&mut self, conn: ConnId, result: Result<ReadBatch, LogError>) {
        // It may have gone meanwhile.
        if let Some(request) = self.arriving.remove(&conn) {
            let kept = result.ok().map(|batch| Kept { floor: batch.floor, head: batch.upto });
            self.connect(conn, *request, kept);
        }
    }

    /// What to tell a client, and where to begin. `resumed`: its session goes on, and with it the session's own cursor.
    pub(crate) fn standing(&self, cursor: Option<Cursor>, kept: Option<Kept>, resumed: Option<&Session>) -> Standing {
        let Some(cursor) = cursor else { return Standing { recovered: None, from: None } };
        // Should the log not have answered, nothing is promised, and everything that it has is sent.
        let Kept { floor, head } = kept.unwrap_or(Kept { floor: Offset::START, head: Offset::START });
        if let Some(session) = resumed {
            let whole = kept.is_some() && session.flow.position(self.head) >= floor;
            return Standing { recovered: Some(whole), from: None };
        }
        let offset = Offset(cursor.offset);
        let known = cursor.epoch == self.epoch && offset <= head;
        // What lies below the floor is missing; that is said here and now.
        let from = if known { offset.max(floor) } else { floor };
        Standing { recovered: Some(known && offset >= floor), from: Some(from) }
    }

    /// A new subscription of a session in recovery begins at the cursor; returns where.
    pub(crate) fn begin_at_cursor(&mut self, id: SessionId, filter: &str) -> Option<Offset> {
        let head = self.head;
        let session = self.sessions.get_mut(id)?;
        let recovery = session.recovery.as_deref_mut()?;
        let from = recovery.from?;
        if recovery.left.iter().any(|left| **left == *filter) {
            return None;
        }
        let position = session.flow.position(head);
        if from < position {
            let others = session.subscriptions.iter().filter(|other| other.group.is_none() && *other.filter != *filter);
            recovery.had.extend(others.map(|other| Had {
                filter: other.filter.clone(),
                options: other.options,
                since: other.since,
                upto: position,
            }));
            session.flow = Flow { next: from, live: false, missed: session.flow.missed.max(head), ..session.flow };
        }
        // A read that is under way knows nothing of this subscription.
        session.flow.reading = None;
        Some(from)
    }

    /// A subscription of a session in recovery is given up.
    pub(crate) fn left_in_recovery(&mut self, id: SessionId, filter: &Arc<str>) {
        let most = self.settings.max_subscriptions;
        let recovery = self.sessions.get_mut(id).and_then(|session| session.recovery.as_deref_mut());
        if let Some(recovery) = recovery.filter(|recovery| recovery.from.is_some()) {
            recovery.left.push(filter.clone());
            if recovery.left.len() > most {
                recovery.disconnected();
            }
        }
    }
}
