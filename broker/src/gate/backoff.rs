//! Failed log-ins: whoever fails again and again has to wait before the next one is looked at.
//!
//! Two things are counted. **The same credentials** that are refused again and again (a device with an old token, a
//! handler with an old key): they wait, wherever a token comes from, and nobody else does; it is the hash of what was
//! presented that is kept, so nobody can shut out a user by naming them. **Different credentials** that are refused from
//! one address (somebody tries keys): then unknown credentials from there wait. Many people may stand behind one
//! address, so a device that repeats itself counts there once, a good log-in clears the address, and credentials that
//! were good lately are looked at in any case.
//!
//! The wait is a second after the first failure too many and doubles with each failure after it, up to a bound. Who
//! waits is answered without anything being verified, and that counts as nothing. Everything is forgotten after quiet.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_shared::recent::Recent;
use tokio::time::Instant;

use super::lobby::network;

/// Entries of each of the three memories in a generation; there are two, and an entry is about 60 bytes.
const REMEMBERED: usize = 32 * 1024;
/// The wait after the first failure too many.
const FIRST: Duration = Duration::from_secs(1);

/// When failed log-ins are held back.
#[derive(Debug, Clone, Copy)]
pub struct BackoffLimits {
    /// Failures with the same credentials until they have to wait; 0: never.
    pub failures: u32,
    /// Failures with different credentials from one address (IPv6: /64) until unknown ones from there wait; 0: never.
    pub failures_per_address: u32,
    /// The longest wait.
    pub longest: Duration,
    /// Failures are forgotten when there was none for this long.
    pub quiet: Duration,
}

impl Default for BackoffLimits {
    fn default() -> Self {
        Self {
            failures: 10,
            failures_per_address: 50,
            longest: Duration::from_secs(60),
            quiet: Duration::from_secs(600),
        }
    }
}

/// What somebody logs in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A token: the same wherever it comes from.
    Token,
    /// A key, or anything else.
    Key,
}

/// One log-in, as it is remembered: nothing in it can be turned back into what was presented.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    credentials: u64,
    from: (IpAddr, Kind),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn until(&self, allowed: u32, limits: &BackoffLimits) -> Option<Instant> {
        let beyond = self.count.checked_sub(allowed).filter(|_| allowed > 0)?;
        Some(self.last + FIRST.saturating_mul(1 << beyond.min(24)).min(limits.longest))
    }

    fn one_more(&mut self, now: Instant, quiet: Duration) {
        let forgotten = now.saturating_duration_since(self.last) >= quiet;
        *self = Self { count: if forgotten { 1 } else { self.count.saturating_add(1) }, last: now };
    }
}

/// Remembers failed log-ins of the last minutes.
#[derive(Debug)]
pub(super) struct Backoff {
    limits: BackoffLimits,
    /// With a random key: nobody outside can aim at an entry.
    hasher: RandomState,
    memory: Mutex<Memory>,
}

#[derive(Debug)]
struct Memory {
    credentials: Recent<u64, Failures>,
    addresses: Recent<(IpAddr, Kind), Failures>,
    good: Recent<u64, ()>,
}

impl Backoff {
    pub(super) fn new(limits: BackoffLimits) -> Self {
        let memory = Memory {
            credentials: Recent::new(REMEMBERED),
            addresses: Recent::new(REMEMBERED),
            good: Recent::new(REMEMBERED),
        };
        Self { limits, hasher: RandomState::new(), memory: Mutex::new(memory) }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A log-in from an address; `user` is nothing over HTTP.
    pub(super) fn attempt(&self, address: IpAddr, kind: Kind, user: &[u8], secret: &[u8]) -> Attempt {
        let network = network(address);
        let credentials = match kind {
            Kind::Token => self.hasher.hash_one((kind, secret)),
            Kind::Key => self.hasher.hash_one((kind, network, user, secret)),
        };
        Attempt { credentials, from: (network, kind) }
    }

    /// Whether a log-in may be looked at.
    ///
    /// # Errors
    /// How long it has to wait.
    pub(super) fn admit(&self, attempt: &Attempt, now: Instant) -> Result<(), Duration> {
        let memory = self.memory();
        let known = memory.good.peek(&attempt.credentials).is_some();
        let same = memory.credentials.peek(&attempt.credentials);
        let here = memory.addresses.peek(&attempt.from).filter(|_| !known);
        let until = [
            same.and_then(|failures| failures.until(self.limits.failures, &self.limits)),
            here.and_then(|failures| failures.until(self.limits.failures_per_address, &self.limits)),
        ];
        match until.into_iter().flatten().max() {
            Some(until) if until > now => Err(until - now),
            _ => Ok(()),
        }
    }

    /// It was refused.
    pub(super) fn failed(&self, attempt: &Attempt, now: Instant) {
        let mut memory = self.memory();
        memory.good.remove(&attempt.credentials);
        let new = || Failures { count: 0, last: now };
        let same = memory.credentials.touch(attempt.credentials, new);
        same.one_more(now, self.limits.quiet);
        if same.count == 1 {
            memory.addresses.touch(attempt.from, new).one_more(now, self.limits.quiet);
        }
    }

    /// It was good.
    pub(super) fn succeeded(&self, attempt: &Attempt) {
        let mut memory = self.memory();
        memory.credentials.remove(&attempt.credentials);
        memory.addresses.remove(&attempt.from);
        memory.good.touch(attempt.credentials, || ());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BackoffLimits = BackoffLimits {
        failures: 3,
        failures_per_address: 5,
        longest: Duration::from_secs(8),
        quiet: Duration::from_secs(60),
    };

    fn here() -> IpAddr {
        "2001:db8::1".parse().unwrap()
    }

    fn token(backoff: &Backoff, address: IpAddr, token: &str) -> Attempt {
        backoff.attempt(address, Kind::Token, b"JWT", token.as_bytes())
    }

    async fn refused(backoff: &Backoff, attempt: &Attempt) {
        let waits = backoff.admit(attempt, Instant::now());
        assert_eq!(waits, Ok(()), "it is looked at");
        backoff.failed(attempt, Instant::now());
    }

    fn wait(backoff: &Backoff, attempt: &Attempt) -> u64 {
        backoff.admit(attempt, Instant::now()).err().unwrap_or_default().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_credentials_wait_longer_and_longer_up_to_a_bound_and_are_forgotten() {
        let backoff = Backoff::new(LIMITS);
        let bad = token(&backoff, here(), "bad");
        for _ in 0..3 {
            refused(&backoff, &bad).await;
        }
        for expected in [1, 2, 4, 8, 8, 8] {
            assert_eq!(wait(&backoff, &bad), expected);
            tokio::time::advance(Duration::from_secs(expected)).await;
            refused(&backoff, &bad).await;
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        refused(&backoff, &bad).await;
        assert_eq!(wait(&backoff, &bad), 0, "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn one_broken_device_shuts_out_nobody_behind_its_address_and_nobody_elsewhere() {
        let backoff = Backoff::new(LIMITS);
        let bad = token(&backoff, here(), "bad");
        for _ in 0..20 {
            if backoff.admit(&bad, Instant::now()).is_ok() {
                backoff.failed(&bad, Instant::now());
            }
            tokio::time::advance(Duration::from_millis(300)).await;
        }
        assert!(wait(&backoff, &bad) > 0);
        let elsewhere = "192.0.2.1".parse().unwrap();
        assert!(wait(&backoff, &token(&backoff, elsewhere, "bad")) > 0, "the same token is as bad elsewhere");
        for (address, name) in [(here(), "good"), (elsewhere, "good"), (here(), "new")] {
            assert_eq!(wait(&backoff, &token(&backoff, address, name)), 0, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_waits_and_with_them_only_the_unknown_of_that_network() {
        let backoff = Backoff::new(LIMITS);
        let known = token(&backoff, here(), "known");
        backoff.succeeded(&known);
        for guess in 0..5 {
            refused(&backoff, &token(&backoff, here(), &format!("guess {guess}"))).await;
        }
        let neighbour = "2001:db8::ffff:1".parse().unwrap();
        assert_eq!(wait(&backoff, &token(&backoff, neighbour, "guess 6")), 1, "one /64 is one address");
        assert_eq!(wait(&backoff, &known), 0, "who was good lately is looked at");
        assert_eq!(wait(&backoff, &token(&backoff, "2001:db8:0:1::1".parse().unwrap(), "new")), 0);
        assert_eq!(
            wait(&backoff, &backoff.attempt(here(), Kind::Key, b"handler", b"key")),
            0,
            "keys are counted apart"
        );
        backoff.succeeded(&known);
        assert_eq!(wait(&backoff, &token(&backoff, here(), "new")), 0, "a good log-in clears the address");
    }

    #[tokio::test(start_paused = true)]
    async fn its_memory_is_bounded_and_zero_turns_it_off() {
        let backoff = Backoff::new(BackoffLimits { failures: 0, failures_per_address: 0, ..LIMITS });
        for number in 0..200_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            refused(&backoff, &token(&backoff, address, &number.to_string())).await;
            refused(&backoff, &token(&backoff, here(), "always the same")).await;
        }
        let memory = backoff.memory();
        assert!(memory.credentials.len() <= 2 * REMEMBERED && memory.addresses.len() <= 2 * REMEMBERED);
    }
}
