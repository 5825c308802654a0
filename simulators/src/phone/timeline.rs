//! What happened to a phone, in order, and waiting for what is to happen.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tidings_shared::clock::Clock;
use tokio::sync::watch;

use crate::inbox::Push;

/// How a message reached the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Over MQTT.
    Mqtt,
    /// Fetched over HTTP.
    Http,
}

/// A message that the phone received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// The broker's cursor of a stored message.
    pub cursor: Option<String>,
    /// The broker's message id: the same on every redelivery.
    pub message_id: Option<String>,
    /// MQTT's DUP flag.
    pub dup: bool,
    /// MQTT's RETAIN flag.
    pub retain: bool,
    /// How it came.
    pub door: Door,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// CONNACK.
    Connected {
        /// Whether the broker had kept the session.
        session_present: bool,
    },
    /// The broker refused the connection.
    Refused {
        /// The reason code's name.
        reason: String,
    },
    /// The connection ended.
    Disconnected {
        /// Why.
        why: String,
    },
    /// The phone fell asleep.
    FellAsleep,
    /// The phone woke up.
    Woke,
    /// A push reached it.
    Push(Arc<Push>),
    /// A message reached it.
    Received(Received),
    /// A message of its own was acknowledged.
    Published {
        /// Its topic.
        topic: String,
    },
}

/// An event and when it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// What.
    pub event: Event,
}

/// What happened to a phone. Cheap to clone; clones are the same timeline.
#[derive(Clone, Debug)]
pub struct Timeline(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    entries: Mutex<Vec<Entry>>,
    length: watch::Sender<usize>,
}

impl Timeline {
    pub(super) fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner { clock, entries: Mutex::default(), length: watch::Sender::new(0) }))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, event: Event) {
        let mut entries = self.lock();
        entries.push(Entry { at_ms: self.0.clock.now_ms(), event });
        self.0.length.send_replace(entries.len());
    }

    /// Everything until now, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// The messages received until now, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        let messages = |entry: &Entry| match &entry.event {
            Event::Received(message) => Some(message.clone()),
            _ => None,
        };
        self.lock().iter().filter_map(messages).collect()
    }

    /// How many entries there are: what to give [`Timeline::wait_after`] to look only at what is still to come.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing happened yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The first entry, past or to come, that `wanted` accepts; `None` when `bound` is over.
    pub async fn wait_for(&self, bound: Duration, wanted: impl FnMut(&Entry) -> bool) -> Option<Entry> {
        self.wait_after(0, bound, wanted).await
    }

    /// The same, among the entries after the first `after`.
    pub async fn wait_after(
        &self,
        after: usize,
        bound: Duration,
        mut wanted: impl FnMut(&Entry) -> bool,
    ) -> Option<Entry> {
        let mut length = self.0.length.subscribe();
        let mut seen = after;
        let search = async {
            loop {
                length.mark_unchanged();
                {
                    let entries = self.lock();
                    if let Some(entry) = entries.iter().skip(seen).find(|entry| wanted(entry)) {
                        return Some(entry.clone());
                    }
                    seen = seen.max(entries.len());
                }
                if length.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::time::timeout(bound, search).await.ok().flatten()
    }

    /// The last event, in words.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.lock().last().map_or_else(|| "nothing happened".to_owned(), |entry| entry.event.to_string())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { session_present: true } => f.write_str("connected; its session was kept"),
            Self::Connected { session_present: false } => f.write_str("connected with a new session"),
            Self::Refused { reason } => write!(f, "was refused: {reason}"),
            Self::Disconnected { why } => write!(f, "lost its connection: {why}"),
            Self::FellAsleep => f.write_str("fell asleep"),
            Self::Woke => f.write_str("woke up"),
            Self::Push(push) => write!(f, "got a push: {}", push.payload),
            Self::Received(message) => {
                let door = if message.door == Door::Mqtt { "" } else { " over HTTP" };
                let again = if message.dup { " (again)" } else { "" };
                write!(f, "received {}{door}{again}: {}", message.topic, String::from_utf8_lossy(&message.payload))
            }
            Self::Published { topic } => write!(f, "published {topic}"),
        }
    }
}
