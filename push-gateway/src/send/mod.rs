//! The way of one push to its provider, composed of tower's layers, from the outside in: a circuit breaker, one time
//! limit for the whole, a retry at once where the error says that it can only help, a limit of how many are under
//! way. What lasts longer than a moment is the queue's: nothing here waits for another minute.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

use crate::provider::handover::Handover;
use crate::provider::{Answer, Message, PushProvider, Retry};

mod breaker;
mod retry;
#[cfg(test)]
mod tests;

use breaker::BreakerLayer;
pub(crate) use breaker::{Breaker, BreakerSettings, CircuitOpen, State};
use retry::AtOnce;

/// A push goes in, and what the provider said comes out, or that it was not asked.
pub(crate) type SendPath = BoxCloneSyncService<Arc<Message>, Answer, CircuitOpen>;

/// How pushes are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathSettings {
    /// Under way at once.
    pub(crate) concurrency: usize,
    /// For a push, whatever is tried.
    pub(crate) timeout: Duration,
}

/// The way to one provider.
pub(crate) fn path(client: Arc<dyn PushProvider>, breaker: &Arc<Breaker>, settings: PathSettings) -> SendPath {
    let path = ServiceBuilder::new()
        .layer(BreakerLayer::new(breaker))
        .layer_fn(InTime)
        .timeout(settings.timeout)
        .retry(AtOnce::default())
        .concurrency_limit(settings.concurrency)
        .service(Provider(client));
    BoxCloneSyncService::new(path)
}

/// Sends one push.
pub(crate) async fn send(path: &SendPath, message: Message) -> Result<Answer, CircuitOpen> {
    path.clone().oneshot(Arc::new(message)).await
}

/// What was not answered in time is an answer too. Nothing else in the path fails.
#[derive(Clone, Debug)]
struct InTime<S>(S);

impl<S> Service<Arc<Message>> for InTime<S>
where
    S: Service<Arc<Message>, Response = Answer, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context).map(|_| Ok(()))
    }

    fn call(&mut self, message: Arc<Message>) -> Self::Future {
        let handover = Handover::default();
        let answer = handover.watch(self.0.call(message));
        async move { Ok(answer.await.unwrap_or_else(|_| out_of_time(&handover))) }.boxed()
    }
}

/// The time is over. The provider may have taken the push, unless it was not handed over yet.
fn out_of_time(handover: &Handover) -> Answer {
    let (outcome, reason) =
        if handover.is_waiting() { (Retry::unreached(), "not_handed_over") } else { (Retry::unanswered(), "timeout") };
    Answer { outcome, status: None, reason: Some(reason.to_owned()), provider_id: None }
}

/// A provider as a service.
#[derive(Clone, Debug)]
struct Provider(Arc<dyn PushProvider>);

impl Service<Arc<Message>> for Provider {
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, message: Arc<Message>) -> Self::Future {
        let client = Arc::clone(&self.0);
        async move { Ok(client.send(&message).await) }.boxed()
    }
}
