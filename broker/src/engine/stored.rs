//! The form in which sessions, cursors and groups are stored. Postcard knows no field names: a field that is added,
//! taken away or moved makes older records unreadable (they are counted and left out at the start).

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_shared::message_id::MessageId;

use super::group::Groups;
use super::inbound::{Inbound, Step};
use super::inflight::{Entry, Source, State};
use super::io::ConnId;
use super::recovery::Recovery;
use super::retained::Slot;
use super::session::{Owner, RetainedScan, Session};
use super::subscriptions::Options;
use super::will::Will;
use crate::log::Offset;

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
    /// Reads a record; behind the cursor of a session in recovery stands what it has to know.
    pub(crate) fn decode(value: &[u8]) -> Option<(Self, Option<Box<Recovery>>)> {
        let (cursor, rest) = postcard::take_from_bytes(value).ok()?;
        let recovery = if rest.is_empty() { None } else { Some(Box::new(postcard::from_bytes(rest).ok()?)) };
        Some((cursor, recovery))
    }

    pub(crate) fn encode(&self, recovery: Option<&Recovery>) -> Option<Bytes> {
        let mut value = postcard::to_stdvec(self).ok()?;
        if let Some(recovery) = recovery.filter(|recovery| recovery.has_to_be_stored()) {
            value = postcard::to_extend(recovery, value).ok()?;
        }
        Some(value.into())
    }

    pub(crate) fn of(session: &Session, head: Offset, groups: &Groups) -> Self {
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
        Self {
            next: session.flow.position(head),
            expires_at: session.expires_at,
            next_pid: session.outbound.next_pid,
            outbound: session.outbound.entries.iter().filter_map(entry).collect(),
            inbound: session.inbound.iter().map(|inbound| (inbound.pid, inbound.message_id.clone())).collect(),
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
                sent_ms: 0,
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
            restored: true,
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
