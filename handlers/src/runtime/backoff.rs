//! How long to wait before the next attempt.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Waits that double from `first` up to `longest`, each shortened by a random part of up to a half, so that many
/// waiters do not come back at the same moment.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    jitter: Jitter,
}

/// A source of randomness, passed in so that a run can be replayed. Clones share it.
#[derive(Clone, Debug)]
pub struct Jitter(Arc<Mutex<StdRng>>);

impl Jitter {
    /// The same waits for the same seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Seeded by the machine.
    #[must_use]
    pub fn from_machine() -> Self {
        Self(Arc::new(Mutex::new(rand::make_rng())))
    }

    /// Random bytes.
    pub(super) fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(&mut bytes);
        bytes
    }

    fn fraction(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random_range(0.0..1.0)
    }
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration, jitter: Jitter) -> Self {
        Self { first, longest, failures: 0, jitter }
    }

    /// The wait after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.longest).mul_f64(1.0 - self.jitter.fraction() / 2.0)
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_never_shrink_below_a_half() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2), Jitter::from_seed(7));
        for expected_ms in [100, 200, 400, 800, 1600, 2000, 2000] {
            let expected = Duration::from_millis(expected_ms);
            let wait = backoff.next();
            assert!(wait <= expected && wait >= expected / 2, "{wait:?} for {expected:?}");
        }
        for _ in 0..100 {
            assert!(backoff.next() <= Duration::from_secs(2));
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
