//! Writing in turns. SQLite has one writer at a time; those who wait for it inside SQLite sleep and try again, with
//! pauses of up to a tenth of a second. Here they stand in a queue instead, and meanwhile gather more for their own
//! transaction. PostgreSQL has many writers and needs no turns.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Dialect;

/// The turns of one database in this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Turn(Option<Arc<Mutex<()>>>);

impl Turn {
    pub(super) fn of(dialect: Dialect) -> Self {
        Self((dialect == Dialect::Sqlite).then(Arc::default))
    }

    /// Waits for its turn, which ends when the guard is dropped: after the transaction, and before anything else waits
    /// for a turn.
    pub async fn wait(&self) -> Option<OwnedMutexGuard<()>> {
        match &self.0 {
            Some(turn) => Some(Arc::clone(turn).lock_owned().await),
            None => None,
        }
    }

    /// How many may write at the same time without getting in each other's way.
    #[must_use]
    pub fn writers(&self) -> usize {
        if self.0.is_some() { 1 } else { 2 }
    }
}
