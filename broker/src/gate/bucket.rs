//! Rates: so much in a second, and some seconds' worth at once. A bucket is one moment in time and costs no upkeep.

use std::time::Duration;

use tokio::time::Instant;

/// How much may come in a second, and for how long it may have been saved up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Per second; 0 for no limit.
    pub per_second: u64,
    /// So many seconds' worth may come at once.
    pub burst: Duration,
}

impl Rate {
    /// No limit.
    pub const OFF: Self = Self { per_second: 0, burst: Duration::ZERO };

    fn time_for(self, amount: u64) -> Duration {
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
    }
}

/// What one party has used of its rate (a token bucket, kept as the moment at which it is full again).
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// How long to wait until something may be taken; `None`: now.
    pub(super) fn wait(&self, now: Instant, rate: Rate) -> Option<Duration> {
        if rate.per_second == 0 {
            return None;
        }
        let burst = rate.burst.max(rate.time_for(1));
        let debt = self.full_at.saturating_duration_since(now) + rate.time_for(1).min(burst);
        debt.checked_sub(burst).filter(|wait| !wait.is_zero())
    }

    /// Takes an amount, which may be more than there is: what is owed has to be waited for before the next.
    pub(super) fn take(&mut self, now: Instant, amount: u64, rate: Rate) {
        if rate.per_second > 0 {
            self.full_at = self.full_at.max(now) + rate.time_for(amount);
        }
    }

    /// Whether nothing is owed any more: it may be forgotten.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate { per_second: 10, burst: Duration::from_secs(2) };

    #[tokio::test(start_paused = true)]
    async fn the_burst_comes_at_once_and_the_rest_at_the_rate() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        for number in 0..20 {
            assert_eq!(bucket.wait(now, RATE), None, "{number}");
            bucket.take(now, 1, RATE);
        }
        assert_eq!(bucket.wait(now, RATE), Some(Duration::from_millis(100)));
        assert_eq!(bucket.wait(now + Duration::from_millis(100), RATE), None);
        assert!(!bucket.is_full(now) && bucket.is_full(now + Duration::from_secs(2)));
        assert_eq!(Bucket::new(now).wait(now, Rate::OFF), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_the_burst_passes_once_and_is_paid_for() {
        let now = Instant::now();
        let mut bucket = Bucket::new(now);
        bucket.take(now, 100, RATE);
        assert_eq!(bucket.wait(now, RATE), Some(Duration::from_millis(8_100)));
        bucket.take(now, u64::MAX, RATE);
        assert!(bucket.wait(now, RATE).is_some());
    }

    proptest! {
        /// Whatever comes when: in any stretch of time no more passes than the rate, the burst and one more.
        #[test]
        fn no_more_than_the_rate_passes(steps in proptest::collection::vec((0_u64..400, 1_u64..5), 1..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let _inside = runtime.enter();
            let start = Instant::now();
            let (mut now, mut bucket, mut passed) = (start, Bucket::new(start), 0);
            for (pause, amount) in steps {
                now += Duration::from_millis(pause);
                if bucket.wait(now, RATE).is_none() {
                    bucket.take(now, amount, RATE);
                    passed += amount;
                }
                let allowed = (now - start).as_secs_f64() * 10.0 + 20.0 + 5.0;
                prop_assert!(passed as f64 <= allowed, "{passed} > {allowed}");
            }
        }
    }
}
