//! fjall: one keyspace by offset, one by user and offset, batches made durable with fdatasync.

use std::path::Path;
use std::sync::Arc;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use tidings_broker::log::{Key, Message};
use tidings_shared::identity::UserId;

use crate::grouped::Grouped;
use crate::{Done, Store};

struct Fjall {
    writer: Grouped,
    messages: Keyspace,
    by_user: Keyspace,
}

pub fn open(folder: &Path) -> anyhow::Result<Box<dyn Store>> {
    let database = Database::builder(folder.join("fjall")).open()?;
    let messages = database.keyspace("messages", KeyspaceCreateOptions::default)?;
    let by_user = database.keyspace("by_user", KeyspaceCreateOptions::default)?;
    let mut next = match messages.iter().next_back() {
        Some(last) => u64::from_be_bytes(last.key()?[..].try_into()?) + 1,
        None => 1,
    };
    let (bodies, places) = (messages.clone(), by_user.clone());
    let writer = Grouped::new(move |waiting| {
        let mut batch = database.batch().durability(Some(PersistMode::SyncData));
        for message in waiting {
            let place = next.to_be_bytes();
            next += 1;
            if let Key::User(user) = &message.key {
                batch.insert(&places, place_of(user, &place), b"".as_slice());
            }
            batch.insert(&bodies, place.as_slice(), postcard::to_stdvec(&**message)?);
        }
        Ok(batch.commit()?)
    });
    Ok(Box::new(Fjall { writer, messages, by_user }))
}

/// The user, a byte that no user id contains, the offset.
fn place_of(user: &UserId, place: &[u8]) -> Vec<u8> {
    [user.as_str().as_bytes(), &[0], place].concat()
}

impl Store for Fjall {
    fn append(&self, message: Arc<Message>, done: Done) {
        self.writer.append(message, done);
    }

    fn last(&self, user: &UserId, limit: usize) -> anyhow::Result<Vec<Message>> {
        let prefix = place_of(user, &[]);
        let mut found = Vec::new();
        for place in self.by_user.prefix(&prefix).rev().take(limit) {
            let key = place.key()?;
            let body =
                self.messages.get(&key[prefix.len()..])?.ok_or_else(|| anyhow::anyhow!("a message is missing"))?;
            found.push(postcard::from_bytes(&body)?);
        }
        Ok(found)
    }
}
