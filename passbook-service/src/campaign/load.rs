//! How this service answers devices: latencies and errors of the list and of getting a pass, measured by each process and
//! added up over all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::governor::Feedback;

/// Latency classes: the first ends at 0.25 ms, each ends at the square root of two times the one before, up to 4 minutes.
const CLASSES: usize = 40;
const FIRST_MS: f64 = 0.25;

/// What a device asks for that tells how the service bears its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// What changed?
    List,
    /// A pass.
    Get,
}

/// Counts the answers of this process. Cheap to clone; counting takes no lock.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    list: [AtomicU64; CLASSES],
    get: [AtomicU64; CLASSES],
    errors: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { list: zeros(), get: zeros(), errors: AtomicU64::new(0) }
    }
}

impl Meter {
    /// One answer. `failed`: its status was 5xx or 408.
    pub fn note(&self, question: Question, time: Duration, failed: bool) {
        let classes = match question {
            Question::List => &self.0.list,
            Question::Get => &self.0.get,
        };
        classes[class_of(time.as_secs_f64() * 1000.0)].fetch_add(1, Ordering::Relaxed);
        if failed {
            self.0.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted since the start of the process.
    #[must_use]
    pub fn sample(&self) -> Sample {
        let read = |classes: &[AtomicU64; CLASSES]| classes.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Sample { list: read(&self.0.list), get: read(&self.0.get), errors: self.0.errors.load(Ordering::Relaxed) }
    }
}

/// Counts of answers by latency class. As JSON it is what processes tell each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    list: Vec<u64>,
    get: Vec<u64>,
    errors: u64,
}

impl Sample {
    /// What came since an earlier sample of the same process. A process that began anew counts from zero.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let restarted = self.errors < earlier.errors
            || self.list.iter().zip(&earlier.list).any(|(now, before)| now < before)
            || self.get.iter().zip(&earlier.get).any(|(now, before)| now < before);
        if restarted {
            return self.clone();
        }
        let less = |now: &[u64], before: &[u64]| {
            now.iter()
                .zip(before.iter().copied().chain(std::iter::repeat(0)))
                .map(|(now, before)| now - before)
                .collect()
        };
        Self {
            list: less(&self.list, &earlier.list),
            get: less(&self.get, &earlier.get),
            errors: self.errors - earlier.errors,
        }
    }

    /// Adds another process's.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [(&mut self.list, &other.list), (&mut self.get, &other.get)] {
            if mine.len() < theirs.len() {
                mine.resize(theirs.len(), 0);
            }
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
        self.errors += other.errors;
    }

    /// As the governor wants it.
    #[must_use]
    pub fn feedback(&self, held_back: bool) -> Feedback {
        Feedback {
            lists: self.list.iter().sum(),
            list_ms: percentile_99(&self.list),
            gets: self.get.iter().sum(),
            get_ms: percentile_99(&self.get),
            errors: self.errors,
            held_back,
            pushed: 0,
        }
    }
}

fn class_of(ms: f64) -> usize {
    let class = ((ms / FIRST_MS).max(1.0).log2() * 2.0).ceil();
    // A non-negative whole number that is far below the limits of either type.
    (class as usize).min(CLASSES - 1)
}

/// The upper end of the class that the 99th percentile is in, ms; 0 when there is nothing.
fn percentile_99(classes: &[u64]) -> f64 {
    let total: u64 = classes.iter().sum();
    let mut left = total - total / 100;
    for (class, count) in (0_i32..).zip(classes) {
        if *count >= left && left > 0 {
            return FIRST_MS * 2.0_f64.powf(f64::from(class) / 2.0);
        }
        left -= (*count).min(left);
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_found_within_a_class() {
        let meter = Meter::default();
        for ms in 1..=1000 {
            meter.note(Question::List, Duration::from_millis(ms), ms % 100 == 0);
        }
        let feedback = meter.sample().feedback(false);
        assert_eq!((feedback.lists, feedback.gets, feedback.errors), (1000, 0, 10));
        assert!((990.0..=990.0 * 1.4143).contains(&feedback.list_ms), "{}", feedback.list_ms);
        assert_eq!(feedback.get_ms, 0.0);
    }

    #[test]
    fn samples_of_several_processes_add_up_and_only_what_is_new_counts() {
        let (one, two) = (Meter::default(), Meter::default());
        one.note(Question::Get, Duration::from_millis(10), false);
        let before = one.sample();
        for _ in 0..99 {
            one.note(Question::Get, Duration::from_millis(10), false);
        }
        for _ in 0..10 {
            two.note(Question::Get, Duration::from_secs(3), true);
        }
        let mut all = Sample::default();
        all.add(&one.sample().since(&before));
        all.add(&two.sample().since(&Sample::default()));
        let feedback = all.feedback(true);
        assert_eq!((feedback.gets, feedback.errors, feedback.held_back), (109, 10, true));
        assert!(feedback.get_ms >= 3000.0, "a tenth of the answers was slow: {}", feedback.get_ms);
        assert_eq!(two.sample().since(&one.sample()), two.sample(), "a process that began anew counts from zero");
        let told: Sample = serde_json::from_str(&serde_json::to_string(&all).unwrap()).unwrap();
        assert_eq!(told, all);
    }

    #[test]
    fn every_latency_has_a_class() {
        for (ms, class) in [(0.0, 0), (0.25, 0), (0.3, 1), (0.5, 2), (1.0, 4), (1e12, CLASSES - 1)] {
            assert_eq!(class_of(ms), class, "{ms}");
        }
    }
}
