//! A bound on how often something is asked for, whoever makes us ask.

use std::sync::{Mutex, PoisonError};

use crate::clock::Clock;

/// So many at once, then one for each interval.
#[derive(Debug)]
pub(super) struct Bucket {
    at_once: i64,
    interval_ms: i64,
    clock: Clock,
    /// When the bucket is full again.
    full_at_ms: Mutex<i64>,
}

impl Bucket {
    pub(super) fn new(at_once: i64, interval_ms: i64, clock: Clock) -> Self {
        Self { at_once, interval_ms, clock, full_at_ms: Mutex::new(i64::MIN) }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&self) -> bool {
        let now = self.clock.now_ms();
        let mut full_at = self.full_at_ms.lock().unwrap_or_else(PoisonError::into_inner);
        // Later than an empty bucket allows: the clock was set back.
        if *full_at > now.saturating_add(self.at_once * self.interval_ms) {
            *full_at = now;
        }
        if *full_at > now.saturating_add((self.at_once - 1) * self.interval_ms) {
            return false;
        }
        *full_at = (*full_at).max(now) + self.interval_ms;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_once_then_one_for_each_interval() {
        let clock = Clock::manual(1_000_000);
        let bucket = Bucket::new(3, 1_000, clock.clone());
        assert_eq!([bucket.take(), bucket.take(), bucket.take(), bucket.take()], [true, true, true, false]);
        clock.advance(999);
        assert!(!bucket.take());
        clock.advance(1);
        assert_eq!([bucket.take(), bucket.take()], [true, false]);
        clock.advance(-500_000);
        assert!(bucket.take(), "a clock that was set back locks nobody out");
        clock.advance(3_600_000);
        assert_eq!([bucket.take(), bucket.take(), bucket.take(), bucket.take()], [true, true, true, false]);
    }
}
