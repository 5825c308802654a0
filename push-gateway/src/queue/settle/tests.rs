use std::sync::Arc;

use tidings_shared::push_api::{Environment, Push};

use super::*;
use crate::testing::{DAY, START, answer};

const POLICY: RetryPolicy = RetryPolicy {
    first: Duration::from_secs(10),
    longest: Duration::from_secs(900),
    give_up: Duration::from_secs(3600),
};

fn claimed() -> Claimed {
    Claimed {
        priority: tidings_shared::push_api::Priority::Normal,
        cancelled: false,
        id: "01990000-0000-7000-8000-000000000001".to_owned(),
        lease: "lease".to_owned(),
        push: Arc::new(Push::Wake {}),
        collapse_id: None,
        environment: Environment::Production,
        tried_other: false,
        attempts: 1,
        first_attempt_at: START,
        expires_at: START + DAY,
        maybe_taken: false,
        last_reason: None,
        recipient: Recipient::Device {
            id: "d".to_owned(),
            token: "t".to_owned(),
            generation: 1,
            registered_at: START - 500,
        },
    }
}

fn settled(target: &Claimed, outcome: Outcome, now_ms: i64) -> Settlement {
    settle(target, &answer(outcome, "BadDeviceToken"), true, &POLICY, now_ms)
}

#[test]
fn final_answers_are_final() {
    for (outcome, state) in [(Outcome::Accepted, TargetState::Accepted), (Outcome::Dead, TargetState::Dead)] {
        let settlement = settled(&claimed(), outcome, START);
        assert_eq!((settlement.state, settlement.due_at, settlement.token_gone), (state, None, None));
    }
}

#[test]
fn a_token_registered_after_the_provider_gave_it_up_is_kept() {
    let gone = |at| settled(&claimed(), Outcome::DropToken(TokenGone::At(at)), START);
    assert_eq!(gone(START).token_gone, Some(TokenGone::At(START)));
    assert_eq!(gone(START - 500).token_gone, None);
    assert_eq!(gone(START - 501).token_gone, None);
    assert_eq!(gone(START).state, TargetState::Dead);
}

#[test]
fn the_other_environment_is_tried_once_and_at_once() {
    let first = settled(&claimed(), Outcome::OtherEnvironment, START);
    assert_eq!((first.state, first.due_at, first.other_environment), (TargetState::Retrying, Some(START), true));
    let tried = Claimed { tried_other: true, ..claimed() };
    let second = settled(&tried, Outcome::OtherEnvironment, START);
    assert_eq!((second.state, second.due_at), (TargetState::Dead, None));
    assert_eq!(second.token_gone, Some(TokenGone::Now));
}

#[test]
fn a_wrong_topic_never_costs_a_registration() {
    let tried = Claimed { tried_other: true, ..claimed() };
    let wrong_topic = answer(Outcome::OtherEnvironment, "DeviceTokenNotForTopic");
    let settlement = settle(&tried, &wrong_topic, true, &POLICY, START);
    assert_eq!((settlement.state, settlement.token_gone), (TargetState::Dead, None));
    let no_other = settle(&claimed(), &answer(Outcome::OtherEnvironment, "BadDeviceToken"), false, &POLICY, START);
    assert_eq!((no_other.state, no_other.token_gone), (TargetState::Dead, None));
}

#[test]
fn pauses_double_with_jitter_and_have_a_longest() {
    for (attempts, least, most) in
        [(1, 10_000, 15_000), (2, 20_000, 30_000), (5, 160_000, 240_000), (40, 900_000, 1_350_000)]
    {
        let target = Claimed { attempts, ..claimed() };
        let settlement = settled(&target, Retry::soon(), START);
        let pause = settlement.due_at.unwrap() - START;
        assert!((least..=most).contains(&pause), "attempt {attempts}: {pause}");
        assert_eq!(settlement.state, TargetState::Retrying);
    }
}

#[test]
fn what_the_provider_asks_for_is_kept() {
    let settlement = settled(&claimed(), Retry::after(Duration::from_secs(7)), START);
    assert_eq!(settlement.due_at, Some(START + 7_000));
}

/// Web Push answers come from whoever was named as a push service.
#[test]
fn what_a_provider_asks_for_has_bounds() {
    let wait = |attempts, asked| {
        let target = Claimed { attempts, expires_at: i64::MAX, ..claimed() };
        settled(&target, Retry::after(asked), START).due_at.map(|due| due - START)
    };
    for (attempts, least) in [(1, 1_000), (2, 2_000), (4, 8_000), (30, 900_000)] {
        assert_eq!(wait(attempts, Duration::ZERO), Some(least), "no loop: attempt {attempts}");
    }
    assert_eq!(wait(4, Duration::from_secs(9)), Some(9_000));
    assert_eq!(wait(1, Duration::from_secs(u64::MAX)), Some(28 * DAY));
    let far = Claimed { expires_at: i64::MAX, ..claimed() };
    let at_the_end_of_time = settled(&far, Retry::after(Duration::MAX), i64::MAX - 1);
    assert_eq!((at_the_end_of_time.state, at_the_end_of_time.due_at), (TargetState::Expired, None));
    // Our own pace is not the provider's.
    let paced = Retry { after: Some(Duration::from_millis(5)), unreached: true, ..Retry::default() };
    let target = Claimed { attempts: 9, ..claimed() };
    assert_eq!(settled(&target, Outcome::Retry(paced), START).due_at, Some(START + 5));
}

#[test]
fn a_provider_that_only_errs_is_given_up_but_one_that_is_not_reached_is_not() {
    let hour = START + 3_600_000;
    assert_eq!(settled(&claimed(), Retry::soon(), hour).state, TargetState::Dead);
    assert_eq!(settled(&claimed(), Retry::unreached(), hour).state, TargetState::Retrying);
}

#[test]
fn nothing_is_tried_beyond_its_time() {
    let end = Claimed { expires_at: START + 5_000, ..claimed() };
    assert_eq!(settled(&end, Retry::soon(), START).state, TargetState::Expired);
    assert_eq!(settled(&end, Retry::unanswered(), START).state, TargetState::Unknown);
    let once = Claimed { expires_at: 0, ..claimed() };
    assert_eq!(settled(&once, Retry::soon(), START).state, TargetState::Expired);
    assert_eq!(settled(&once, Retry::unanswered(), START).state, TargetState::Unknown);
}

#[test]
fn an_unanswered_attempt_is_not_forgotten() {
    let first = settled(&claimed(), Retry::unanswered(), START);
    assert_eq!((first.state, first.maybe_taken), (TargetState::Retrying, true));
    let later = Claimed { maybe_taken: true, attempts: 2, ..claimed() };
    assert_eq!(settled(&later, Outcome::Dead, START).state, TargetState::Unknown);
    assert_eq!(settled(&later, Outcome::Accepted, START).state, TargetState::Accepted);
}

#[test]
fn a_pause_costs_no_attempt() {
    let settlement = settled(&claimed(), Outcome::Pause, START);
    assert_eq!((settlement.state, settlement.due_at, settlement.uncounted), (TargetState::Queued, Some(START), true));
}

#[test]
fn what_is_over_is_not_sent() {
    assert_eq!(before_sending(&claimed(), START), None);
    let state = |target: &Claimed, now| before_sending(target, now).map(|(settlement, _)| settlement.state);
    assert_eq!(state(&claimed(), START + DAY), Some(TargetState::Expired));
    assert_eq!(state(&Claimed { maybe_taken: true, ..claimed() }, START + DAY), Some(TargetState::Unknown));
    assert_eq!(state(&Claimed { recipient: Recipient::Gone, ..claimed() }, START), Some(TargetState::Dead));
    assert_eq!(state(&Claimed { expires_at: 0, ..claimed() }, START), None);
    let again = Claimed { expires_at: 0, attempts: 2, maybe_taken: true, ..claimed() };
    assert_eq!(state(&again, START), Some(TargetState::Unknown));
}
