//! How fast a project's messages are handed to FCM: below its quota, and, when asked, away from the full quarter hours
//! at which everybody else sends ("Best practices when sending FCM messages at scale").

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidings_shared::push_api::Push;

/// A quarter of an hour.
const QUARTER_MS: i64 = 15 * 60_000;
/// What may be sent at once after a silence, as time at the full rate.
const BURST_US: i64 = 1_000_000;

/// Paces one project, whatever number of apps uses it.
#[derive(Debug)]
pub struct Pacer {
    /// The time that one message takes of the quota.
    interval_us: i64,
    quarter_hour_pause_ms: i64,
    /// When the quota would be used up to, had nothing been sent at once (the generic cell rate algorithm).
    used_up_to_us: Mutex<i64>,
}

impl Pacer {
    /// `per_minute` messages a minute. Pushes that nobody waits for keep away from each full quarter hour for
    /// `quarter_hour_pause`, and are spread over the same time again; zero: they do not.
    #[must_use]
    pub fn new(per_minute: u64, quarter_hour_pause: Duration) -> Self {
        let per_minute = i64::try_from(per_minute.max(1)).unwrap_or(i64::MAX);
        let pause = i64::try_from(quarter_hour_pause.as_millis()).unwrap_or(0);
        Self {
            interval_us: 60_000_000 / per_minute,
            quarter_hour_pause_ms: pause.min(QUARTER_MS / 2),
            used_up_to_us: Mutex::new(0),
        }
    }

    /// Takes the place of one message, or says when to ask again.
    pub(super) fn admit(&self, now_ms: i64) -> Result<(), Duration> {
        let now_us = now_ms.saturating_mul(1000);
        let mut used = self.used_up_to_us.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead_us = *used - now_us;
        if ahead_us > BURST_US {
            return Err(Duration::from_micros((ahead_us - BURST_US).unsigned_abs()).max(Duration::from_millis(1)));
        }
        *used = (*used).max(now_us) + self.interval_us;
        Ok(())
    }

    /// How long this push keeps away from the full quarter hour. A wake push never does: somebody waits for it.
    pub(super) fn keep_away(&self, push: &Push, id: &str, now_ms: i64) -> Option<Duration> {
        let since_quarter = now_ms.rem_euclid(QUARTER_MS);
        if since_quarter >= self.quarter_hour_pause_ms || matches!(push, Push::Wake {}) {
            return None;
        }
        let left = self.quarter_hour_pause_ms - since_quarter;
        // From the push's name, so that a run can be repeated.
        let spread = id.bytes().fold(0_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let spread = spread % self.quarter_hour_pause_ms.unsigned_abs();
        Some(Duration::from_millis(left.unsigned_abs() + spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_no_more_than_its_quota_and_a_second_at_once() {
        let pacer = Pacer::new(6_000, Duration::ZERO);
        let start = 1_700_000_000_000;
        let burst = (0..1000).filter(|_| pacer.admit(start).is_ok()).count();
        assert!((100..=102).contains(&burst), "{burst}");
        let wait = pacer.admit(start).unwrap_err();
        assert!(wait <= Duration::from_millis(20), "{wait:?}");
        let minute = (1..=60_000).filter(|ms| pacer.admit(start + ms).is_ok()).count();
        assert!((5_990..=6_001).contains(&minute), "{minute}");
        // After a silence there is a second's worth again, not more.
        let burst = (0..1000).filter(|_| pacer.admit(start + 600_000).is_ok()).count();
        assert!((100..=102).contains(&burst), "{burst}");
    }

    #[test]
    fn pushes_keep_away_from_the_full_quarter_hours_when_asked() {
        let alert: Push = serde_json::from_str(r#"{"kind":"alert","title":"t"}"#).unwrap();
        let quarter = 1_700_000_100_000 - 1_700_000_100_000_i64.rem_euclid(QUARTER_MS);
        let two = Duration::from_secs(120);
        let pacer = Pacer::new(600_000, two);
        for id in ["a", "b", "c"] {
            let wait = pacer.keep_away(&alert, id, quarter + 30_000).unwrap();
            assert!((Duration::from_secs(90)..Duration::from_secs(210)).contains(&wait), "{wait:?}");
        }
        assert_eq!(pacer.keep_away(&alert, "a", quarter + 120_000), None);
        assert_eq!(pacer.keep_away(&alert, "a", quarter - 1), None);
        assert_eq!(pacer.keep_away(&Push::Wake {}, "a", quarter), None);
        assert_eq!(Pacer::new(600_000, Duration::ZERO).keep_away(&alert, "a", quarter), None);
    }
}
