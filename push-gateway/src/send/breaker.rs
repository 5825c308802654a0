//! A circuit breaker: when a provider has been away for a while, pushes are not handed to it one by one only to fail.
//! They wait, and one push now and then asks whether it is back.
//!
//! Closed: pushes go. Open: none goes until its pause ends; each pause is twice as long as the one before. Half-open:
//! one push goes; its answer closes or opens the circuit. What a provider says of a push, an app or a quota is an
//! answer of a provider that is there, and closes the circuit.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidings_shared::clock::Clock;
use tower::{Layer, Service};

use crate::provider::{Answer, Message, Outcome};

/// When a circuit opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BreakerSettings {
    /// So many failures without an answer in between …
    pub(crate) failures: u32,
    /// … over so long a time at least: a connection that is cut ends many pushes at once and means little.
    pub(crate) window: Duration,
    /// The first pause.
    pub(crate) pause: Duration,
    /// The longest.
    pub(crate) longest: Duration,
}

/// The provider was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider is away")]
pub(crate) struct CircuitOpen {
    /// When it may be asked again.
    pub(crate) until_ms: i64,
}

/// What a circuit lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Everything.
    Closed,
    /// One push; nothing more until it is answered, or this time.
    HalfOpen {
        /// When another push may ask.
        until_ms: i64,
    },
    /// Nothing before this time, then one push.
    Open {
        /// When one push may ask.
        until_ms: i64,
    },
}

/// One provider's circuit for one app.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    failures: u32,
    first_failure_ms: i64,
    pause: Duration,
}

/// Whether the provider was away, as its answer tells.
fn away(answer: &Answer) -> bool {
    match answer.outcome {
        Outcome::Retry(retry) => retry.unreached || answer.status.is_some_and(|status| status >= 500),
        _ => false,
    }
}

impl Breaker {
    pub(crate) fn new(settings: BreakerSettings, clock: Clock) -> Arc<Self> {
        let inner = Inner { state: State::Closed, failures: 0, first_failure_ms: 0, pause: settings.pause };
        Arc::new(Self { settings, clock, inner: Mutex::new(inner) })
    }

    pub(crate) fn state(&self) -> State {
        self.lock().state
    }

    /// One push is about to ask; nobody else does before it is answered, or `patience` has passed.
    pub(crate) fn asking(&self, patience: Duration) {
        let until_ms = self.clock.now_ms() + millis(patience);
        let mut inner = self.lock();
        if inner.state != State::Closed {
            inner.state = State::HalfOpen { until_ms };
        }
    }

    /// The push that was to ask was not sent after all: whether the next one may ask now.
    pub(crate) fn unasked(&self) -> bool {
        let now = self.clock.now_ms();
        match &mut self.lock().state {
            State::HalfOpen { until_ms } => {
                *until_ms = now;
                true
            }
            State::Closed | State::Open { .. } => false,
        }
    }

    /// Takes an answer into account.
    fn note(&self, answer: &Answer) {
        if matches!(answer.outcome, Outcome::Retry(retry) if retry.isolated) {
            return;
        }
        let now = self.clock.now_ms();
        let mut inner = self.lock();
        if !away(answer) {
            inner.failures = 0;
            inner.state = State::Closed;
            inner.pause = self.settings.pause;
            return;
        }
        if inner.failures == 0 {
            inner.first_failure_ms = now;
        }
        inner.failures = inner.failures.saturating_add(1);
        match inner.state {
            State::HalfOpen { .. } => {
                inner.pause = (inner.pause * 2).min(self.settings.longest);
                inner.state = State::Open { until_ms: now + millis(inner.pause) };
            }
            State::Closed
                if inner.failures >= self.settings.failures
                    && now - inner.first_failure_ms >= millis(self.settings.window) =>
            {
                inner.state = State::Open { until_ms: now + millis(inner.pause) };
            }
            // Those that were on their way when it opened say nothing new.
            State::Closed | State::Open { .. } => {}
        }
    }

    fn refusal(&self) -> Option<CircuitOpen> {
        match self.state() {
            State::Open { until_ms } => Some(CircuitOpen { until_ms }),
            State::Closed | State::HalfOpen { .. } => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The breaker as a layer.
#[derive(Clone, Debug)]
pub(super) struct BreakerLayer(Arc<Breaker>);

impl BreakerLayer {
    pub(super) fn new(breaker: &Arc<Breaker>) -> Self {
        Self(Arc::clone(breaker))
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { breaker: Arc::clone(&self.0), inner }
    }
}

/// A service behind a breaker.
#[derive(Clone, Debug)]
pub(super) struct Guarded<S> {
    breaker: Arc<Breaker>,
    inner: S,
}

impl<S> Service<Arc<Message>> for Guarded<S>
where
    S: Service<Arc<Message>, Response = Answer, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = CircuitOpen;
    type Future = BoxFuture<'static, Result<Answer, CircuitOpen>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CircuitOpen>> {
        self.inner.poll_ready(context).map(|ready| {
            let Ok(()) = ready;
            Ok(())
        })
    }

    fn call(&mut self, message: Arc<Message>) -> Self::Future {
        if let Some(open) = self.breaker.refusal() {
            return std::future::ready(Err(open)).boxed();
        }
        let (breaker, answer) = (Arc::clone(&self.breaker), self.inner.call(message));
        async move {
            let Ok(answer) = answer.await;
            breaker.note(&answer);
            Ok(answer)
        }
        .boxed()
    }
}
