//! How many requests of each user wait, and the bound on them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tidings_shared::identity::UserId;

/// Counts waiting requests by user.
#[derive(Clone, Debug)]
pub(super) struct Pollers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    per_user: usize,
    waiting: Mutex<HashMap<UserId, usize>>,
    gauge: Gauge,
}

/// One place; given back when it is dropped, which is also what happens when the client goes away.
#[derive(Debug)]
pub(super) struct Place {
    pollers: Pollers,
    user: UserId,
}

impl Pollers {
    pub(super) fn new(per_user: usize, gauge: Gauge) -> Self {
        Self(Arc::new(Inner { per_user, waiting: Mutex::default(), gauge }))
    }

    /// A place for a request of `user`; `None` when there is none left.
    pub(super) fn enter(&self, user: &UserId) -> Option<Place> {
        let mut waiting = self.waiting();
        let here = waiting.entry(user.clone()).or_default();
        if *here >= self.0.per_user {
            return None;
        }
        *here += 1;
        self.0.gauge.inc();
        Some(Place { pollers: self.clone(), user: user.clone() })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<UserId, usize>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.pollers.waiting();
        if let Some(here) = waiting.get_mut(&self.user) {
            *here -= 1;
            if *here == 0 {
                waiting.remove(&self.user);
            }
        }
        self.pollers.0.gauge.dec();
    }
}
