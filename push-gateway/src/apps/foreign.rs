//! Whether it is the credentials that are refused, or the token: FCM refuses a token of another project in the same words
//! (`SENDER_ID_MISMATCH`), and any user may register one. The first refusal counts as one of the credentials. When
//! they are accepted again, and the token still is not, it is the token, and its pushes stop nobody else's.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidings_shared::recent::Recent;

use crate::provider::{Answer, Outcome};

/// What FCM says of both.
const MISMATCH: &str = "SENDER_ID_MISMATCH";
/// So many tokens are remembered, in each of two generations.
const REMEMBERED: usize = 1024;
/// What was refused longer ago says nothing about a refusal of today.
const REMEMBERED_MS: i64 = 86_400_000;

/// See the head of this file. One credential's.
#[derive(Debug)]
pub(super) struct Foreign(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// So many times the credential was refused, and a push that asked again was accepted.
    repairs: u64,
    /// The tokens at which it was refused.
    refused: Recent<String, Refused>,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    /// The repairs by then.
    repairs: u64,
    at_ms: i64,
}

impl Default for Foreign {
    fn default() -> Self {
        Self(Mutex::new(Inner { repairs: 0, refused: Recent::new(REMEMBERED) }))
    }
}

impl Foreign {
    /// A refused credential is accepted again. What was only under way when it was refused is no repair.
    pub(super) fn repaired(&self) {
        self.lock().repairs += 1;
    }

    /// `answer` is one that the provider gave.
    pub(super) fn judge(&self, token: &str, answer: Answer, now_ms: i64) -> Answer {
        if answer.outcome == Outcome::Accepted {
            let mut inner = self.lock();
            if !inner.refused.is_empty() {
                inner.refused.remove(token);
            }
            return answer;
        }
        if answer.outcome != Outcome::Pause || answer.reason.as_deref() != Some(MISMATCH) {
            return answer;
        }
        let mut inner = self.lock();
        let repairs = inner.repairs;
        let refused = inner.refused.touch(token.to_owned(), || Refused { repairs, at_ms: now_ms });
        if now_ms - refused.at_ms > REMEMBERED_MS {
            refused.repairs = repairs;
        }
        refused.at_ms = now_ms;
        if repairs > refused.repairs { Answer { outcome: Outcome::ForeignToken, ..answer } } else { answer }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DAY, START, answer};

    #[test]
    fn only_a_refusal_after_a_repair_is_the_tokens() {
        let foreign = Foreign::default();
        let refuse = |token: &str, now| foreign.judge(token, answer(Outcome::Pause, MISMATCH), now).outcome;
        let take = |token: &str| foreign.judge(token, answer(Outcome::Accepted, ""), START).outcome;
        // Revoked: a wave is refused, while others that were under way are still taken.
        for token in ["a", "b", "foreign"] {
            assert_eq!(refuse(token, START), Outcome::Pause);
            take("under way");
            assert_eq!(refuse(token, START + 60_000), Outcome::Pause, "the recheck");
        }
        foreign.repaired();
        assert_eq!((take("a"), take("b")), (Outcome::Accepted, Outcome::Accepted));
        assert_eq!(refuse("foreign", START + 120_000), Outcome::ForeignToken);
        assert_eq!(refuse("foreign", START + 130_000), Outcome::ForeignToken);
        // Revoked again: what was taken in between has a clean slate, and what was refused long ago too.
        assert_eq!(refuse("a", START + 140_000), Outcome::Pause);
        assert_eq!(refuse("foreign", START + 2 * DAY), Outcome::Pause);
    }

    #[test]
    fn other_refusals_are_the_credentials() {
        let foreign = Foreign::default();
        foreign.judge("a", answer(Outcome::Pause, MISMATCH), START);
        foreign.repaired();
        for reason in ["PERMISSION_DENIED", "InvalidProviderToken"] {
            assert_eq!(foreign.judge("a", answer(Outcome::Pause, reason), START).outcome, Outcome::Pause);
        }
    }
}
