//! Turns at the processor for those who have not logged in yet.
//!
//! A TLS handshake or the check of a token takes a fraction of a millisecond; thousands of them that become possible at
//! the same moment would stand in the scheduler's queue before everybody who is logged in. So they stand here instead:
//! only a few are in that queue at a time. `queue` says who is next.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use super::queue::{Place, Queue};

/// Lets a few through at a time. Clones are the same turnstile.
#[derive(Debug, Clone)]
pub(super) struct Turnstile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Who waits for a turn.
    waiting: Gauge,
}

#[derive(Debug)]
struct State {
    free: usize,
    queue: Queue,
}

/// Who asks for turns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    /// Its network.
    pub(super) network: IpAddr,
    /// How far it is.
    pub(super) stage: Stage,
}

/// How far somebody is on the way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing was computed for it yet.
    New,
    /// Nothing yet, but it has begun with its first turn.
    Begins,
    /// To be finished before others are begun.
    Begun,
}

/// A turn, or a place in the queue for it. Given on when dropped.
#[derive(Debug)]
struct Turn {
    turnstile: Turnstile,
    /// `None`: it came at once.
    place: Option<Place>,
}

impl Turnstile {
    /// Lets `at_once` through at a time.
    pub(super) fn new(at_once: usize, waiting: Gauge) -> Self {
        let state = State { free: at_once.max(1), queue: Queue::default() };
        Self(Arc::new(Shared { state: Mutex::new(state), waiting }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a turn. The task is woken when it has come, also when that is now: it goes to the end of the
    /// scheduler's queue, where everybody else stands too.
    fn ask(&self, who: Who, cx: &Context<'_>) -> Turn {
        let mut state = self.state();
        let place = if state.free > 0 {
            state.free -= 1;
            cx.waker().wake_by_ref();
            None
        } else {
            let begun = who.stage == Stage::Begun;
            let place = state.queue.join(who.network, begun, cx.waker().clone(), Instant::now());
            self.note(&state);
            Some(place)
        };
        drop(state);
        Turn { turnstile: self.clone(), place }
    }

    fn note(&self, state: &State) {
        self.0.waiting.set(i64::try_from(state.queue.len()).unwrap_or(i64::MAX));
    }
}

impl Turn {
    fn has_come(&self, cx: &Context<'_>) -> bool {
        let Some(place) = self.place else { return true };
        match self.turnstile.state().queue.waker(place) {
            Some(waker) => {
                waker.clone_from(cx.waker());
                false
            }
            None => true,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turnstile.state();
        if self.place.is_some_and(|place| state.queue.leave(place)) {
            return self.turnstile.note(&state);
        }
        match state.queue.next(Instant::now()) {
            Some(waker) => {
                self.turnstile.note(&state);
                drop(state);
                waker.wake();
            }
            None => state.free += 1,
        }
    }
}

/// Tells whether what a future waits for has happened, or its task was woken for something else.
#[derive(Debug)]
struct Signal {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// A future that computes only when it has a turn, and gives the turn back whenever it waits for something else.
pub(super) struct Paced<F> {
    inner: Pin<Box<F>>,
    turnstile: Turnstile,
    who: Who,
    signal: Arc<Signal>,
    turn: Option<Turn>,
    idle_since: Option<Instant>,
}

impl<F: Future> Paced<F> {
    pub(super) fn new(turnstile: &Turnstile, who: Who, inner: F) -> Self {
        let signal = Arc::new(Signal { woken: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { inner: Box::pin(inner), turnstile: turnstile.clone(), who, signal, turn: None, idle_since: None }
    }

    /// How long it has been waiting for something that is no turn.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        self.idle_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

impl<F: Future> Future for Paced<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        this.signal.task.register(cx.waker());
        match &this.turn {
            None if this.signal.woken.swap(false, Ordering::Acquire) => {
                this.idle_since = None;
                this.turn = Some(this.turnstile.ask(this.who, cx));
            }
            Some(turn) if turn.has_come(cx) => {
                let waker = Waker::from(this.signal.clone());
                let outcome = this.inner.as_mut().poll(&mut Context::from_waker(&waker));
                this.turn = None;
                if this.who.stage == Stage::Begins {
                    this.who.stage = Stage::Begun;
                }
                this.idle_since = outcome.is_pending().then(Instant::now);
                return outcome;
            }
            _ => {}
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    fn who(network: u8, stage: Stage) -> Who {
        Who { network: IpAddr::from([10, 0, 0, network]), stage }
    }

    #[tokio::test]
    async fn everybody_has_a_turn_and_all_turns_come_back() {
        let gauge = Gauge::default();
        let turnstile = Turnstile::new(2, gauge.clone());
        let done = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..1000_u32)
            .map(|number| {
                let (turnstile, done) = (turnstile.clone(), done.clone());
                tokio::spawn(async move {
                    let work = async {
                        for _ in 0..number % 4 {
                            tokio::task::yield_now().await;
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    };
                    let stage = [Stage::New, Stage::Begins, Stage::Begun][number as usize % 3];
                    Paced::new(&turnstile, who((number % 5) as u8, stage), work).await;
                })
            })
            .collect();
        // Some give up.
        for task in tasks.iter().step_by(7) {
            task.abort();
        }
        for task in tasks {
            let _ = task.await;
        }
        assert!(done.load(Ordering::Relaxed) >= 850);
        let state = turnstile.state();
        assert_eq!((state.free, state.queue.len(), gauge.get()), (2, 0, 0));
    }

    #[tokio::test]
    async fn who_waits_for_others_holds_no_turn_and_a_half_done_handshake_is_finished_first() {
        let turnstile = Turnstile::new(1, Gauge::default());
        let mut silent = Paced::new(&turnstile, who(1, Stage::New), std::future::pending::<()>());
        assert!(poll!(&mut silent).is_pending() && poll!(&mut silent).is_pending());
        assert_eq!(turnstile.state().free, 1, "it waits for its peer, not for us");
        let mut holder = Paced::new(&turnstile, who(1, Stage::New), async {});
        let mut first = Paced::new(&turnstile, who(1, Stage::New), async {});
        let mut turns = 0;
        let two_turns = poll_fn(|cx| {
            turns += 1;
            cx.waker().wake_by_ref();
            if turns == 2 { Poll::Ready(()) } else { Poll::Pending }
        });
        let mut handshake = Paced::new(&turnstile, who(1, Stage::Begins), two_turns);
        assert!(poll!(&mut handshake).is_pending() && poll!(&mut handshake).is_pending());
        assert!(poll!(&mut holder).is_pending() && poll!(&mut first).is_pending());
        assert!(poll!(&mut handshake).is_pending(), "its second turn");
        assert!(poll!(&mut holder).is_ready());
        assert!(poll!(&mut first).is_pending());
        assert!(poll!(&mut handshake).is_ready());
        assert!(poll!(&mut first).is_ready());
        drop(silent);
        drop(poll_fn(|cx| Poll::Ready(turnstile.ask(who(1, Stage::New), cx))).await);
        assert_eq!(turnstile.state().free, 1);
    }
}
