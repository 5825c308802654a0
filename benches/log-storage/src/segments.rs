//! The log of the product.

use std::path::Path;
use std::sync::Arc;

use tidings_broker::log::{EmbeddedLog, Key, Message, MessageLog, Offset, Options};
use tidings_shared::clock::Clock;
use tidings_shared::identity::UserId;

use crate::{Done, Store};

/// The time in the harness; retention drops nothing.
pub const NOW_MS: i64 = 1_700_000_000_000;

struct Segments(EmbeddedLog);

pub fn open(folder: &Path) -> anyhow::Result<Box<dyn Store>> {
    Ok(Box::new(Segments(EmbeddedLog::open(Options::new(folder, Clock::manual(NOW_MS)))?)))
}

impl Store for Segments {
    fn append(&self, message: Arc<Message>, done: Done) {
        self.0.append(vec![message], Box::new(|result| done(result.map(|_| ()).map_err(Into::into))));
    }

    fn last(&self, user: &UserId, limit: usize) -> anyhow::Result<Vec<Message>> {
        let all = self.0.read(&Key::User(user.clone()), Offset::START, limit)?;
        Ok(all.into_iter().map(|(_, message)| Message::clone(&message)).collect())
    }
}
