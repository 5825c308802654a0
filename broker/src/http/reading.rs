//! Where a client stands in the log, and how it reads on: whole, or with a word that something may be missing.

use std::sync::Arc;

use tidings_shared::cursor::Cursor;
use tidings_shared::http::ApiError;

use crate::log::{Key, LogError, MessageLog, Offset, Stored};

/// Messages read from the log at once.
const CHUNK: usize = 64;

/// The message that a cursor names, when it is one of this log and not ahead of it.
pub(super) fn place_of(log: &dyn MessageLog, cursor: Cursor) -> Option<Offset> {
    (cursor.epoch == log.epoch() && cursor.offset <= log.head().0).then_some(Offset(cursor.offset))
}

/// Reads the messages of one user onward.
#[derive(Clone)]
pub(super) struct Reader {
    log: Arc<dyn MessageLog>,
    key: Key,
    /// Everything up to here was read or is none of this user's.
    upto: Offset,
    /// What is gone up to here needs no word any more: the client has been told. `None`: it asked for what is kept.
    told: Option<Offset>,
}

/// What one reading found.
pub(super) struct Part {
    /// Oldest first.
    pub(super) messages: Vec<Stored>,
    /// Whether nothing is missing between what was read before and these messages.
    pub(super) whole: bool,
    /// Whether the end of the log was reached.
    pub(super) at_end: bool,
}

impl Reader {
    /// A reader that goes on behind `cursor`, or begins with what is kept. The flag says whether everything behind the
    /// cursor can be told.
    pub(super) fn new(log: &Arc<dyn MessageLog>, key: Key, cursor: Option<Cursor>) -> (Self, bool) {
        let floor = log.floor(&key);
        let place = cursor.map(|cursor| place_of(&**log, cursor));
        let (upto, told, whole) = match place {
            None => (Offset::START, None, true),
            Some(Some(place)) if place >= floor => (place, Some(Offset::START), true),
            Some(Some(place)) => (place, Some(floor), false),
            Some(None) => (Offset::START, None, false),
        };
        (Self { log: Arc::clone(log), key, upto, told }, whole)
    }

    /// The cursor behind which it reads on.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor { epoch: self.log.epoch(), offset: self.upto.0 }
    }

    /// Whether its place will soon be older than what is kept, however little of it was this user's.
    pub(super) fn is_old(&self, cursor: Cursor) -> bool {
        let (first, head) = (self.log.first().0, self.log.head().0);
        cursor.offset < first + head.saturating_sub(first) / 2 && cursor.offset != self.upto.0
    }

    /// Reads at most `limit` messages, and ends with the one that makes them longer than `bytes`.
    ///
    /// # Errors
    /// When the log cannot be read; the cause is logged.
    pub(super) async fn read(&mut self, limit: usize, bytes: usize) -> Result<Part, ApiError> {
        let mut reader = self.clone();
        let read = tokio::task::spawn_blocking(move || reader.read_now(limit, bytes).map(|part| (reader, part))).await;
        match read {
            Ok(Ok((reader, part))) => {
                *self = reader;
                Ok(part)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "messages could not be read from the log");
                Err(ApiError::internal())
            }
            Err(error) => {
                tracing::error!(%error, "reading messages from the log ended early");
                Err(ApiError::internal())
            }
        }
    }

    fn read_now(&mut self, limit: usize, bytes: usize) -> Result<Part, LogError> {
        // Taken first: whatever is stored during the read lies behind it.
        let head = self.log.head();
        let mut part = Part { messages: Vec::new(), whole: true, at_end: false };
        let mut left = bytes;
        while part.messages.len() < limit && left > 0 {
            let wanted = CHUNK.min(limit - part.messages.len());
            let chunk = self.log.read_on(&self.key, self.upto, wanted, left)?;
            let told = self.told.unwrap_or(chunk.floor);
            part.whole &= chunk.floor <= told.max(self.upto);
            self.told = Some(told.max(chunk.floor));
            if chunk.messages.is_empty() {
                self.upto = self.upto.max(head);
                part.at_end = true;
                break;
            }
            for (offset, message) in chunk.messages {
                left = left.saturating_sub(message.payload.len() + message.topic.len());
                self.upto = offset;
                // The second wall: what a device published under the command rule is for handlers only.
                if message.granted {
                    part.messages.push((offset, message));
                }
                if left == 0 {
                    break;
                }
            }
        }
        Ok(part)
    }
}
