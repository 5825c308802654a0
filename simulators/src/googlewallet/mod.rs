//! The Google Wallet simulator: classes, objects and messages of the REST API, and the page that a save link opens. It
//! lives at the FCM simulator's door and takes the same service accounts. It is stricter than Google: an unknown key is
//! refused everywhere, and a fourth notification within 24 hours is an error.

mod error;
mod rules;
mod save;
mod server;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidings_shared::clock::Clock;

use crate::fcm::FcmSimulator;
use crate::script::Script;

/// The kinds of passes; each has a collection of classes (`loyaltyClass`) and one of objects (`loyaltyObject`).
pub const KINDS: [&str; 6] = ["loyalty", "offer", "eventTicket", "flight", "transit", "generic"];
/// Most notifications of an object in 24 hours.
const MOST_NOTIFICATIONS: usize = 3;
/// Most messages of an object.
const MOST_MESSAGES: usize = 10;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What a script can make the simulator do with a request. A rule's `token` is the id of the object or class, its `topic`
/// one of `insert`, `patch`, `get`, `addMessage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WalletAction {
    /// Answers with this status and Google's error of it.
    Status(u16),
    /// As usual (for a delay alone).
    Accept,
    /// Never answers.
    Stall,
    /// Takes the request and cuts the answer: the sender hears a 502.
    Lost,
}

/// An object as the simulator keeps it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WalletObject {
    /// Its kind.
    pub kind: String,
    /// The object, with its messages.
    pub object: Value,
    /// How many have saved it.
    pub users: u64,
    /// When people were notified, ms since 1970.
    pub notified: Vec<i64>,
    /// How often it was changed by PATCH.
    pub patches: u64,
}

/// Counters of the simulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WalletStats {
    /// Requests that were taken.
    pub accepted: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Notifications that people got.
    pub notifications: u64,
    /// Links that were opened.
    pub saves: u64,
}

/// The simulator's state. Cheap to clone; clones are the same simulator.
#[derive(Clone)]
pub struct GoogleWalletSimulator(Arc<Inner>);

struct Inner {
    accounts: FcmSimulator,
    clock: Clock,
    /// By kind and id.
    classes: Mutex<HashMap<(String, String), Value>>,
    objects: Mutex<HashMap<String, WalletObject>>,
    script: Script<WalletAction>,
    accepted: AtomicU64,
    refused: AtomicU64,
    notifications: AtomicU64,
    saves: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GoogleWalletSimulator {
    /// A simulator that takes the service accounts (and access tokens) of the FCM simulator.
    #[must_use]
    pub fn new(accounts: FcmSimulator, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            accounts,
            clock,
            classes: Mutex::default(),
            objects: Mutex::default(),
            script: Script::default(),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            notifications: AtomicU64::new(0),
            saves: AtomicU64::new(0),
        }))
    }

    /// An object.
    #[must_use]
    pub fn object(&self, id: &str) -> Option<WalletObject> {
        lock(&self.0.objects).get(id).cloned()
    }

    /// All objects.
    #[must_use]
    pub fn objects(&self) -> Vec<WalletObject> {
        lock(&self.0.objects).values().cloned().collect()
    }

    /// A class.
    #[must_use]
    pub fn class(&self, kind: &str, id: &str) -> Option<Value> {
        lock(&self.0.classes).get(&(kind.to_owned(), id.to_owned())).cloned()
    }

    /// Takes a class away, as somebody may in the console.
    pub fn forget_class(&self, kind: &str, id: &str) {
        lock(&self.0.classes).remove(&(kind.to_owned(), id.to_owned()));
    }

    /// What the simulator does with coming requests.
    #[must_use]
    pub fn script(&self) -> &Script<WalletAction> {
        &self.0.script
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> WalletStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WalletStats {
            accepted: read(&self.0.accepted),
            refused: read(&self.0.refused),
            notifications: read(&self.0.notifications),
            saves: read(&self.0.saves),
        }
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.0.script.clear();
        lock(&self.0.classes).clear();
        lock(&self.0.objects).clear();
        for counter in [&self.0.accepted, &self.0.refused, &self.0.notifications, &self.0.saves] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for GoogleWalletSimulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GoogleWalletSimulator").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
