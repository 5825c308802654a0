//! Async functions as handlers, and handlers as services.

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::task::{self, Poll};

use futures_util::future::BoxFuture;
use tower::{BoxError, Service};

use super::error::HandlerError;
use super::extract::{Context, FromMessage};
use super::request::{Request, Response};
use super::respond::IntoPublishes;

/// An async function of up to eight extractors. Implemented for functions; there is no need to implement it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler",
    note = "a handler is an async function whose arguments are extractors (at most eight) and whose result is (), a Reply, an Outgoing or a Result of these; its future must be Send"
)]
pub trait Handler<T, S>: Clone + Send + Sync + 'static {
    /// Calls the function with what its arguments ask for.
    fn call(self, request: Request, state: S) -> impl Future<Output = Result<Response, HandlerError>> + Send;
}

macro_rules! handler_of {
    ($($argument:ident),*) => {
        impl<F, Fut, S, $($argument,)*> Handler<($($argument,)*), S> for F
        where
            F: FnOnce($($argument,)*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output: IntoPublishes> + Send,
            S: Send + Sync + 'static,
            $($argument: FromMessage<S> + Send,)*
        {
            #[allow(non_snake_case, unused_variables, reason = "the names of the types name the values too, and a function may have no arguments")]
            async fn call(self, request: Request, state: S) -> Result<Response, HandlerError> {
                let context = Context::new(request);
                $(let $argument = $argument::from_message(&context, &state).await?;)*
                let answers = self($($argument,)*).await.into_publishes(context.request())?;
                finish(&context, answers)
            }
        }
    };
}

/// Collects what the handler leaves behind: its publishes, its answers after them, and its transaction.
fn finish(context: &Context, answers: Vec<super::publisher::Outgoing>) -> Result<Response, HandlerError> {
    let mut publishes = context.publisher().take();
    publishes.extend(answers);
    Ok(Response { publishes, transaction: context.transaction().take_back()? })
}

handler_of!();
handler_of!(A);
handler_of!(A, B);
handler_of!(A, B, C);
handler_of!(A, B, C, D);
handler_of!(A, B, C, D, E);
handler_of!(A, B, C, D, E, G);
handler_of!(A, B, C, D, E, G, H);
handler_of!(A, B, C, D, E, G, H, I);

/// A handler with its state, as a [`tower::Service`].
pub(super) struct HandlerService<H, T, S> {
    handler: H,
    state: S,
    arguments: PhantomData<fn() -> T>,
}

impl<H, T, S> HandlerService<H, T, S> {
    pub(super) fn new(handler: H, state: S) -> Self {
        Self { handler, state, arguments: PhantomData }
    }
}

impl<H: Clone, T, S: Clone> Clone for HandlerService<H, T, S> {
    fn clone(&self) -> Self {
        Self::new(self.handler.clone(), self.state.clone())
    }
}

impl<H, T, S> Service<Request> for HandlerService<H, T, S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok::<_, Infallible>(()).map_err(|never| match never {}))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (handler, state) = (self.handler.clone(), self.state.clone());
        Box::pin(async move { handler.call(request, state).await.map_err(BoxError::from) })
    }
}
