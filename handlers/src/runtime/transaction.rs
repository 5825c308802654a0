//! A handler's work and the mark "this message is done", committed together.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use tidings_shared::clock::Clock;
use tidings_shared::message_id::MessageId;
use tidings_shared::storage::{Database, StorageError};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::error::HandlerError;
use super::extract::{Context, FromMessage};
use super::publisher::Outgoing;
use super::store::processed;

type Connection = sqlx::Transaction<'static, sqlx::Any>;

/// The right to mark one message as done, in one database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Claim {
    database: Database,
    group: Arc<str>,
    id: MessageId,
    clock: Clock,
}

impl Claim {
    /// The mark of message `id` for the handlers of `group` (setting `handlers.group`).
    #[must_use]
    pub fn new(database: Database, group: impl Into<Arc<str>>, id: MessageId, clock: Clock) -> Self {
        Self { database, group: group.into(), id, clock }
    }

    /// The message.
    #[must_use]
    pub fn id(&self) -> &MessageId {
        &self.id
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Begins a transaction with the mark in it; `None` when the message is marked already. Somebody who holds the
    /// mark without having committed is waited for.
    pub(super) async fn begin(&self) -> Result<Option<Held>, StorageError> {
        let mut transaction = self.database.begin().await?;
        if processed::claim(&mut transaction, &self.group, &self.id, self.now_ms()).await? {
            Ok(Some(Held { transaction, claim: self.clone() }))
        } else {
            Ok(None)
        }
    }
}

/// A transaction that marks its message as done when it is committed; dropped, it leaves nothing behind.
pub(super) struct Held {
    transaction: Connection,
    claim: Claim,
}

impl Held {
    /// Commits together with the messages that are still to be published.
    pub(super) async fn commit_with(mut self, outbox: &[Outgoing]) -> Result<(), StorageError> {
        if !outbox.is_empty() {
            processed::keep_outbox(&mut self.transaction, &self.claim.group, &self.claim.id, outbox).await?;
        }
        self.commit().await
    }

    pub(super) async fn commit(self) -> Result<(), StorageError> {
        self.transaction.commit().await.map_err(StorageError::from)
    }

    pub(super) fn transaction(&mut self) -> &mut Connection {
        &mut self.transaction
    }
}

/// A database transaction for this message: an extractor of handlers.
///
/// It is committed by the runtime after the handler has returned without an error, together with the mark that this
/// message is done and with what the handler publishes; it is rolled back when the handler fails. So a message that
/// is delivered twice, even at the same moment to two instances, changes the database once.
///
/// Every query through it sees and locks as one transaction: keep the handler short, and make no network calls while it
/// is open. A handler that asks for no `Transaction` is marked as done after it has returned.
pub struct Transaction(OwnedMutexGuard<Held>);

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0.transaction
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0.transaction
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction of message {}", self.0.claim.id)
    }
}

/// Where a call's transaction is kept while the handler uses it.
#[derive(Default)]
pub(super) struct Slot(StdMutex<Option<Arc<Mutex<Held>>>>);

impl Slot {
    /// The transaction after the handler is done with it.
    pub(super) fn take_back(&self) -> Result<Option<Held>, HandlerError> {
        let Some(held) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(None);
        };
        match Arc::try_unwrap(held) {
            Ok(held) => Ok(Some(held.into_inner())),
            Err(_) => Err(HandlerError::permanent(
                "the handler has returned but something that it started still uses its Transaction",
            )),
        }
    }
}

impl<S: Sync> FromMessage<S> for Transaction {
    async fn from_message(context: &Context, _: &S) -> Result<Self, HandlerError> {
        let Some(claim) = context.request().claim() else {
            return Err(HandlerError::permanent(
                "no database: the request was made without a claim (Request::with_claim)",
            ));
        };
        let Some(held) = claim.begin().await? else {
            return Err(HandlerError::already_handled());
        };
        let held = Arc::new(Mutex::new(held));
        let mut slot = context.transaction().0.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() {
            return Err(HandlerError::permanent("a handler can have one Transaction"));
        }
        let guard = held.clone().try_lock_owned().map_err(HandlerError::permanent)?;
        *slot = Some(held);
        Ok(Self(guard))
    }
}
