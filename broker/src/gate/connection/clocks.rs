//! The clocks that may end a connection: keep-alive, the token's expiry, the write deadline. One timer serves all three.

use std::time::Duration;

use tokio::time::Instant;

use super::Connection;
use super::end::End;
use crate::gate::stream::Stream;
use crate::gate::wire::Version;

/// How long the timer of a connection with a token sleeps at most: the wall clock may step.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How soon a keep-alive that is overdue, but cannot be judged yet, is looked at again.
const RECHECK: Duration = Duration::from_millis(100);

impl<S: Stream> Connection<S> {
    /// The socket is full: from now on the peer has the write deadline to take something.
    pub(super) fn note_stuck(&mut self) {
        let now = Instant::now();
        self.stuck_since = Some(now);
        let deadline = now + self.gate.limits.write_deadline;
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
    }

    /// What has run out of time, if anything.
    pub(super) fn overdue(&self) -> Option<End> {
        let now = Instant::now();
        if self.ends_at_ms.is_some_and(|at| at <= self.gate.clock.now_ms()) {
            return Some(End::Expired);
        }
        if self.stuck_since.is_some_and(|since| since + self.gate.limits.write_deadline <= now) {
            return Some(End::Stuck);
        }
        if self.throttle.held_until().is_some() && self.held_too_long().is_some_and(|at| at <= now) {
            return Some(End::TooFast);
        }
        // While a peer is not read from, its silence says nothing.
        if self.listening() && self.patience().is_some_and(|patience| self.last_packet + patience <= now) {
            return Some(End::KeepAlive);
        }
        None
    }

    /// One and a half times the keep-alive.
    fn patience(&self) -> Option<Duration> {
        (self.keep_alive_s > 0).then(|| Duration::from_secs(self.keep_alive_s.into()) * 3 / 2)
    }

    /// When a connection that is held back without pause has been so for too long.
    fn held_too_long(&self) -> Option<Instant> {
        Some(self.throttle.held_since()? + self.gate.limits.patience)
    }

    /// When to look again.
    pub(super) fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        let longest = if self.ends_at_ms.is_some() { LONGEST_SLEEP } else { 60 * LONGEST_SLEEP };
        let expiry = self.ends_at_ms.map(|at| {
            let left = at.saturating_sub(self.gate.clock.now_ms());
            now + Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(longest)
        });
        let stuck = self.stuck_since.map(|since| since + self.gate.limits.write_deadline);
        let keep_alive = self.patience().map(|patience| (self.last_packet + patience).max(now + RECHECK));
        let held = self.throttle.held_until().map(|until| self.held_too_long().map_or(until, |at| at.min(until)));
        [expiry, stuck, keep_alive, held].into_iter().flatten().min().unwrap_or(now + longest)
    }
}

/// The keep-alive in seconds that we impose, when it differs from what the client asked for (MQTT 5 §3.2.2.3.14).
pub(super) fn keep_alive_limit(limit: Option<Duration>, asked: u16, version: Version) -> Option<u16> {
    let limit = u16::try_from(limit?.as_secs()).unwrap_or(u16::MAX);
    (version == Version::V5 && (asked == 0 || asked > limit)).then_some(limit)
}
