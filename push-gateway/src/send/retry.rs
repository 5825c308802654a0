//! A retry at once, once: for an attempt of which the provider has certainly seen nothing, such as a connection that
//! was refused or went away before the push was written. Everything else is the queue's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tower::retry::Policy;

use crate::provider::{Answer, Message, Outcome, Retry};

/// The pause before the second attempt.
const PAUSE: Duration = Duration::from_millis(50);

/// A failure that took longer will hardly be mended a moment later, and two of them would use up the push's time.
const QUICK: Duration = Duration::from_secs(1);

/// Reads the error's own class.
#[derive(Clone, Debug, Default)]
pub(super) struct AtOnce {
    again: bool,
    begun: Option<Instant>,
}

/// Whether trying again at once can help and can do no harm.
fn unseen(answer: &Answer) -> bool {
    matches!(answer.outcome, Outcome::Retry(Retry { after: None, maybe_taken: false, unreached: true, .. }))
}

impl<E> Policy<Arc<Message>, Answer, E> for AtOnce {
    type Future = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

    fn retry(&mut self, _: &mut Arc<Message>, result: &mut Result<Answer, E>) -> Option<Self::Future> {
        let quick = self.begun.is_some_and(|begun| begun.elapsed() < QUICK);
        if self.again || !quick || !result.as_ref().is_ok_and(unseen) {
            return None;
        }
        self.again = true;
        Some(Box::pin(tokio::time::sleep(PAUSE)))
    }

    /// Asked when an attempt begins.
    fn clone_request(&mut self, message: &Arc<Message>) -> Option<Arc<Message>> {
        self.begun = Some(Instant::now());
        Some(Arc::clone(message))
    }
}
