//! Waiting for an event, with a bound and a clear word when it does not come.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for something that usually takes well under a second. Generous, because debug builds on a
/// machine that compiles at the same time are slow; finite, because a test must end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A point in time after which a test gives up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    end: Instant,
    bound: Duration,
}

impl Deadline {
    /// A deadline this far away.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a test's patience is measured in real time")]
    pub fn after(bound: Duration) -> Self {
        Self { end: Instant::now() + bound, bound }
    }

    /// How much is left; zero when it has passed.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a test's patience is measured in real time")]
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }

    /// The whole bound, for messages.
    #[must_use]
    pub fn bound(&self) -> Duration {
        self.bound
    }
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none within the bound; the message names what was waited for.
pub fn eventually<T>(what: &str, bound: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(bound);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(!deadline.passed(), "waited {bound:?} for this, and it did not happen: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
