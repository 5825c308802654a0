//! Records: small values beside the messages, found by kind and id, all of them in memory.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a record is about. The numbers are on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum RecordKind {
    /// A persistent session: its subscriptions, expiry and will.
    Session = 1,
    /// How far a session has read: offset and acks ahead. Written often, not durable one by one.
    Cursor = 2,
    /// The retained message of a topic.
    Retained = 3,
    /// A user was reported as unacked and no device of theirs has returned.
    WakeMark = 4,
    /// Tokens that are refused before they expire.
    Revocation = 5,
    /// A shared group's cursor and pending set.
    Group = 6,
    /// What the broker keeps for itself (schema versions, marks of one-time steps).
    Internal = 7,
    /// When a user without a session was last seen.
    Presence = 8,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Session,
        Self::Cursor,
        Self::Retained,
        Self::WakeMark,
        Self::Revocation,
        Self::Group,
        Self::Internal,
        Self::Presence,
    ];

    /// The kind with this number on disk.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// The name of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordKey {
    /// What it is about.
    pub kind: RecordKind,
    /// Which one of its kind; any bytes.
    pub id: Bytes,
}

impl RecordKey {
    /// The record of `kind` named `id`.
    #[must_use]
    pub fn new(kind: RecordKind, id: impl Into<Bytes>) -> Self {
        Self { kind, id: id.into() }
    }
}
