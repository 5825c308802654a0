//! A simulated browser with its push service: it gives out subscriptions, takes pushes for them (RFC 8030), checks who
//! sends (RFC 8292), decrypts (RFC 8291) and is stricter than any real service: what it cannot decrypt it refuses, and
//! every push has to be signed. It lives at the FCM simulator's door, as Chrome's push service lives at Google's.

mod decrypt;
mod server;
mod vapid;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, anyhow};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use tidings_shared::clock::Clock;

use crate::inbox::Inbox;
use crate::script::Script;

/// The path of a subscription, before its id.
const PUSH_PATH: &str = "/webpush/push";

/// What a script can make the push service do with a push. A rule's `token` is the endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebPushAction {
    /// Answers like this.
    Answer(ScriptedStatus),
    /// Accepts it as usual (for a delay alone).
    Accept,
    /// Never answers.
    Stall,
    /// Answers 307 with this Location.
    Redirect(String),
}

/// A scripted answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedStatus {
    /// The HTTP status.
    pub status: u16,
    /// The `retry-after` header: seconds, or an HTTP date, as it is.
    #[serde(default)]
    pub retry_after: Option<String>,
    /// The body.
    #[serde(default)]
    pub body: String,
}

/// A subscription as `PushSubscription.toJSON()` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrowserSubscription {
    /// Where pushes are posted to.
    pub endpoint: String,
    /// Always `null`.
    #[serde(rename = "expirationTime")]
    pub expiration_time: Option<u64>,
    /// To encrypt with.
    pub keys: BrowserKeys,
}

/// The keys of a subscription, in Base64 for URLs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrowserKeys {
    /// The browser's public key.
    pub p256dh: String,
    /// The authentication secret.
    pub auth: String,
}

/// Counters of the simulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebPushStats {
    /// Pushes taken.
    pub accepted: u64,
    /// Pushes refused.
    pub refused: u64,
}

/// The simulator's state. Cheap to clone; clones are the same simulator.
#[derive(Clone)]
pub struct WebPushSimulator(Arc<Inner>);

struct Inner {
    clock: Clock,
    inbox: Inbox,
    /// Where clients reach it.
    url: String,
    browsers: Mutex<HashMap<String, Arc<Browser>>>,
    script: Script<WebPushAction>,
    accepted: AtomicU64,
    refused: AtomicU64,
}

/// One browser's side of a subscription.
struct Browser {
    private: PrivateKey,
    public: Vec<u8>,
    auth: [u8; 16],
    /// The only key that may send, when the subscription was made for one.
    server_key: Option<Vec<u8>>,
    gone: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WebPushSimulator {
    /// A simulator that delivers into `inbox`; `url` is where clients reach it.
    #[must_use]
    pub fn new(url: &str, inbox: Inbox, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            inbox,
            url: url.trim_end_matches('/').to_owned(),
            browsers: Mutex::default(),
            script: Script::default(),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// A new subscription. With `application_server_key` (Base64 for URLs) only that key may send.
    ///
    /// # Errors
    /// The key is no point of P-256.
    pub fn subscribe(&self, application_server_key: Option<&str>) -> anyhow::Result<BrowserSubscription> {
        let server_key = match application_server_key {
            None => None,
            Some(text) => {
                let key = BASE64.decode(text.trim_end_matches('=')).context("applicationServerKey is no Base64")?;
                anyhow::ensure!(
                    key.len() == 65 && key[0] == 4,
                    "applicationServerKey is no uncompressed point of P-256"
                );
                Some(key)
            }
        };
        let failed = |_| anyhow!("the browser's key cannot be made");
        let private = PrivateKey::generate(&ECDH_P256).map_err(failed)?;
        let public = private.compute_public_key().map_err(failed)?.as_ref().to_vec();
        let mut auth = [0; 16];
        SystemRandom::new().fill(&mut auth).map_err(failed)?;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let subscription = BrowserSubscription {
            endpoint: format!("{}{PUSH_PATH}/{id}", self.0.url),
            expiration_time: None,
            keys: BrowserKeys { p256dh: BASE64.encode(&public), auth: BASE64.encode(auth) },
        };
        let browser = Browser { private, public, auth, server_key, gone: false };
        lock(&self.0.browsers).insert(id, Arc::new(browser));
        Ok(subscription)
    }

    /// The browser forgets a subscription: 410 from now on. `false` when there is none at this endpoint.
    pub fn unsubscribe(&self, endpoint: &str) -> bool {
        let id = endpoint.rsplit('/').next().unwrap_or_default();
        let mut browsers = lock(&self.0.browsers);
        let Some(browser) = browsers.get_mut(id).and_then(Arc::get_mut) else { return false };
        browser.gone = true;
        true
    }

    /// What the simulator does with coming pushes.
    #[must_use]
    pub fn script(&self) -> &Script<WebPushAction> {
        &self.0.script
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> WebPushStats {
        WebPushStats {
            accepted: self.0.accepted.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
        }
    }

    /// Forgets scripts and counters. Subscriptions stay.
    pub fn reset(&self) {
        self.0.script.clear();
        self.0.accepted.store(0, Ordering::Relaxed);
        self.0.refused.store(0, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for WebPushSimulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebPushSimulator").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
