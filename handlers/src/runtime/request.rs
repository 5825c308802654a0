//! What a handler's service is called with, and what it gives back.

use std::fmt;
use std::sync::Arc;

use tidings_shared::message_id::MessageId;

use super::message::{Captures, Message};
use super::publisher::Outgoing;
use super::transaction::{Claim, Held};

/// The request of a handler's [`tower::Service`]: a message, and what the runtime knows about it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Request {
    message: Arc<Message>,
    captures: Captures,
    id: MessageId,
    attempt: u32,
    claim: Option<Claim>,
}

impl Request {
    /// A request as a test makes it, without a runtime around it: a handler that asks for a
    /// [`Transaction`](super::Transaction) needs [`Request::with_claim`] besides.
    #[must_use]
    pub fn new(message: Message) -> Self {
        let id = message.id().unwrap_or_else(|| MessageId::from_parts(0, [0; 10]));
        Self { message: Arc::new(message), captures: Captures::default(), id, attempt: 1, claim: None }
    }

    /// The database in which the handler's work and the mark "this message is done" are committed together.
    #[must_use]
    pub fn with_claim(mut self, claim: Claim) -> Self {
        self.id = claim.id().clone();
        self.claim = Some(claim);
        self
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    pub(super) fn with_captures(mut self, captures: Captures) -> Self {
        self.captures = captures;
        self
    }

    pub(super) fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The topic that it was published to.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.message.topic
    }

    /// The parts of the topic at the named levels of the route's pattern.
    #[must_use]
    pub fn captures(&self) -> &Captures {
        &self.captures
    }

    /// The message's name, the same at every delivery and attempt.
    #[must_use]
    pub fn id(&self) -> &MessageId {
        &self.id
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

/// What a handler's [`tower::Service`] gives back: the messages to publish, and the transaction that is committed first.
#[derive(Default)]
pub struct Response {
    pub(super) publishes: Vec<Outgoing>,
    pub(super) transaction: Option<Held>,
}

impl Response {
    /// A response of a service that is no handler function.
    #[must_use]
    pub fn new(publishes: Vec<Outgoing>) -> Self {
        Self { publishes, transaction: None }
    }

    /// What is published once the handler's work is committed.
    #[must_use]
    pub fn publishes(&self) -> &[Outgoing] {
        &self.publishes
    }

    /// Takes the publishes out and commits the transaction, if the handler had one: what the runtime does, for tests
    /// of handlers without a runtime.
    ///
    /// # Errors
    /// When the transaction cannot be committed.
    pub async fn finish(self) -> Result<Vec<Outgoing>, tidings_shared::storage::StorageError> {
        if let Some(held) = self.transaction {
            held.commit().await?;
        }
        Ok(self.publishes)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("publishes", &self.publishes)
            .field("transaction", &self.transaction.is_some())
            .finish()
    }
}
