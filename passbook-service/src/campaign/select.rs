//! Who of a portion is pushed. No push is about nothing: a device that has the newest version of a pass would ask, find
//! nothing, and complain of a spurious push.

use std::collections::BTreeSet;

use super::plan::{Campaign, Counts};
use crate::store::Candidate;
use crate::update::is_push_token;

/// A device that was pushed this short ago is given time to ask.
const QUIET_MS: i64 = 600_000;

/// What becomes of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It is pushed.
    Push,
    /// The device has asked since the pass last changed, or since the campaign began.
    Current,
    /// A push for this is under way already.
    Recent,
    /// Nothing can be sent to it.
    Unpushable,
}

/// Decides about one registration.
#[must_use]
pub fn choose(campaign: &Campaign, candidate: &Candidate, now_ms: i64) -> Choice {
    if candidate.listed_tag >= candidate.tag || candidate.listed_at.is_some_and(|at| at >= campaign.created_at) {
        return Choice::Current;
    }
    if candidate.quarantined || !is_push_token(&candidate.push_token) {
        return Choice::Unpushable;
    }
    let lately = campaign.sweep_at.min(now_ms - QUIET_MS);
    if candidate.due || candidate.pushed_at.is_some_and(|at| at >= lately) {
        return Choice::Recent;
    }
    Choice::Push
}

/// Chooses from a portion; a device with several passes of a type is pushed for the first of them.
#[must_use]
pub fn select(campaign: &Campaign, portion: &[Candidate], now_ms: i64) -> (Vec<Candidate>, Counts) {
    let mut counts = Counts::default();
    let mut chosen = BTreeSet::new();
    let mut pushes: Vec<Candidate> = Vec::new();
    for candidate in portion {
        match choose(campaign, candidate, now_ms) {
            Choice::Current => counts.current += 1,
            Choice::Recent => counts.recent += 1,
            Choice::Unpushable => counts.unpushable += 1,
            Choice::Push if chosen.insert((&candidate.at.device, &candidate.at.pass_type)) => {
                pushes.push(candidate.clone());
            }
            Choice::Push => counts.recent += 1,
        }
    }
    (pushes, counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::plan::{Plan, Position, State};
    use crate::store::PassQuery;

    const BEGIN: i64 = 1_790_000_000_000;

    fn campaign(sweep_at: i64) -> Campaign {
        Campaign {
            id: "c".to_owned(),
            name: "Move".to_owned(),
            query: PassQuery::default(),
            state: State::Running,
            plan: Plan::default(),
            created_at: BEGIN,
            updated_at: BEGIN,
            finished_at: None,
            sweep: 1,
            sweep_at,
            next_at: None,
            total: None,
            looked_at: 0,
            counts: Counts::default(),
            rate: 1.0,
            rate_reason: String::new(),
            last_error: None,
            coverage: None,
            after: Position::default(),
        }
    }

    /// An imported pass on a device that has never asked here.
    fn imported() -> Candidate {
        Candidate {
            at: Position { pass_type: "pass.a".to_owned(), serial: "1".to_owned(), device: "d".to_owned() },
            push_token: "a1".repeat(32),
            token_at: 0,
            quarantined: false,
            tag: 0,
            listed_tag: -1,
            listed_at: None,
            pushed_at: None,
            due: false,
        }
    }

    #[test]
    fn only_a_device_for_which_the_list_has_something_is_pushed() {
        let hour = 3_600_000;
        let cases = [
            (imported(), Choice::Push, "it has never asked here: the list has every pass for it"),
            (
                Candidate { listed_tag: 0, listed_at: Some(BEGIN - hour), ..imported() },
                Choice::Current,
                "it has everything",
            ),
            (
                Candidate { listed_tag: 5, tag: 7, listed_at: Some(BEGIN - hour), ..imported() },
                Choice::Push,
                "a change since",
            ),
            (
                Candidate { listed_tag: 7, tag: 7, listed_at: Some(BEGIN - hour), ..imported() },
                Choice::Current,
                "nothing since",
            ),
            (
                Candidate { listed_tag: 5, tag: 7, listed_at: Some(BEGIN + 1), ..imported() },
                Choice::Current,
                "it asks: it lives",
            ),
            (Candidate { due: true, ..imported() }, Choice::Recent, "it is pushed for a change in a moment"),
            (Candidate { pushed_at: Some(BEGIN - hour), ..imported() }, Choice::Push, "that push was not answered"),
            (Candidate { pushed_at: Some(BEGIN - 1000), ..imported() }, Choice::Recent, "give it time"),
            (Candidate { quarantined: true, ..imported() }, Choice::Unpushable, "its token is gone"),
            (Candidate { push_token: "6f9619ff-8b86".to_owned(), ..imported() }, Choice::Unpushable, "no token"),
        ];
        for (candidate, choice, why) in cases {
            assert_eq!(choose(&campaign(BEGIN), &candidate, BEGIN + 10), choice, "{why}");
        }
    }

    #[test]
    fn a_second_sweep_goes_to_those_alone_that_have_not_asked() {
        let second = campaign(BEGIN + 86_400_000);
        let now = second.sweep_at + 5000;
        let silent = Candidate { pushed_at: Some(BEGIN + 1000), ..imported() };
        assert_eq!(choose(&second, &silent, now), Choice::Push);
        let asked = Candidate { listed_tag: 0, listed_at: Some(BEGIN + 2000), ..silent.clone() };
        assert_eq!(choose(&second, &asked, now), Choice::Current);
        let pushed = Candidate { pushed_at: Some(second.sweep_at + 1), ..silent };
        assert_eq!(choose(&second, &pushed, now + 3_600_000), Choice::Recent, "once a sweep, however long it takes");
    }

    #[test]
    fn a_device_with_several_passes_is_pushed_once() {
        let other = Candidate { at: Position { serial: "2".to_owned(), ..imported().at }, ..imported() };
        let another_type = Candidate { at: Position { pass_type: "pass.b".to_owned(), ..imported().at }, ..imported() };
        let (pushes, counts) = select(&campaign(BEGIN), &[imported(), other, another_type], BEGIN);
        assert_eq!(pushes.len(), 2, "once for each pass type: Wallet asks for each by itself");
        assert_eq!(counts.recent, 1);
    }
}
