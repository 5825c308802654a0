//! How many refusals are told to the log: strangers must not be able to fill it. Metrics count all of them.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

/// Refusals logged in one second; what goes beyond is logged for debugging only.
const PER_SECOND: u32 = 20;

/// A budget of log lines for each second.
#[derive(Debug, Default)]
pub(super) struct LogBudget {
    second: AtomicI64,
    used: AtomicU32,
}

impl LogBudget {
    /// Whether there is room for one more line. Approximate at the turn of a second, which does not matter here.
    pub(super) fn allows(&self, now_s: i64) -> bool {
        if self.second.swap(now_s, Ordering::Relaxed) != now_s {
            self.used.store(0, Ordering::Relaxed);
        }
        self.used.fetch_add(1, Ordering::Relaxed) < PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_lines_and_the_next_has_them_again() {
        let budget = LogBudget::default();
        assert_eq!((0..100).filter(|_| budget.allows(7)).count(), 20);
        assert!(budget.allows(8));
    }
}
