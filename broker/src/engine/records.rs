//! What the engine keeps beside the messages: sessions, cursors, groups. Subscriptions and the steps of QoS 2 are
//! stored before they are acknowledged; how far somebody has read is written now and then, and at a stop.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use rmqtt_codec::v5::{Packet, PublishAck2Reason, UnsubscribeAck};
use serde::{Deserialize, Serialize};
use tidings_shared::message_id::MessageId;

use super::inbound::{Inbound, Step};
use super::inflight::{Entry, Source, State};
use super::io::{ConnId, Ticket};
use super::retained::Slot;
use super::session::{Owner, RetainedScan, Session, SessionId};
use super::shared_group::{Group, GroupId, Groups};
use super::subscribe::Subscribed;
use super::subscriptions::Options;
use super::will::Will;
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
    /// It was released: that its packet id is free is being stored.
    Release {
        session: SessionId,
        conn: ConnId,
        pid: u16,
    },
    /// A client has a message with QoS 2: that is being stored.
    Pubrel {
        session: SessionId,
        conn: ConnId,
        pid: NonZeroU16,
    },
    /// Messages with QoS 2 go out: their packet ids are being stored.
    Send {
        conn: ConnId,
        packets: Vec<Packet>,
    },
    Stop,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct SubscriptionRecord {
    pub(crate) filter: String,
    pub(crate) options: Options,
    pub(crate) id: u32,
    pub(crate) since: Offset,
}

/// What changes rarely about a session.
#[derive(Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) owner: Owner,
    pub(crate) client: String,
    pub(crate) expiry_s: u32,
    pub(crate) subscriptions: Vec<SubscriptionRecord>,
    pub(crate) will: Option<Will>,
}

#[derive(Serialize, Deserialize)]
enum SourceRecord {
    Log(Offset),
    Group(String, Offset),
    Retained(Slot),
}

#[derive(Serialize, Deserialize)]
struct EntryRecord {
    pid: NonZeroU16,
    qos: u8,
    released: bool,
    own: bool,
    bytes: u32,
    source: SourceRecord,
}

/// How far a session has come.
#[derive(Serialize, Deserialize)]
pub(crate) struct CursorRecord {
    pub(crate) next: Offset,
    /// It was connected when this was written: it may have got more.
    pub(crate) connected: bool,
    pub(crate) expires_at: Option<i64>,
    pub(crate) next_pid: u16,
    outbound: Vec<EntryRecord>,
    inbound: Vec<(u16, MessageId)>,
    pub(crate) retained: Vec<(String, Option<Slot>)>,
}

/// How far a shared group has come.
#[derive(Serialize, Deserialize)]
pub(crate) struct GroupRecord {
    pub(crate) owner: Owner,
    pub(crate) name: String,
    pub(crate) next: Offset,
    /// Messages up to `next` that nobody has acknowledged.
    pub(crate) open: Vec<Offset>,
}

impl CursorRecord {
    fn of(session: &Session, head: Offset, groups: &Groups) -> Self {
        let source = |source: &Source| match source {
            Source::Log(offset) => Some(SourceRecord::Log(*offset)),
            Source::Group(id, offset) => Some(SourceRecord::Group(groups.get(*id)?.name.to_string(), *offset)),
            Source::Retained(slot) => Some(SourceRecord::Retained(slot.clone())),
        };
        let entry = |entry: &Entry| {
            Some(EntryRecord {
                pid: entry.pid,
                qos: entry.qos,
                released: entry.state == State::Released,
                own: entry.own,
                bytes: entry.bytes,
                source: source(&entry.source)?,
            })
        };
        let kept = session.inbound.iter().filter(|inbound| inbound.step != Step::Releasing);
        Self {
            next: session.flow.position(head),
            connected: session.online.is_some(),
            expires_at: session.expires_at,
            next_pid: session.outbound.next_pid,
            outbound: session.outbound.entries.iter().filter_map(entry).collect(),
            inbound: kept.map(|inbound| (inbound.pid, inbound.message_id.clone())).collect(),
            retained: session.retained.iter().map(|scan| (scan.filter.to_string(), scan.after.clone())).collect(),
        }
    }

    /// The messages that were on their way to the client. What was claimed from a group with QoS 1 is the group's again.
    pub(crate) fn outbound(&self, owner: &Owner, groups: &Groups) -> VecDeque<Entry> {
        let entry = |record: &EntryRecord| {
            let source = match &record.source {
                SourceRecord::Log(offset) => Source::Log(*offset),
                SourceRecord::Group(_, _) if record.qos == 1 => return None,
                SourceRecord::Group(name, offset) => {
                    Source::Group(groups.find(owner, &Arc::from(name.as_str()))?, *offset)
                }
                SourceRecord::Retained(slot) => Source::Retained(slot.clone()),
            };
            Some(Entry {
                pid: record.pid,
                qos: record.qos,
                state: if record.released { State::Released } else { State::Unsent },
                own: record.own,
                bytes: record.bytes,
                source,
                message: None,
            })
        };
        self.outbound.iter().filter_map(entry).collect()
    }

    pub(crate) fn inbound(&self) -> Vec<Inbound> {
        let restored = |(pid, message_id): &(u16, MessageId)| Inbound {
            pid: *pid,
            step: Step::Restored,
            message_id: message_id.clone(),
            conn: ConnId(0),
        };
        self.inbound.iter().map(restored).collect()
    }

    pub(crate) fn scans(&self) -> Vec<RetainedScan> {
        let scan = |(filter, after): &(String, Option<Slot>)| RetainedScan {
            filter: filter.as_str().into(),
            after: after.clone(),
        };
        self.retained.iter().map(scan).collect()
    }
}

fn session_name(owner: &Owner, client: &str) -> Bytes {
    postcard::to_stdvec(&(owner, client)).map(Bytes::from).unwrap_or_default()
}

fn encode(record: &impl Serialize) -> Option<Bytes> {
    postcard::to_stdvec(record).ok().map(Bytes::from)
}

pub(crate) const HORIZON: &str = "horizon";

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
            will: session.will.as_deref().cloned(),
        };
        (RecordKey::new(RecordKind::Session, session_name(&session.owner, &session.client)), encode(&record))
    }

    fn cursor_record(&self, session: &Session) -> Record {
        let record = CursorRecord::of(session, self.head, &self.groups);
        (RecordKey::new(RecordKind::Cursor, session_name(&session.owner, &session.client)), encode(&record))
    }

    fn group_record(group: &Group, head: Offset) -> Record {
        let mut open: Vec<Offset> = group.claimed.keys().chain(group.again.keys()).copied().collect();
        open.sort_unstable();
        let next = group.flow.position(head);
        let record = GroupRecord { owner: group.owner.clone(), name: group.name.to_string(), next, open };
        (RecordKey::new(RecordKind::Group, session_name(&group.owner, &group.name)), encode(&record))
    }

    /// Writes records and does `after` when they are durable.
    fn put(&mut self, records: Vec<Record>, after: AfterPut) {
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

    /// Messages with QoS 2 that were given to sessions in this step: their packet ids are stored, then they are sent.
    pub(crate) fn store_deferred(&mut self) {
        for id in std::mem::take(&mut self.deferred) {
            let Some(online) = self.sessions.get_mut(id).and_then(|session| session.online.as_mut()) else { continue };
            let packets = std::mem::take(&mut online.deferred);
            let conn = online.conn;
            if !packets.is_empty() {
                self.store_cursor(id, AfterPut::Send { conn, packets });
            }
        }
    }

    /// The log's answer to an [`Output::Put`].
    pub(crate) fn put_done(&mut self, ticket: Ticket, result: &Result<(), LogError>) {
        let stored = result.is_ok();
        match self.puts.remove(&ticket) {
            None | Some(AfterPut::Stop) => {}
            Some(AfterPut::Subscribe(subscribed)) => self.subscribed(*subscribed, stored),
            Some(AfterPut::Unsubscribe { conn, ack }) => self.send(conn, Packet::UnsubscribeAck(ack)),
            Some(AfterPut::Receive { session, pid, message }) => self.receive_stored(session, pid, message, stored),
            Some(AfterPut::Release { session, conn, pid }) => self.released(session, conn, pid),
            Some(AfterPut::Pubrel { session, conn, pid }) => {
                let released = |entry: &Entry| entry.pid == pid && entry.state == State::Released;
                if self.sessions.get(session).is_some_and(|s| s.outbound.entries.iter().any(released)) {
                    self.pubrel(conn, pid, PublishAck2Reason::Success);
                }
            }
            Some(AfterPut::Send { conn, packets }) => {
                for packet in packets {
                    self.send(conn, packet);
                }
            }
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
        for id in std::mem::take(&mut self.dirty) {
            let Some(session) = self.sessions.get_mut(id) else { continue };
            session.dirty = false;
            if let Some(session) = self.sessions.get(id).filter(|session| session.recorded) {
                records.push(self.cursor_record(session));
            }
        }
        for id in std::mem::take(&mut self.dirty_groups) {
            let Some(group) = self.groups.get_mut(id) else { continue };
            group.dirty = false;
            group.recorded = true;
            records.push(Self::group_record(group, self.head));
        }
        let horizon = self.wake.horizon(self.head);
        if horizon != self.horizon_written {
            self.horizon_written = horizon;
            records.push((RecordKey::new(RecordKind::Internal, HORIZON.as_bytes()), encode(&horizon)));
        }
        if self.wake.next_deadline().is_some() {
            self.flush_soon();
        }
        match after {
            Some(after) => self.put(records, after),
            None if records.is_empty() => {}
            None => self.out.push(Output::Put { ticket: None, records, durable: false }),
        }
    }
}
