//! Limits by time: so many pushes a second for an app, so many in a while for a device. What is over a limit waits; it
//! is never lost. Each process counts by itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many pushes a second a lane sends: a bucket that holds what a tenth of a second brings, at least one.
#[derive(Debug)]
pub(crate) struct AppLimit {
    per_second: u64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    /// In thousandths, so that whole numbers do.
    tokens: u64,
    filled_at: i64,
}

impl AppLimit {
    /// 0: no limit.
    pub(crate) fn new(per_second: u64) -> Self {
        Self { per_second, bucket: Mutex::default() }
    }

    /// How many may be sent now, or when to ask again.
    pub(crate) fn allowance(&self, now_ms: i64) -> Result<usize, i64> {
        if self.per_second == 0 {
            return Ok(usize::MAX);
        }
        let mut bucket = self.lock();
        let most = (self.per_second * 100).max(1000);
        let passed = u64::try_from(now_ms - bucket.filled_at).unwrap_or(0);
        bucket.tokens = bucket.tokens.saturating_add(passed.saturating_mul(self.per_second)).min(most);
        bucket.filled_at = now_ms;
        if bucket.tokens >= 1000 {
            return Ok(usize::try_from(bucket.tokens / 1000).unwrap_or(usize::MAX));
        }
        // Enough to be worth a claim: half of what the bucket holds.
        let wanted = (most / 2).max(1000) - bucket.tokens;
        Err(now_ms + i64::try_from(wanted.div_ceil(self.per_second)).unwrap_or(i64::MAX))
    }

    /// So many are sent.
    pub(crate) fn spend(&self, count: usize) {
        if self.per_second > 0 {
            let mut bucket = self.lock();
            bucket.tokens = bucket.tokens.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(1000));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many pushes a device gets in a while. It gives out places in time (the generic cell rate algorithm): one number
/// for each device that has had a push lately, whatever the limit is.
#[derive(Debug)]
pub(crate) struct DeviceLimit {
    count: u64,
    window_ms: i64,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    /// By the device's name: when its places end.
    ends: HashMap<String, i64>,
    /// Looked through when there are as many.
    look_at: usize,
}

/// Fewer than this are not worth a look for those that are over.
const FEW: usize = 1024;

impl DeviceLimit {
    /// `count` pushes in any `window`; 0: no limit.
    pub(crate) fn new(count: u64, window: Duration) -> Self {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX).max(1);
        Self { count, window_ms, places: Mutex::default() }
    }

    /// The next place for a device: the past or now means that it may be sent.
    pub(crate) fn place(&self, device: &str, now_ms: i64) -> i64 {
        if self.count == 0 {
            return now_ms;
        }
        let step = (self.window_ms / i64::try_from(self.count).unwrap_or(i64::MAX)).max(1);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.ends.len() >= places.look_at.max(FEW) {
            places.ends.retain(|_, end| *end > now_ms);
            places.look_at = places.ends.len() * 2;
        }
        let begin = places.ends.get(device).copied().unwrap_or(now_ms).max(now_ms);
        places.ends.insert(device.to_owned(), begin.saturating_add(step));
        // All but one may come at once.
        begin.saturating_add(step).saturating_sub(self.window_ms).max(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_sends_so_many_a_second_and_is_told_when_there_is_more() {
        let limit = AppLimit::new(50);
        let mut sent = 0;
        let mut now = 1_000;
        while now < 11_000 {
            match limit.allowance(now) {
                Ok(free) => {
                    limit.spend(free);
                    sent += free;
                    now += 1;
                }
                Err(next) => now = next,
            }
        }
        assert!((500..=505).contains(&sent), "{sent} in ten seconds");
        assert_eq!(AppLimit::new(0).allowance(0), Ok(usize::MAX));
        assert_eq!(AppLimit::new(1).allowance(5_000), Ok(1));
    }

    #[test]
    fn a_device_gets_so_many_in_a_while_and_the_others_get_places_of_their_own() {
        let limit = DeviceLimit::new(3, Duration::from_secs(60));
        let places: Vec<i64> = (0..6).map(|_| limit.place("a", 1_000)).collect();
        assert_eq!(places, [1_000, 1_000, 1_000, 21_000, 41_000, 61_000]);
        assert_eq!(limit.place("b", 1_000), 1_000);
        assert_eq!(limit.place("a", 1_000_000), 1_000_000);
        let none = DeviceLimit::new(0, Duration::from_secs(60));
        assert!((0..100).all(|_| none.place("a", 5) == 5));
    }

    #[test]
    fn devices_that_had_nothing_lately_are_forgotten() {
        let limit = DeviceLimit::new(1, Duration::from_secs(1));
        for device in 0..100_000_i64 {
            limit.place(&device.to_string(), device * 10);
        }
        assert!(limit.places.lock().unwrap().ends.len() < 2 * FEW);
    }
}
