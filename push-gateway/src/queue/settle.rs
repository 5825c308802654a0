//! What a provider's answer makes of a target: pure decisions, no database.

use std::time::Duration;

use tidings_shared::push_api::TargetState;

use super::{Claimed, Recipient};
use crate::provider::{Answer, Outcome, Retry, TokenGone};

/// How long and how often a push is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryPolicy {
    /// The pause after the first failure; it doubles from there.
    pub(crate) first: Duration,
    /// The longest pause.
    pub(crate) longest: Duration,
    /// A provider that answers with errors for this long has refused the push.
    pub(crate) give_up: Duration,
}

/// What is to be recorded for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settlement {
    pub(crate) state: TargetState,
    /// When it is due again; `None` when the state is final.
    pub(crate) due_at: Option<i64>,
    /// This attempt says nothing about the push and is not counted.
    pub(crate) uncounted: bool,
    pub(crate) maybe_taken: bool,
    /// The next attempt goes to the other environment.
    pub(crate) other_environment: bool,
    /// The token is gone: the registration ends, if it is still the one that was used.
    pub(crate) token_gone: Option<TokenGone>,
}

impl Settlement {
    fn end(state: TargetState, target: &Claimed) -> Self {
        Self {
            state,
            due_at: None,
            uncounted: false,
            maybe_taken: target.maybe_taken,
            other_environment: false,
            token_gone: None,
        }
    }

    fn again(state: TargetState, due_at: i64, target: &Claimed) -> Self {
        Self { due_at: Some(due_at), ..Self::end(state, target) }
    }
}

/// What can be said of a claimed target without sending it.
pub(crate) fn before_sending(target: &Claimed, now_ms: i64) -> Option<(Settlement, Answer)> {
    let unsent = |state, reason: &str| {
        let answer =
            Answer { outcome: Outcome::Dead, status: None, reason: Some(reason.to_owned()), provider_id: None };
        Some((Settlement { uncounted: true, ..Settlement::end(state, target) }, answer))
    };
    if target.cancelled {
        return unsent(ended(target.maybe_taken, TargetState::Expired), "cancelled");
    }
    if matches!(target.recipient, Recipient::Gone) {
        return unsent(ended(target.maybe_taken, TargetState::Dead), "device_unregistered");
    }
    if over(target, now_ms) || (target.expires_at == 0 && target.attempts > 1 && target.maybe_taken) {
        return unsent(
            ended(target.maybe_taken, TargetState::Expired),
            target.last_reason.as_deref().unwrap_or("expired"),
        );
    }
    None
}

/// Why a push that a device may not have yet waits.
pub(crate) const RATE_LIMITED: &str = "rate_limited";
/// Why a push waits while its provider is away.
pub(crate) const CIRCUIT_OPEN: &str = "circuit_open";

/// Puts a claimed target back unsent, for a later time.
pub(crate) fn put_back(target: &Claimed, due_at: i64, reason: &str) -> (Settlement, Answer) {
    // What may have been handed over already stays «retrying» for whoever looks at it.
    let state = if target.attempts > 1 { TargetState::Retrying } else { TargetState::Queued };
    let answer = Answer {
        outcome: Outcome::Retry(Retry::default()),
        status: None,
        reason: Some(reason.to_owned()),
        provider_id: None,
    };
    (Settlement { uncounted: true, ..Settlement::again(state, due_at, target) }, answer)
}

pub(crate) fn settle(
    target: &Claimed,
    answer: &Answer,
    serves_other: bool,
    policy: &RetryPolicy,
    now_ms: i64,
) -> Settlement {
    match answer.outcome {
        Outcome::Accepted => Settlement::end(TargetState::Accepted, target),
        Outcome::Dead | Outcome::ForeignToken => Settlement::end(ended(target.maybe_taken, TargetState::Dead), target),
        Outcome::DropToken(gone) => {
            Settlement { token_gone: believed(gone, target), ..Settlement::end(TargetState::Dead, target) }
        }
        Outcome::OtherEnvironment if !target.tried_other && serves_other => {
            Settlement { other_environment: true, ..Settlement::again(TargetState::Retrying, now_ms, target) }
        }
        // Neither environment knows the token. One that is good for another app says that the app's topic is
        // wrong: no reason to forget every token.
        Outcome::OtherEnvironment => {
            let unknown_everywhere = target.tried_other && answer.reason.as_deref() == Some("BadDeviceToken");
            Settlement {
                token_gone: unknown_everywhere.then_some(TokenGone::Now),
                ..Settlement::end(TargetState::Dead, target)
            }
        }
        Outcome::Retry(retry) => again(target, retry, policy, now_ms),
        Outcome::Pause | Outcome::SignAnew => {
            Settlement { uncounted: true, ..Settlement::again(TargetState::Queued, now_ms, target) }
        }
    }
}

/// A token that was registered after the provider gave it up is good.
fn believed(gone: TokenGone, target: &Claimed) -> Option<TokenGone> {
    let registered_at = match target.recipient {
        Recipient::Device { registered_at, .. } => Some(registered_at),
        Recipient::Token { registered_at, .. } => registered_at,
        Recipient::Gone => None,
    };
    match (gone, registered_at) {
        (TokenGone::At(gone_at), Some(registered_at)) if gone_at <= registered_at => None,
        _ => Some(gone),
    }
}

fn again(target: &Claimed, retry: Retry, policy: &RetryPolicy, now_ms: i64) -> Settlement {
    let maybe_taken = target.maybe_taken || retry.maybe_taken;
    let due_at = now_ms.saturating_add(millis(pause(target, retry, policy)));
    let settlement = |state, due_at| Settlement { due_at, maybe_taken, ..Settlement::end(state, target) };
    let one_attempt = target.expires_at == 0;
    if one_attempt || due_at >= target.expires_at {
        return settlement(ended(maybe_taken, TargetState::Expired), None);
    }
    if !retry.unreached && now_ms - target.first_attempt_at >= millis(policy.give_up) {
        return settlement(ended(maybe_taken, TargetState::Dead), None);
    }
    settlement(TargetState::Retrying, Some(due_at))
}

/// The longest wait that a provider may ask for: no push lives longer (APNs keeps none for more than 30 days, FCM for
/// more than 28).
const LONGEST_ASKED: Duration = Duration::from_secs(28 * 86_400);
/// The least wait after a provider's answer, the first time; it doubles like our own.
const LEAST_ASKED: Duration = Duration::from_secs(1);

/// What the provider asked for, within bounds: «at once» again and again would be a loop. Else exponential with up to
/// half as much again. The jitter comes from the target's name, so that a run can be repeated, and targets that failed
/// together do not come back together.
fn pause(target: &Claimed, retry: Retry, policy: &RetryPolicy) -> Duration {
    let doublings = u32::try_from(target.attempts.max(1) - 1).unwrap_or(u32::MAX).min(20);
    let doubled = |first: Duration| first.saturating_mul(1 << doublings).min(policy.longest);
    if let Some(asked) = retry.after {
        // Where the provider was not reached, the wait is one of our own paces, which knows what it asks for.
        let least = if retry.unreached { Duration::ZERO } else { doubled(policy.first.min(LEAST_ASKED)) };
        return asked.max(least).min(LONGEST_ASKED);
    }
    let base = doubled(policy.first);
    let spread = target.id.bytes().fold(target.attempts.unsigned_abs(), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let half = u64::try_from(base.as_millis() / 2).unwrap_or(u64::MAX);
    base + Duration::from_millis(spread.checked_rem(half).unwrap_or(0))
}

fn over(target: &Claimed, now_ms: i64) -> bool {
    target.expires_at != 0 && now_ms >= target.expires_at
}

/// The final state, when an attempt without an answer leaves open whether the phone has the push.
fn ended(maybe_taken: bool, state: TargetState) -> TargetState {
    if maybe_taken { TargetState::Unknown } else { state }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
