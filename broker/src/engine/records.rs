//! What the engine keeps beside the messages: sessions, cursors, groups. Subscriptions and the steps of QoS 2 are
//! stored before they are acknowledged; how far somebody has read is written now and then, and at a stop.

use std::sync::Arc;

use bytes::Bytes;
use rmqtt_codec::v5::{Packet, QoS, UnsubscribeAck};
use serde::Serialize;

use super::group::{Group, GroupId};
use super::io::{ConnId, Ticket};
use super::session::{Owner, Session, SessionId, Storing};
use super::stored::{CursorRecord, GroupRecord, SessionRecord, SubscriptionRecord};
use super::subscribe::Subscribed;
use super::timers::Timer;
use super::{Engine, Output};
use crate::log::{LogError, Message, Offset, RecordKey, RecordKind};

/// What waits until records are stored.
#[derive(Debug)]
pub(crate) enum AfterPut {
    Subscribe(Box<Subscribed>),
    Unsubscribe {
        conn: ConnId,
        ack: UnsubscribeAck,
    },
    /// A message with QoS 2 came in: its packet id is being stored.
    Receive {
        session: SessionId,
        pid: u16,
        message: Arc<Message>,
    },
    /// Packets of QoS 2 go out: the state that they stand for is being stored.
    Send {
        conn: ConnId,
        packets: Vec<Packet>,
    },
    /// Who asked for a revocation waits.
    Revocation {
        request: u64,
        closed: usize,
    },
    /// Cursors that had moved; should they not be stored, they are written again.
    Flush {
        sessions: Vec<SessionId>,
        groups: Vec<GroupId>,
    },
    Stop,
}

/// How long until a write that failed is tried again.
const RETRY_MS: i64 = 1_000;

/// Should the broker forget what these say, a message would come twice or be lost (see `inbound`).
fn must_be_stored(packet: &Packet) -> bool {
    match packet {
        Packet::Publish(publish) => publish.qos == QoS::ExactlyOnce,
        Packet::PublishRelease(_) | Packet::PublishComplete(_) => true,
        _ => false,
    }
}

fn session_name(owner: &Owner, client: &str) -> Bytes {
    postcard::to_stdvec(&(owner, client)).map(Bytes::from).unwrap_or_default()
}

pub(crate) fn encode(record: &impl Serialize) -> Option<Bytes> {
    postcard::to_stdvec(record).ok().map(Bytes::from)
}

/// Messages up to here have had their effects (wake-up, retained): a restart looks at what comes after.
pub(crate) const HORIZON: &str = "horizon";
/// Written at the end of a stop: everything else that was written is the last word. Removed at the next start.
pub(crate) const CLEAN_STOP: &str = "clean-stop";

type Record = (RecordKey, Option<Bytes>);

impl Engine {
    fn session_record(&self, session: &Session) -> Record {
        let subscription = |subscription: &super::session::Subscription| SubscriptionRecord {
            filter: subscription.filter.to_string(),
            options: subscription.options,
            id: subscription.id,
            since: subscription.since,
        };
        let record = SessionRecord {
            owner: session.owner.clone(),
            client: session.client.to_string(),
            expiry_s: session.expiry_s,
            subscriptions: session.subscriptions.iter().map(subscription).collect(),
            will: session.will.as_deref().filter(|will| !will.withheld).cloned(),
        };
        (RecordKey::new(RecordKind::Session, session_name(&session.owner, &session.client)), encode(&record))
    }

    fn cursor_record(&self, session: &Session) -> Record {
        let value = CursorRecord::of(session, self.head, &self.groups).encode(session.recovery.as_deref());
        (RecordKey::new(RecordKind::Cursor, session_name(&session.owner, &session.client)), value)
    }

    fn group_record(group: &Group, head: Offset) -> Record {
        let mut open: Vec<Offset> = group.claimed.keys().chain(group.again.keys()).copied().collect();
        open.sort_unstable();
        let next = group.flow.position(head);
        let record = GroupRecord { owner: group.owner.clone(), name: group.name.to_string(), next, open };
        (RecordKey::new(RecordKind::Group, session_name(&group.owner, &group.name)), encode(&record))
    }

    /// Writes records and does `after` when they are durable.
    pub(crate) fn put(&mut self, records: Vec<Record>, after: AfterPut) {
        let ticket = self.new_ticket();
        self.puts.insert(ticket, after);
        self.out.push(Output::Put { ticket: Some(ticket), records, durable: true });
    }

    /// Writes what changes rarely about a session; nobody waits for it.
    pub(crate) fn record_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.recorded = true;
        let Some(session) = self.sessions.get(id) else { return };
        let records = vec![self.session_record(session)];
        self.out.push(Output::Put { ticket: None, records, durable: false });
    }

    /// The same for a session that has a record.
    pub(crate) fn update_record(&mut self, id: SessionId) {
        if self.sessions.get(id).is_some_and(|session| session.recorded && session.persistent()) {
            self.record_session(id);
        }
    }

    pub(crate) fn forget_session_record(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.recorded = false;
        let name = session_name(&session.owner, &session.client);
        let records = [RecordKind::Session, RecordKind::Cursor].map(|kind| (RecordKey::new(kind, name.clone()), None));
        self.out.push(Output::Put { ticket: None, records: records.to_vec(), durable: false });
    }

    pub(crate) fn forget_group(&mut self, group: &Group) {
        if group.recorded {
            let key = RecordKey::new(RecordKind::Group, session_name(&group.owner, &group.name));
            self.out.push(Output::Put { ticket: None, records: vec![(key, None)], durable: false });
        }
    }

    /// Writes the whole session, then does `after`.
    pub(crate) fn store_session(&mut self, id: SessionId, after: AfterPut) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.recorded = true;
        let Some(session) = self.sessions.get(id) else { return };
        let records = vec![self.session_record(session), self.cursor_record(session)];
        self.put(records, after);
    }

    /// Writes the session's cursor, then does `after`.
    pub(crate) fn store_cursor(&mut self, id: SessionId, after: AfterPut) {
        let Some(session) = self.sessions.get(id) else { return };
        let records = vec![self.cursor_record(session)];
        self.put(records, after);
    }

    /// Sends a packet to a session's client: at once, or (QoS 2) when the state that it stands for is stored, or
    /// behind such a one.
    pub(crate) fn send_in_order(&mut self, id: SessionId, packet: Packet) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let persistent = session.persistent();
        let Some(online) = &mut session.online else { return };
        if (persistent && must_be_stored(&packet)) || online.storing != Storing::Idle || !online.deferred.is_empty() {
            online.deferred.push(packet);
            self.deferred.push(id);
        } else {
            self.out.push(Output::Send { conn: online.conn, packet });
        }
    }

    /// Packets of QoS 2 were given to sessions in this step: the state is stored, then they are sent, and what came
    /// behind them after them. One write for a session at a time, so a stream of packets shares them.
    pub(crate) fn store_deferred(&mut self) {
        for id in std::mem::take(&mut self.deferred) {
            let Some(session) = self.sessions.get_mut(id) else { continue };
            let Some(online) = session.online.as_mut().filter(|online| online.storing == Storing::Idle) else {
                continue;
            };
            let packets = std::mem::take(&mut online.deferred);
            let conn = online.conn;
            if packets.iter().any(must_be_stored) {
                online.storing = Storing::Asked;
                self.store_cursor(id, AfterPut::Send { conn, packets });
            } else {
                self.send_all(conn, packets);
            }
        }
    }

    /// The state of packets is stored, or not: then they wait for another attempt.
    fn deferred_stored(&mut self, conn: ConnId, mut packets: Vec<Packet>, stored: bool) {
        // A connection that is gone gets what matters when it is back: it is in flight.
        let Some(&id) = self.conns.get(&conn) else { return };
        if stored {
            self.send_all(conn, packets);
            self.go_on_storing(id, Storing::Asked);
        } else if let Some(online) = self.online(conn) {
            packets.append(&mut online.deferred);
            online.deferred = packets;
            online.storing = Storing::Failed;
            self.timers.set(self.now.saturating_add(RETRY_MS), Timer::Store(id));
        }
    }

    /// What the session waited for in this state is over.
    pub(crate) fn go_on_storing(&mut self, id: SessionId, state: Storing) {
        let online = self.sessions.get_mut(id).and_then(|session| session.online.as_mut());
        if let Some(online) = online.filter(|online| online.storing == state) {
            online.storing = Storing::Idle;
            self.deferred.push(id);
        }
    }

    fn send_all(&mut self, conn: ConnId, packets: Vec<Packet>) {
        for packet in packets {
            self.send(conn, packet);
        }
    }

    /// The log's answer to an [`Output::Put`].
    pub(crate) fn put_done(&mut self, ticket: Ticket, result: &Result<(), LogError>) {
        let stored = result.is_ok();
        match self.puts.remove(&ticket) {
            None | Some(AfterPut::Stop) => {}
            Some(AfterPut::Flush { .. }) if stored => {}
            Some(AfterPut::Flush { sessions, groups }) => {
                sessions.into_iter().for_each(|id| self.mark_dirty(id));
                groups.into_iter().for_each(|id| self.mark_group_dirty(id));
                self.horizon_written = Offset::START;
            }
            Some(AfterPut::Subscribe(subscribed)) => self.subscribed(*subscribed, stored),
            Some(AfterPut::Unsubscribe { conn, ack }) => self.send(conn, Packet::UnsubscribeAck(ack)),
            Some(AfterPut::Receive { session, pid, message }) => self.receive_stored(session, pid, message, stored),
            Some(AfterPut::Send { conn, packets }) => self.deferred_stored(conn, packets, stored),
            Some(AfterPut::Revocation { request, closed }) => self.revocation_stored(request, closed, result),
        }
    }

    pub(crate) fn mark_dirty(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if session.recorded && !session.dirty {
            session.dirty = true;
            self.dirty.push(id);
            self.flush_soon();
        }
    }

    /// A group is written when one of its members outlives its connection.
    pub(crate) fn mark_group_dirty(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(id) else { return };
        if !group.dirty {
            group.dirty = true;
            self.dirty_groups.push(id);
            self.flush_soon();
        }
    }

    pub(crate) fn flush_soon(&mut self) {
        let at = self.now.saturating_add(self.settings.flush_ms);
        self.flush_at.get_or_insert(at);
    }

    /// Writes every cursor that has moved.
    pub(crate) fn flush(&mut self, after: Option<AfterPut>) {
        self.flush_at = None;
        let mut records = Vec::new();
        let (sessions, groups) = (std::mem::take(&mut self.dirty), std::mem::take(&mut self.dirty_groups));
        for id in &sessions {
            let Some(session) = self.sessions.get_mut(*id) else { continue };
            session.dirty = false;
            if let Some(session) = self.sessions.get(*id).filter(|session| session.recorded) {
                records.push(self.cursor_record(session));
            }
        }
        for id in &groups {
            let Some(group) = self.groups.get_mut(*id) else { continue };
            group.dirty = false;
            group.recorded = true;
            records.push(Self::group_record(group, self.head));
        }
        records.append(&mut self.seen_records());
        let horizon = self.wake.horizon(self.head);
        if horizon != self.horizon_written {
            self.horizon_written = horizon;
            records.push((RecordKey::new(RecordKind::Internal, HORIZON.as_bytes()), encode(&horizon)));
            records.append(&mut self.fetched_before(horizon));
        }
        if self.wake.next_deadline().is_some() {
            self.flush_soon();
        }
        match after {
            Some(after) => {
                let key = RecordKey::new(RecordKind::Internal, CLEAN_STOP.as_bytes());
                records.push((key, Some(Bytes::from_static(b"1"))));
                self.put(records, after);
            }
            None if records.is_empty() => {}
            None => {
                let ticket = self.new_ticket();
                self.puts.insert(ticket, AfterPut::Flush { sessions, groups });
                self.out.push(Output::Put { ticket: Some(ticket), records, durable: false });
            }
        }
    }
}
