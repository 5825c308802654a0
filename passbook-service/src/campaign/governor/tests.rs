//! Promises: the rate finds what the service can bear, stays within its limits, and gives way at once.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { floor: 10.0, ceiling: 2010.0, list_ms: 250.0, get_ms: 500.0, errors_per_mille: 10.0 };

fn healthy() -> Feedback {
    Feedback { lists: 1000, list_ms: 5.0, gets: 1000, get_ms: 20.0, errors: 0, held_back: false, pushed: 0 }
}

/// A service that answers this many pushes a second well. Phones come `delay` steps after their push.
struct Service {
    capacity: f64,
    delayed: std::collections::VecDeque<f64>,
}

impl Service {
    fn new(capacity: f64, delay: usize) -> Self {
        Self { capacity, delayed: std::iter::repeat_n(0.0, delay).collect() }
    }

    fn feedback(&mut self, rate: f64) -> Feedback {
        self.delayed.push_back(rate);
        let load = self.delayed.pop_front().unwrap() / self.capacity;
        let slow = if load > 1.0 { 50.0 } else { 1.0 };
        Feedback {
            lists: 500,
            list_ms: 20.0 * slow,
            gets: 500,
            get_ms: 30.0 * slow,
            errors: 0,
            held_back: false,
            pushed: 0,
        }
    }
}

#[test]
fn it_climbs_to_the_ceiling_of_a_service_that_bears_everything() {
    let mut governor = Governor::new(LIMITS, 0.0);
    assert_eq!(governor.rate(), 10.0, "it begins at the floor");
    let steps = (1..).find(|_| governor.step(&healthy()) == Step::Held).unwrap();
    assert_eq!(governor.rate(), 2010.0);
    assert_eq!(steps, 41);
}

#[test]
fn it_settles_around_what_the_service_can_bear() {
    for (capacity, delay) in [(400.0, 0), (400.0, 2), (1500.0, 3), (60.0, 1)] {
        let mut governor = Governor::new(LIMITS, 0.0);
        let mut service = Service::new(capacity, delay);
        let rates: Vec<f64> = (0..600)
            .map(|_| {
                let feedback = service.feedback(governor.rate());
                governor.step(&feedback);
                governor.rate()
            })
            .collect();
        let late = &rates[200..];
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        assert!((0.5 * capacity..1.1 * capacity).contains(&mean), "capacity {capacity}, delay {delay}: mean {mean}");
        // What it overshoots by: one step for each step that the answer is late.
        let most = late.iter().copied().fold(0.0, f64::max);
        assert!(most <= capacity + 50.0 * (delay as f64 + 2.0), "capacity {capacity}, delay {delay}: {most}");
    }
}

#[test]
fn each_kind_of_trouble_halves_the_rate_once_and_is_named() {
    for (feedback, word) in [
        (Feedback { list_ms: 900.0, ..healthy() }, "the list takes 900 ms"),
        (Feedback { get_ms: 900.0, ..healthy() }, "getting a pass takes 900 ms"),
        (Feedback { errors: 40, ..healthy() }, "40 of 2000"),
        (Feedback { held_back: true, ..healthy() }, "push-gateway"),
    ] {
        let mut governor = Governor::new(LIMITS, 1000.0);
        let Step::Lowered(why) = governor.step(&feedback) else { panic!("not lowered: {feedback:?}") };
        assert!(why.contains(word), "{why}");
        assert_eq!(governor.rate(), 500.0);
        assert_eq!(governor.step(&feedback), Step::Held, "the reduction has yet to show");
        assert_eq!(governor.rate(), 500.0);
    }
}

#[test]
fn a_lasting_trouble_leads_to_the_floor_and_its_end_back_up() {
    let mut governor = Governor::new(LIMITS, 2010.0);
    for _ in 0..60 {
        governor.step(&Feedback { errors: 1000, ..healthy() });
    }
    assert_eq!(governor.rate(), 10.0);
    for _ in 0..60 {
        governor.step(&healthy());
    }
    assert_eq!(governor.rate(), 2010.0);
}

#[test]
fn a_few_answers_are_no_measurement() {
    let mut governor = Governor::new(LIMITS, 100.0);
    let few = Feedback { lists: 5, list_ms: 9000.0, gets: 5, get_ms: 9000.0, errors: 2, held_back: false, pushed: 0 };
    assert_eq!(governor.step(&few), Step::Raised);
    assert_eq!(governor.step(&Feedback::default()), Step::Raised, "nobody asks: nothing is wrong");
}

#[test]
fn the_pace_gives_what_the_rate_allows_and_never_more_than_a_second_at_once() {
    let mut pace = Pace::default();
    pace.gather(3600.0, 100.0);
    assert_eq!(pace.take(100, 100.0), 0.0, "after an hour's pause there is one second's worth");
    assert!((pace.take(50, 100.0) - 0.5).abs() < 1e-9);
    let mut pace = Pace::default();
    let (mut sent, mut time) = (0_u32, 0.0);
    while time < 60.0 {
        let wait = pace.take(7, 20.0);
        sent += 7;
        time += wait;
        pace.gather(wait, 20.0);
    }
    assert!((1180..=1230).contains(&sent), "{sent} in a minute at 20 a second");
}

fn any_feedback() -> impl Strategy<Value = Feedback> {
    (0..2000_u64, 0.0..2000.0, 0..2000_u64, 0.0..2000.0, 0..200_u64, any::<bool>()).prop_map(
        |(lists, list_ms, gets, get_ms, errors, held_back)| Feedback {
            lists,
            list_ms,
            gets,
            get_ms,
            errors,
            held_back,
            pushed: 0,
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_measured_the_rate_stays_within_its_limits_and_moves_the_right_way(
        begin in 0.0..5000.0,
        measured in proptest::collection::vec(any_feedback(), 1..200),
    ) {
        let mut governor = Governor::new(LIMITS, begin);
        for feedback in measured {
            let before = governor.rate();
            let step = governor.step(&feedback);
            prop_assert!((LIMITS.floor..=LIMITS.ceiling).contains(&governor.rate()));
            match step {
                Step::Raised => prop_assert!(governor.rate() > before && !feedback.held_back),
                Step::Held => prop_assert_eq!(governor.rate(), before),
                Step::Lowered(_) => prop_assert!(governor.rate() < before || before == LIMITS.floor),
            }
        }
    }
}

#[test]
fn it_holds_at_the_floor_while_nobody_who_was_pushed_asks() {
    let mut governor = Governor::new(LIMITS, 0.0);
    let nobody = |pushed| Feedback { pushed, ..Feedback::default() };
    assert_eq!(governor.step(&nobody(100)), Step::Raised, "phones take their time");
    let Step::Lowered(why) = governor.step(&nobody(400)) else { panic!("500 pushes to nobody") };
    assert!(why.contains("webServiceURL"), "{why}");
    for _ in 0..100 {
        assert_eq!(governor.step(&nobody(20)), Step::Held);
        assert_eq!(governor.rate(), 10.0);
    }
    assert_eq!(governor.step(&healthy()), Step::Raised, "somebody asks");
}
