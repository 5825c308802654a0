//! What went wrong in a handler, and whether it helps to try again.

use std::fmt;

use tidings_shared::storage::StorageError;
use tower::BoxError;

use super::publisher::Outgoing;

/// The failure of a handler. It says itself whether the message is tried again.
///
/// | made by | the message is |
/// |---|---|
/// | [`HandlerError::permanent`] | not tried again: it goes to the dead letters at once |
/// | [`HandlerError::retry`] (and any other error of a layer) | tried again up to `handlers.retry.attempts` times |
/// | [`HandlerError::unavailable`] | tried again for `handlers.retry.unavailable_for`: something that the handler needs is away |
///
/// The text is for the people who run the service: it is logged and kept with the dead letter, and never sent to a
/// device. What a device should hear is published with [`HandlerError::tell`].
pub struct HandlerError {
    retry: Retry,
    text: String,
    answers: Vec<Outgoing>,
}

/// Whether it helps to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It cannot succeed: the message itself is wrong.
    Never,
    /// It may succeed; a limited number of times.
    Limited,
    /// Something that the handler needs is away; for a limited time.
    WhileUnavailable,
    /// The same message has been handled already, by another instance or an earlier delivery.
    AlreadyHandled,
}

impl HandlerError {
    /// Trying again cannot help: the message goes to the dead letters.
    #[must_use]
    pub fn permanent(text: impl fmt::Display) -> Self {
        Self::new(Retry::Never, text)
    }

    /// Trying again may help.
    #[must_use]
    pub fn retry(text: impl fmt::Display) -> Self {
        Self::new(Retry::Limited, text)
    }

    /// Something that the handler needs does not answer: trying again helps as soon as it does.
    #[must_use]
    pub fn unavailable(text: impl fmt::Display) -> Self {
        Self::new(Retry::WhileUnavailable, text)
    }

    pub(super) fn already_handled() -> Self {
        Self::new(Retry::AlreadyHandled, "the message has been handled already")
    }

    fn new(retry: Retry, text: impl fmt::Display) -> Self {
        Self { retry, text: text.to_string(), answers: Vec::new() }
    }

    /// Publishes `answer` when the message is given up: what a device should hear about it.
    #[must_use]
    pub fn tell(mut self, answer: Outgoing) -> Self {
        self.answers.push(answer);
        self
    }

    /// Whether it helps to try again.
    #[must_use]
    pub fn when_to_retry(&self) -> Retry {
        self.retry
    }

    /// What is published when the message is given up.
    #[must_use]
    pub fn answers(&self) -> &[Outgoing] {
        &self.answers
    }

    /// The handler's error in what a layer returned. An error that a layer made itself (a time limit, a full queue)
    /// is tried again.
    #[must_use]
    pub fn from_layers(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => *error,
            Err(error) if error.is::<tower::timeout::error::Elapsed>() => {
                Self::retry("the handler took longer than its time limit")
            }
            Err(error) => Self::retry(error),
        }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandlerError({:?}, {:?})", self.retry, self.text)
    }
}

impl std::error::Error for HandlerError {}

impl From<StorageError> for HandlerError {
    fn from(error: StorageError) -> Self {
        let text = format!("database: {error}");
        if error.is_retryable() { Self::unavailable(text) } else { Self::retry(text) }
    }
}

impl From<serde_json::Error> for HandlerError {
    fn from(error: serde_json::Error) -> Self {
        Self::permanent(format!("JSON: {error}"))
    }
}

impl From<anyhow::Error> for HandlerError {
    fn from(error: anyhow::Error) -> Self {
        Self::retry(format!("{error:#}"))
    }
}
