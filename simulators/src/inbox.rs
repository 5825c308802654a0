//! What the push simulators have delivered: one numbered list, with a door for each phone that waits for its pushes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Which simulator took a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The APNs simulator.
    Apns,
    /// The FCM simulator.
    Fcm,
    /// The simulated push service of browsers.
    WebPush,
}

/// A push that a simulator has accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// Its number, counted from 1 over all pushes; `after=` of the control's `/pushes` takes it.
    pub seq: u64,
    /// Who took it.
    pub provider: Provider,
    /// The device token (APNs: or `channel:ID`; FCM: token, installation id, `topic:NAME` or `condition:TEXT`; Web Push:
    /// the endpoint).
    pub token: String,
    /// `apns-id`, or the message name of FCM.
    pub id: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The `apns-topic`, or the project.
    pub topic: String,
    /// The request's `apns-*` headers; for Web Push `ttl`, `urgency` and `topic`; for FCM empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Who sent it: `token KEYID TEAMID`, `certificate UID`, the service account's address, or `vapid KEY`.
    pub sender: String,
    /// Which connection it came on, counted from 1 for each simulator; 0 when that is not known.
    pub connection: u64,
    /// The payload (FCM: the message).
    pub payload: serde_json::Value,
}

/// The list of pushes. Cheap to clone; clones share the list.
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    capacity: usize,
    last_seq: u64,
    all: VecDeque<Arc<Push>>,
    by_token: HashMap<String, VecDeque<Arc<Push>>>,
    waiting: HashMap<Option<String>, Arc<Notify>>,
}

impl Inbox {
    /// An inbox that keeps the newest `capacity` pushes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            capacity: capacity.max(1),
            last_seq: 0,
            all: VecDeque::new(),
            by_token: HashMap::new(),
            waiting: HashMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a push, numbers it and wakes who waits for it.
    pub fn deliver(&self, mut push: Push) -> Arc<Push> {
        let mut state = self.state();
        state.last_seq += 1;
        push.seq = state.last_seq;
        let push = Arc::new(push);
        state.all.push_back(push.clone());
        state.by_token.entry(push.token.clone()).or_default().push_back(push.clone());
        while state.all.len() > state.capacity {
            state.forget_oldest();
        }
        if state.waiting.is_empty() {
            return push;
        }
        for key in [Some(push.token.clone()), None] {
            // Whoever waits holds the notice as well; a notice that nobody else holds is of no use any more.
            if let Some(notify) = state.waiting.remove(&key) {
                notify.notify_waiters();
            }
        }
        push
    }

    /// The pushes after number `after`, to one token or to all, oldest first, at most `limit`.
    #[must_use]
    pub fn list(&self, token: Option<&str>, after: u64, limit: usize) -> Vec<Arc<Push>> {
        self.state().list(token, after, limit)
    }

    /// Like [`Inbox::list`], but waits up to `wait` for the first push.
    pub async fn wait(&self, token: Option<&str>, after: u64, limit: usize, wait: Duration) -> Vec<Arc<Push>> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let notify = {
                let mut state = self.state();
                let found = state.list(token, after, limit);
                if !found.is_empty() {
                    return found;
                }
                state.waiting.entry(token.map(str::to_owned)).or_default().clone().notified_owned()
            };
            // Registered for the notice while the list was locked: nothing is delivered unseen in between.
            if tokio::time::timeout_at(deadline, notify).await.is_err() {
                return Vec::new();
            }
        }
    }

    /// The number of the newest push; 0 when there was none.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.state().last_seq
    }

    /// Forgets every push; numbers go on counting.
    pub fn clear(&self) {
        let mut state = self.state();
        state.all.clear();
        state.by_token.clear();
    }
}

impl State {
    fn list(&self, token: Option<&str>, after: u64, limit: usize) -> Vec<Arc<Push>> {
        let list = match token {
            None => &self.all,
            Some(token) => match self.by_token.get(token) {
                None => return Vec::new(),
                Some(list) => list,
            },
        };
        let from = list.partition_point(|push| push.seq <= after);
        list.iter().skip(from).take(limit).cloned().collect()
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.all.pop_front() else { return };
        if let Some(list) = self.by_token.get_mut(&oldest.token) {
            list.pop_front();
            if list.is_empty() {
                self.by_token.remove(&oldest.token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(token: &str) -> Push {
        Push {
            seq: 0,
            provider: Provider::Apns,
            token: token.to_owned(),
            id: String::new(),
            at_ms: 0,
            topic: "t".to_owned(),
            headers: BTreeMap::new(),
            sender: String::new(),
            connection: 0,
            payload: serde_json::json!({}),
        }
    }

    #[tokio::test]
    async fn a_waiting_phone_gets_its_push_and_only_its_own() {
        let inbox = Inbox::new(10);
        let waiting = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.wait(Some("b"), 0, 10, Duration::from_secs(20)).await }
        });
        inbox.deliver(push("a"));
        inbox.deliver(push("b"));
        let got = waiting.await.unwrap();
        assert_eq!(got.iter().map(|push| push.seq).collect::<Vec<_>>(), [2]);
        assert!(inbox.wait(Some("b"), 2, 10, Duration::from_millis(1)).await.is_empty());
    }

    #[test]
    fn the_oldest_pushes_are_forgotten_when_the_inbox_is_full() {
        let inbox = Inbox::new(2);
        for token in ["a", "a", "b"] {
            inbox.deliver(push(token));
        }
        assert_eq!(inbox.list(None, 0, 10).iter().map(|push| push.seq).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(inbox.list(Some("a"), 0, 10).len(), 1);
        assert_eq!(inbox.list(None, 2, 10).len(), 1);
    }
}
