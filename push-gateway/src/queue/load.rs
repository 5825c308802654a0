//! How full the queue is, and whether there is room for more. Nothing is counted in the database for a request: the
//! numbers are kept here, and put right by the measurement that is made every few seconds anyway. With several
//! processes on one database each learns of the others' pushes by that measurement.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The longest pause that a sender is asked for, in seconds.
const LONGEST: i64 = 60;

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Load {
    bounds: Bounds,
    state: Mutex<State>,
}

/// How long the queue may get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// In all.
    pub(crate) all: i64,
    /// Of one app at one provider.
    pub(crate) app: i64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { all: i64::MAX, app: i64::MAX }
    }
}

#[derive(Debug, Default)]
struct State {
    lanes: HashMap<String, i64>,
    /// What was added and what ended since the start, and when that was last looked at.
    added: HashMap<String, i64>,
    ended: i64,
    looked: Option<(i64, i64)>,
    ended_per_second: f64,
}

/// There is no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// The lane, when it is one app's queue that is full and not the whole.
    pub(crate) lane: Option<String>,
    /// How many wait.
    pub(crate) length: i64,
    /// How many may.
    pub(crate) bound: i64,
    /// When there may be room, in seconds.
    pub(crate) retry_after_s: u64,
}

/// The numbers when a measurement began.
#[derive(Clone, Debug)]
pub(crate) struct Before(HashMap<String, i64>);

impl Load {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, state: Mutex::default() }
    }

    /// Makes room for pushes on these lanes, or says why there is none. What is not stored after all is given back
    /// with [`Load::ended`].
    pub(crate) fn admit(&self, lanes: &HashMap<String, i64>) -> Result<(), Full> {
        self.admit_within(self.bounds, lanes)
    }

    /// The most pushes that are added at once by whoever adds many in portions: at most a quarter of what there is room for.
    pub(crate) fn portion(&self, most: i64) -> i64 {
        (self.bounds.all.min(self.bounds.app) / 4).min(most).max(1)
    }

    /// Makes room for a portion, if there is room. It can wait: the last quarter of the queue is left to those who cannot,
    /// and before the first measurement nobody knows what waits.
    pub(crate) fn admit_portion(&self, lanes: &HashMap<String, i64>) -> bool {
        let Bounds { all, app } = self.bounds;
        let measured = self.lock().looked.is_some();
        measured && self.admit_within(Bounds { all: all - all / 4, app: app - app / 4 }, lanes).is_ok()
    }

    fn admit_within(&self, bounds: Bounds, lanes: &HashMap<String, i64>) -> Result<(), Full> {
        let mut state = self.lock();
        let more: i64 = lanes.values().sum();
        let all: i64 = state.lanes.values().sum();
        if all > 0 && all.saturating_add(more) > bounds.all {
            let retry_after_s = state.patience(all + more - bounds.all);
            return Err(Full { lane: None, length: all, bound: bounds.all, retry_after_s });
        }
        for (lane, more) in lanes {
            let length = state.lanes.get(lane).copied().unwrap_or(0);
            // A request that is larger than the bound itself must be possible when nothing waits.
            if length > 0 && length.saturating_add(*more) > bounds.app {
                let retry_after_s = state.patience(length + more - bounds.app);
                return Err(Full { lane: Some(lane.clone()), length, bound: bounds.app, retry_after_s });
            }
        }
        for (lane, more) in lanes {
            state.change(lane, *more);
        }
        Ok(())
    }

    /// So many pushes of a lane wait no more.
    pub(crate) fn ended(&self, lane: &str, count: i64) {
        let mut state = self.lock();
        state.change(lane, -count);
        state.ended += count;
    }

    /// To be kept while the queue is measured.
    pub(crate) fn before(&self) -> Before {
        Before(self.lock().added.clone())
    }

    /// Takes the measured lengths over, with what has changed since `before`.
    pub(crate) fn measured(&self, before: &Before, lengths: &HashMap<String, i64>, now_ms: i64) {
        let mut state = self.lock();
        let changes: Vec<(String, i64)> = state
            .added
            .iter()
            .map(|(lane, added)| (lane.clone(), added - before.0.get(lane).copied().unwrap_or(0)))
            .collect();
        state.lanes.clone_from(lengths);
        for (lane, change) in changes {
            let length = state.lanes.entry(lane).or_default();
            *length = (*length + change).max(0);
        }
        if let Some((ended, at)) = state.looked
            && now_ms > at
        {
            state.ended_per_second = (state.ended - ended) as f64 * 1000.0 / (now_ms - at) as f64;
        }
        state.looked = Some((state.ended, now_ms));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn change(&mut self, lane: &str, by: i64) {
        for numbers in [&mut self.lanes, &mut self.added] {
            match numbers.get_mut(lane) {
                Some(number) => *number += by,
                None => drop(numbers.insert(lane.to_owned(), by)),
            }
        }
        if let Some(length) = self.lanes.get_mut(lane) {
            *length = (*length).max(0);
        }
    }

    /// How long it takes until so many have ended, at the present pace.
    fn patience(&self, places: i64) -> u64 {
        let seconds = if self.ended_per_second > 0.0 { places as f64 / self.ended_per_second } else { 5.0 };
        (seconds.ceil() as u64).clamp(1, LONGEST.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(lane: &str, count: i64) -> HashMap<String, i64> {
        HashMap::from([(lane.to_owned(), count)])
    }

    #[test]
    fn a_full_queue_says_how_long_it_is_and_when_to_come_back() {
        let load = Load::new(Bounds { all: 150, app: 100 });
        load.admit(&one("a", 90)).unwrap();
        let full = load.admit(&one("a", 11)).unwrap_err();
        assert_eq!((full.lane.as_deref(), full.length, full.bound, full.retry_after_s), (Some("a"), 90, 100, 5));
        load.admit(&one("b", 60)).unwrap();
        let full = load.admit(&one("c", 1)).unwrap_err();
        assert_eq!((full.lane, full.length, full.bound), (None, 150, 150));
        load.measured(&load.before(), &HashMap::from([("a".to_owned(), 90), ("b".to_owned(), 60)]), 0);
        load.ended("a", 20);
        load.measured(&load.before(), &HashMap::from([("a".to_owned(), 70), ("b".to_owned(), 60)]), 10_000);
        load.admit(&one("c", 1)).unwrap();
        // Two a second end, thirty places are wanted.
        assert_eq!(load.admit(&one("c", 49)).unwrap_err().retry_after_s, 15);
    }

    #[test]
    fn portions_wait_for_room_and_leave_the_last_quarter_to_others() {
        let load = Load::new(Bounds { all: 120, app: 100 });
        assert_eq!((load.portion(500), load.portion(10)), (25, 10));
        assert!(!load.admit_portion(&one("a", 25)), "what waits is not known yet");
        load.measured(&load.before(), &HashMap::new(), 0);
        for _ in 0..3 {
            assert!(load.admit_portion(&one("a", 25)));
        }
        assert!(!load.admit_portion(&one("a", 1)));
        assert!(load.admit_portion(&one("b", 15)));
        assert!(!load.admit_portion(&one("b", 1)), "three quarters of all");
        load.admit(&one("a", 25)).unwrap();
        load.ended("a", 50);
        assert!(load.admit_portion(&one("a", 25)));
        let tiny = Load::new(Bounds { all: 1, app: 1 });
        tiny.measured(&tiny.before(), &HashMap::new(), 0);
        assert!(tiny.portion(500) == 1 && tiny.admit_portion(&one("a", 1)) && !tiny.admit_portion(&one("a", 1)));
    }

    #[test]
    fn what_happens_while_the_queue_is_measured_is_not_forgotten() {
        let load = Load::new(Bounds { all: 100, app: 100 });
        load.admit(&one("a", 50)).unwrap();
        let before = load.before();
        load.admit(&one("a", 30)).unwrap();
        load.ended("a", 10);
        load.measured(&before, &one("a", 50), 0);
        assert_eq!(load.admit(&one("a", 31)).unwrap_err().length, 70);
    }

    #[test]
    fn an_empty_queue_takes_a_request_of_any_size() {
        let load = Load::new(Bounds { all: 10, app: 10 });
        load.admit(&one("a", 1000)).unwrap();
        assert!(load.admit(&one("a", 1)).is_err());
    }
}
