//! How much may be published: messages and bytes in a second, per connection and per user.
//!
//! Nothing is lost by it: who sends more is not read from until they may go on, which TCP tells them by itself. A
//! connection that has never published has no bucket, and a user's buckets are forgotten when they are full again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tidings_shared::identity::UserId;
use tidings_shared::topic::access::Principal;
use tokio::time::Instant;

use super::bucket::{Bucket, Rate};
use super::limits::Limits;
use super::metrics::Held;

/// Users whose buckets are kept without looking for those that are full again.
const UNCLEANED: usize = 1024;

/// What a kind of client may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// `messages_per_connection`: PUBLISH, SUBSCRIBE and UNSUBSCRIBE packets of one connection.
    pub messages_per_connection: Rate,
    /// `bytes_per_connection`: everything that one connection sends.
    pub bytes_per_connection: Rate,
    /// `messages_per_user`: the same of all connections of a user, and publishes over HTTP.
    pub messages_per_user: Rate,
    /// `bytes_per_user`.
    pub bytes_per_user: Rate,
}

impl Rates {
    /// No limits.
    pub const OFF: Self = Self {
        messages_per_connection: Rate::OFF,
        bytes_per_connection: Rate::OFF,
        messages_per_user: Rate::OFF,
        bytes_per_user: Rate::OFF,
    };

    fn counts_connections(&self) -> bool {
        self.messages_per_connection.per_second > 0 || self.bytes_per_connection.per_second > 0
    }

    fn counts_users(&self) -> bool {
        self.messages_per_user.per_second > 0 || self.bytes_per_user.per_second > 0
    }
}

/// What has been used of two rates.
#[derive(Debug, Clone, Copy)]
struct Pair {
    messages: Bucket,
    bytes: Bucket,
}

impl Pair {
    fn new(now: Instant) -> Self {
        Self { messages: Bucket::new(now), bytes: Bucket::new(now) }
    }

    fn take(&mut self, now: Instant, used: Used, messages: Rate, bytes: Rate) {
        self.messages.take(now, used.messages, messages);
        self.bytes.take(now, used.bytes, bytes);
    }

    /// The longer wait, and whether it is for messages.
    fn wait(&self, now: Instant, messages: Rate, bytes: Rate) -> Option<(Duration, bool)> {
        let messages = self.messages.wait(now, messages).map(|wait| (wait, true));
        messages.max(self.bytes.wait(now, bytes).map(|wait| (wait, false)))
    }
}

/// What somebody has sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// The buckets of all users. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Throttles(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rates: Rates,
    users: Mutex<Users>,
    throttled: Family<Held, Counter>,
}

#[derive(Debug, Default)]
struct Users {
    buckets: HashMap<UserId, Arc<Mutex<Pair>>>,
    clean_at: usize,
}

impl Throttles {
    /// Full buckets for everybody.
    #[must_use]
    pub fn new(rates: Rates, throttled: Family<Held, Counter>) -> Self {
        Self(Arc::new(Shared { rates, users: Mutex::default(), throttled }))
    }

    fn user(&self, user: &UserId, now: Instant) -> Arc<Mutex<Pair>> {
        let mut users = self.0.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pair) = users.buckets.get(user) {
            return Arc::clone(pair);
        }
        if users.buckets.len() >= users.clean_at {
            users.buckets.retain(|_, pair| {
                let used = locked(pair);
                Arc::strong_count(pair) > 1 || !used.messages.is_full(now) || !used.bytes.is_full(now)
            });
            users.clean_at = UNCLEANED.max(users.buckets.len() * 2);
            let room = users.clean_at;
            users.buckets.shrink_to(room);
        }
        let pair = Arc::new(Mutex::new(Pair::new(now)));
        users.buckets.insert(user.clone(), Arc::clone(&pair));
        pair
    }

    /// Counts a publish over HTTP by a device.
    ///
    /// # Errors
    /// How long the user has to wait; then it is not counted.
    pub fn publish(&self, principal: &Principal, bytes: usize) -> Result<(), Duration> {
        let rates = &self.0.rates;
        let Some(user) = principal.user().filter(|_| rates.counts_users()) else { return Ok(()) };
        let now = Instant::now();
        let pair = self.user(user, now);
        let mut pair = locked(&pair);
        if let Some((wait, messages)) = pair.wait(now, rates.messages_per_user, rates.bytes_per_user) {
            let limit = if messages { "messages_per_user" } else { "bytes_per_user" };
            self.0.throttled.get_or_create(&Held { limit }).inc();
            return Err(wait);
        }
        let used = Used { messages: 1, bytes: bytes as u64 };
        pair.take(now, used, rates.messages_per_user, rates.bytes_per_user);
        Ok(())
    }
}

fn locked(pair: &Mutex<Pair>) -> MutexGuard<'_, Pair> {
    pair.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The buckets of one connection: made when it first sends something that counts.
#[derive(Debug)]
pub(super) enum Throttle {
    /// It may send what it likes.
    Free,
    /// A handler that has sent nothing.
    FreshHandler,
    /// A device that has sent nothing.
    FreshDevice(UserId),
    /// It has sent something.
    Used(Box<Account>),
}

/// What a connection has used, and whether it is held back.
#[derive(Debug)]
pub(super) struct Account {
    handler: bool,
    own: Pair,
    user: Option<Arc<Mutex<Pair>>>,
    until: Option<Instant>,
    /// Since when it has been held back without having been let go with nothing left to say.
    since: Option<Instant>,
}

impl Throttle {
    pub(super) fn new(principal: &Principal, limits: &Limits) -> Self {
        let counts = |rates: &Rates| rates.counts_connections() || rates.counts_users();
        match principal.user() {
            Some(user) if counts(&limits.device) => Self::FreshDevice(user.clone()),
            None if counts(&limits.handler) => Self::FreshHandler,
            _ => Self::Free,
        }
    }

    /// Counts what was sent. Returns the limit that holds the connection back from now on, if it was free before.
    pub(super) fn count(&mut self, used: Used, limits: &Limits, throttles: &Throttles) -> Option<&'static str> {
        let now = Instant::now();
        let account = match self {
            Self::Free => return None,
            Self::Used(account) => account,
            Self::FreshHandler | Self::FreshDevice(_) => {
                let handler = matches!(self, Self::FreshHandler);
                let user = match self {
                    Self::FreshDevice(user) if limits.device.counts_users() => Some(throttles.user(user, now)),
                    _ => None,
                };
                *self = Self::Used(Box::new(Account { handler, own: Pair::new(now), user, until: None, since: None }));
                let Self::Used(account) = self else { return None };
                account
            }
        };
        account.count(now, used, limits)
    }

    /// Until when the connection is held back.
    pub(super) fn held_until(&self) -> Option<Instant> {
        if let Self::Used(account) = self { account.until } else { None }
    }

    /// Since when it has been held back without pause.
    pub(super) fn held_since(&self) -> Option<Instant> {
        if let Self::Used(account) = self { account.since } else { None }
    }

    /// Lets the connection go on when its time has come; whether it has.
    pub(super) fn release(&mut self) -> bool {
        match self {
            Self::Used(account) if account.until.is_some_and(|until| until <= Instant::now()) => {
                account.until = None;
                true
            }
            _ => false,
        }
    }

    /// The peer has nothing more to say for now: it keeps to its rate.
    pub(super) fn pause(&mut self) {
        if let Self::Used(account) = self
            && account.until.is_none()
        {
            account.since = None;
        }
    }
}

impl Account {
    fn count(&mut self, now: Instant, used: Used, limits: &Limits) -> Option<&'static str> {
        let rates = if self.handler { &limits.handler } else { &limits.device };
        let (messages, bytes) = (rates.messages_per_connection, rates.bytes_per_connection);
        self.own.take(now, used, messages, bytes);
        let names = if self.handler {
            ("messages_per_handler", "bytes_per_handler")
        } else {
            ("messages_per_connection", "bytes_per_connection")
        };
        let name = |(wait, messages): (Duration, bool), names: (&'static str, &'static str)| {
            (wait, if messages { names.0 } else { names.1 })
        };
        let mut longest = self.own.wait(now, messages, bytes).map(|wait| name(wait, names));
        if let Some(user) = &self.user {
            let mut user = locked(user);
            user.take(now, used, rates.messages_per_user, rates.bytes_per_user);
            let wait = user.wait(now, rates.messages_per_user, rates.bytes_per_user);
            longest = longest.max(wait.map(|wait| name(wait, ("messages_per_user", "bytes_per_user"))));
        }
        let (wait, limit) = longest?;
        self.until = Some(now + wait);
        self.since.get_or_insert(now);
        Some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_shared::topic::access::Acl;

    fn device(user: &str) -> Principal {
        Principal::Device { user: UserId::new(user).unwrap(), acl: Acl::default() }
    }

    fn limits(per_connection: u64, per_user: u64) -> Limits {
        let rate = |per_second| Rate { per_second, burst: Duration::from_secs(1) };
        let rates =
            Rates { messages_per_connection: rate(per_connection), messages_per_user: rate(per_user), ..Rates::OFF };
        Limits { device: rates, handler: Rates::OFF, ..Limits::default() }
    }

    const ONE: Used = Used { messages: 1, bytes: 100 };

    #[tokio::test(start_paused = true)]
    async fn connections_and_users_have_their_rates_and_handlers_are_free() {
        let limits = limits(10, 15);
        let throttles = Throttles::new(limits.device, Family::default());
        let (mut one, mut two) = (Throttle::new(&device("42"), &limits), Throttle::new(&device("42"), &limits));
        let mut other = Throttle::new(&device("43"), &limits);
        for _ in 0..9 {
            assert_eq!(one.count(ONE, &limits, &throttles), None);
        }
        assert_eq!(one.count(ONE, &limits, &throttles), Some("messages_per_connection"));
        assert!(one.held_until().is_some());
        for _ in 0..4 {
            assert_eq!(two.count(ONE, &limits, &throttles), None);
        }
        assert_eq!(two.count(ONE, &limits, &throttles), Some("messages_per_user"));
        assert!(throttles.publish(&device("42"), 1).is_err(), "HTTP counts for the same user");
        assert_eq!(other.count(ONE, &limits, &throttles), None, "nobody else is held back");
        assert!(throttles.publish(&Principal::Handler, 1 << 20).is_ok());
        assert!(matches!(Throttle::new(&Principal::Handler, &limits), Throttle::Free));
        assert!(!one.release());
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(one.release() && one.held_until().is_none());
        assert!(one.held_since().is_some(), "it has not been quiet");
        one.pause();
        assert!(one.held_since().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_of_users_are_forgotten_when_they_are_full_again() {
        let limits = limits(0, 10);
        let throttles = Throttles::new(limits.device, Family::default());
        for user in 0..100_000 {
            throttles.publish(&device(&user.to_string()), 1).unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let kept = throttles.0.users.lock().unwrap().buckets.len();
        assert!(kept <= 2 * UNCLEANED, "{kept}");
    }
}
