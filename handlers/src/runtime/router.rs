//! Routes: which handler takes the messages of which topics, and the layers around it.

use std::fmt;
use std::sync::Arc;
use std::task::{self, Poll};

use futures_util::future::BoxFuture;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service, ServiceExt as _};

use super::error::HandlerError;
use super::handler::{Handler, HandlerService};
use super::pattern::{InvalidPattern, Pattern};
use super::request::{Request, Response};

/// The service of one route, with its layers.
pub type Route = BoxCloneSyncService<Request, Response, BoxError>;

/// Routes that still need their state of type `S`. A router without need of state is a `Router<()>`.
///
/// ```
/// use tidings_handlers::runtime::{Json, Publisher, HandlerError, Router, Sender, State};
///
/// #[derive(Clone)]
/// struct Greeting(&'static str);
///
/// async fn greet(Sender { user, .. }: Sender, State(greeting): State<Greeting>, publisher: Publisher)
///     -> Result<(), HandlerError> {
///     publisher.to_user(&user, "greeting", greeting.0)
/// }
///
/// let router: Router = Router::new().topic("greet", greet).with_state(Greeting("hello"));
/// ```
pub struct Router<S = ()> {
    routes: Vec<(Result<Pattern, InvalidPattern>, TopicRoute<S>)>,
}

/// A handler on its way into a router: a place for the layers of one topic. Made by [`on`].
pub struct TopicRoute<S> {
    build: Arc<dyn Fn(&S) -> Route + Send + Sync>,
}

/// Begins a route of its own for `handler`, to put layers around it: `on(handler).layer(...)`.
pub fn on<H, T, S>(handler: H) -> TopicRoute<S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    TopicRoute { build: Arc::new(move |state: &S| Route::new(HandlerService::new(handler.clone(), state.clone()))) }
}

/// A route whose handler is any [`tower::Service`].
pub fn on_service<V, S>(service: V) -> TopicRoute<S>
where
    V: Service<Request, Response = Response, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
{
    let route = Route::new(service.map_err(Into::into));
    TopicRoute { build: Arc::new(move |_| route.clone()) }
}

impl<S: 'static> TopicRoute<S> {
    /// Puts a layer around the handler (and around the layers that it has already).
    #[must_use]
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<Route> + Send + Sync + 'static,
        L::Service:
            Service<Request, Response = Response, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
    {
        let inner = self.build;
        Self { build: Arc::new(move |state| Route::new(layer.layer(inner(state)).map_err(Into::into))) }
    }
}

/// What [`Router::topic`] takes: a handler function, or a route made by [`on`] or [`on_service`].
pub trait IntoTopicRoute<T, S> {
    /// The route.
    fn into_topic_route(self) -> TopicRoute<S>;
}

/// Tells handler functions from finished routes.
#[doc(hidden)]
pub struct Function<T>(std::marker::PhantomData<T>);

/// Tells handler functions from finished routes.
#[doc(hidden)]
pub struct Finished;

impl<H, T, S> IntoTopicRoute<Function<T>, S> for H
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    fn into_topic_route(self) -> TopicRoute<S> {
        on(self)
    }
}

impl<S> IntoTopicRoute<Finished, S> for TopicRoute<S> {
    fn into_topic_route(self) -> TopicRoute<S> {
        self
    }
}

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// A router without routes.
    #[must_use]
    pub fn new() -> Self {
        Self { routes: Vec::new() }
    }

    /// Messages on the topics of `pattern` go to `handler`. A pattern is a topic, or a filter whose levels may have
    /// names: `orders/{order}/paid`, `orders/+/paid`, `orders/#`. Where several patterns match, the one that says more
    /// wins. A pattern that is wrong or there twice is reported by [`Router::build`].
    #[must_use]
    pub fn topic<T>(mut self, pattern: &str, handler: impl IntoTopicRoute<T, S>) -> Self {
        self.routes.push((Pattern::parse(pattern), handler.into_topic_route()));
        self
    }

    /// Takes over the routes of another router.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self
    }

    /// Puts a layer around every route that is there so far.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service:
            Service<Request, Response = Response, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
    {
        self.routes = self.routes.into_iter().map(|(pattern, route)| (pattern, route.layer(layer.clone()))).collect();
        self
    }

    /// Gives every route its state. What is returned can be merged with routers of another state.
    #[must_use]
    pub fn with_state<S2>(self, state: S) -> Router<S2> {
        let routes = self.routes.into_iter().map(|(pattern, route)| {
            let built = (route.build)(&state);
            (pattern, TopicRoute { build: Arc::new(move |_: &S2| built.clone()) as _ })
        });
        Router { routes: routes.collect() }
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Router<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// Everything that is wrong with a router.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the router cannot be used: {}", .0.join("; "))]
pub struct InvalidRouter(Vec<String>);

impl Router {
    /// Checks the routes and makes them ready to use.
    ///
    /// # Errors
    /// Names every wrong pattern and every pair of patterns with the same filter.
    pub fn build(self) -> Result<Routes, InvalidRouter> {
        let mut faults = Vec::new();
        let mut routes: Vec<(Pattern, Route)> = Vec::new();
        for (pattern, route) in self.routes {
            match pattern {
                Err(error) => faults.push(error.to_string()),
                Ok(pattern) => match routes.iter().find(|(other, _)| other.filter() == pattern.filter()) {
                    Some((other, _)) => faults.push(format!("{pattern} and {other} take the same topics")),
                    None => routes.push((pattern, (route.build)(&()))),
                },
            }
        }
        if !faults.is_empty() {
            return Err(InvalidRouter(faults));
        }
        routes.sort_by(|(a, _), (b, _)| a.compare(b));
        Ok(Routes(routes.into()))
    }
}

/// Routes in use: a [`tower::Service`] itself, which sends each request to the route of its topic.
#[derive(Clone)]
pub struct Routes(Arc<[(Pattern, Route)]>);

impl Routes {
    /// The filters to subscribe to.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(pattern, _)| pattern.filter())
    }

    /// The route of a topic: its pattern as it was written, and the request with what the pattern captures.
    #[must_use]
    pub fn find(&self, request: Request) -> Option<(&Pattern, Route, Request)> {
        self.0.iter().find_map(|(pattern, route)| {
            let captures = pattern.matches(request.topic())?;
            Some((pattern, route.clone(), request.clone().with_captures(captures)))
        })
    }
}

impl Service<Request> for Routes {
    type Response = Response;
    type Error = HandlerError;
    type Future = BoxFuture<'static, Result<Response, HandlerError>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), HandlerError>> {
        // Each route says itself when it is ready: a full one must not hold up the others.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let topic = request.topic().to_owned();
        match self.find(request) {
            Some((_, route, request)) => {
                Box::pin(async move { route.oneshot(request).await.map_err(HandlerError::from_layers) })
            }
            None => {
                Box::pin(async move { Err(HandlerError::permanent(format!("no handler takes the topic {topic}"))) })
            }
        }
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(pattern, _)| pattern.to_string())).finish()
    }
}

#[cfg(test)]
mod tests;
