//! The message log: the one durable, ordered list of messages that everything else is a cursor on, and the
//! small records (sessions, retained messages, wake marks) that live beside it.
//!
//! # Architecture invariants
//! - Nothing is reported as appended before it is durable, and nothing can be read before it is durable.
//! - Offsets only grow, also after a failed write, a repaired tail or a restart. Gaps are allowed.
//! - The log knows nothing of sessions, topics' owners or connections: it stores what it is given under a [`Key`].
//!
//! There are two implementations, and one suite of tests runs against both: [`EmbeddedLog`] (one machine) and
//! [`MemoryLog`] (simulation, `--ephemeral`).

mod dedup;
mod embedded;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing {
    //! What is fuzzed of the log: see [`crate::fuzzing`].
    pub use super::embedded::fuzzing::{folder, frames};
}
mod index;
mod memory;
mod message;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

pub use crate::metrics::LogMetrics;
pub use embedded::{EmbeddedLog, OnTrouble, Options};
pub use error::LogError;
pub use index::Limits;
pub use memory::MemoryLog;
pub use message::{Appended, Key, Message, MessageProperties, Offset, Sender};
pub use record::{RecordKey, RecordKind};

/// Told once, from any thread, what became of an append: one [`Appended`] for each message, in their order.
pub type AppendDone = Box<dyn FnOnce(Result<Vec<Appended>, LogError>) + Send>;

/// Told once, from any thread, what became of a put.
pub type PutDone = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// A message with its place.
pub type Stored = (Offset, Arc<Message>);

/// What [`MessageLog::read_on`] found.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Oldest first.
    pub messages: Vec<Stored>,
    /// A reader that stood at or after this place before has missed nothing: see [`MessageLog::floor`].
    pub floor: Offset,
}

/// A durable log of messages with an index by key, and a table of records. Reads may touch the disk; they are
/// short, bounded by `limit`, and see exactly what has been reported as appended.
pub trait MessageLog: Send + Sync {
    /// Appends all messages of the batch, or none of them. `done` is called when they are durable (or refused),
    /// perhaps before this returns. Appends that wait at the same time share one commit.
    ///
    /// A message whose id, sender and topic were seen within the deduplication window is not stored again: it
    /// is reported with the first one's offset and `duplicate: true`.
    fn append(&self, batch: Vec<Arc<Message>>, done: AppendDone);

    /// The kept messages of one key after an offset, oldest first, at most `limit`; expired ones are left out.
    ///
    /// # Errors
    /// [`LogError::Io`] when the disk cannot be read. A damaged message is left out and counted, not an error.
    fn read(&self, key: &Key, after: Offset, limit: usize) -> Result<Vec<Stored>, LogError>;

    /// As [`MessageLog::read`], for readers that must know whether they missed something: with the floor as it stood in
    /// the moment of the look-up, and with an end once the messages are longer than `bytes` (a log that has them in
    /// memory anyway may ignore that). The end was reached when no message comes back.
    ///
    /// # Errors
    /// As [`MessageLog::read`].
    fn read_on(&self, key: &Key, after: Offset, limit: usize, bytes: usize) -> Result<Reading, LogError> {
        let _ = bytes;
        let messages = self.read(key, after, limit)?;
        Ok(Reading { messages, floor: self.floor(key) })
    }

    /// The kept messages of every key after an offset, oldest first, at most `limit`. When fewer than `limit`
    /// come back, the end was reached.
    ///
    /// # Errors
    /// As [`MessageLog::read`].
    fn scan(&self, after: Offset, limit: usize) -> Result<Vec<Stored>, LogError>;

    /// How far back recovery of a key is whole: a reader whose cursor is at or after this offset has missed
    /// nothing that retention dropped; for one before it, something may be gone for good.
    fn floor(&self, key: &Key) -> Offset;

    /// Sets (`Some`) or removes (`None`) records, all or none, in the order of the calls; visible to
    /// [`MessageLog::records`] when `done` is called. With `durable`, that is when they survive a loss of power;
    /// without, when they survive the end of this process.
    fn put(&self, records: Vec<(RecordKey, Option<Bytes>)>, durable: bool, done: PutDone);

    /// All live records of a kind, in no particular order.
    fn records(&self, kind: RecordKind) -> Vec<(RecordKey, Bytes)>;

    /// The random name of this log's life: cursors of another epoch cannot be resumed here.
    fn epoch(&self) -> u64;

    /// The end of the log: no durable message lies behind this offset; 0 when there was never one.
    fn head(&self) -> Offset;

    /// The smallest offset that may still be kept: everything before it is gone.
    fn first(&self) -> Offset;
}
