//! A retry at once, once: for an attempt of which the provider has certainly seen nothing, such as a connection that
//! was refused or went away before the push was written. Everything else is the queue's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tower::retry::Policy;

use crate::provider::{Answer, Message, Outcome, Retry};

/// The pause before the second attempt.
const PAUSE: Duration = Duration::from_millis(50);

/// Reads the error's own class.
#[derive(Clone, Debug, Default)]
pub(super) struct AtOnce {
    again: bool,
}

/// Whether trying again at once can help and can do no harm.
fn unseen(answer: &Answer) -> bool {
    matches!(answer.outcome, Outcome::Retry(Retry { after: None, maybe_taken: false, unreached: true, .. }))
}

impl<E> Policy<Arc<Message>, Answer, E> for AtOnce {
    type Future = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

    fn retry(&mut self, _: &mut Arc<Message>, result: &mut Result<Answer, E>) -> Option<Self::Future> {
        if self.again || !result.as_ref().is_ok_and(unseen) {
            return None;
        }
        self.again = true;
        Some(Box::pin(tokio::time::sleep(PAUSE)))
    }

    fn clone_request(&mut self, message: &Arc<Message>) -> Option<Arc<Message>> {
        Some(Arc::clone(message))
    }
}
