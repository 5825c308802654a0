//! The FCM simulator: the OAuth2 token endpoint, `POST /v1/projects/PROJECT/messages:send`, and the Instance ID
//! service's topic subscriptions, over TLS.

mod error;
mod message;
mod oauth;
mod server;
mod topics;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tidings_shared::clock::Clock;

pub use oauth::ServiceAccount;

use crate::inbox::Inbox;
use crate::script::{RetryAfterForm, Script};
use oauth::{AccessToken, KnownAccount};

/// The file of the development service account in the simulators' folder.
pub(crate) const ACCOUNT_FILE: &str = "service-account.json";
/// The project of the development service account.
pub const DEVELOPMENT_PROJECT: &str = "tidings-dev";

/// How strict the simulator is.
#[derive(Clone, Debug, Default)]
pub struct FcmOptions {
    /// Whether a token that was never registered is refused as UNREGISTERED.
    pub strict_tokens: bool,
}

/// A registration token as a phone registers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationToken {
    /// The token, or the installation id.
    pub token: String,
    /// The project it belongs to; another sender gets SENDER_ID_MISMATCH.
    #[serde(default)]
    pub project: Option<String>,
    /// Whether it is gone: UNREGISTERED.
    #[serde(default)]
    pub gone: bool,
}

/// What a script can make the simulator do with a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FcmAction {
    /// Answers like this.
    Answer(ScriptedError),
    /// Accepts it as usual (for a delay alone).
    Accept,
    /// Never answers.
    Stall,
    /// Cuts the TCP connection.
    Cut,
    /// A 502 with an HTML page, as Google's front ends send it.
    Html502,
    /// Every access token is forgotten; this one gets the plain 401 of the OAuth layer.
    RevokeTokens,
}

/// A scripted error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedError {
    /// The FCM code, for example `UNAVAILABLE`, also one that is in no table.
    pub code: String,
    /// The HTTP status; that of the code when absent.
    #[serde(default)]
    pub status: Option<u16>,
    /// The message.
    #[serde(default)]
    pub message: Option<String>,
    /// The `retry-after` header, in seconds.
    #[serde(default)]
    pub retry_after: Option<u64>,
    /// How it is written: `seconds` or `date`.
    #[serde(default)]
    pub retry_after_form: RetryAfterForm,
    /// Where the code is said.
    #[serde(default)]
    pub details: Details,
    /// The field of the violation with `"details":"bad_request"`; `message.token` when absent.
    #[serde(default)]
    pub field: Option<String>,
}

/// The shapes that the details of an error are seen in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Details {
    /// `google.firebase.fcm.v1.FcmError` with the code.
    #[default]
    Fcm,
    /// None at all.
    None,
    /// `google.rpc.BadRequest` only.
    BadRequest,
    /// `google.rpc.QuotaFailure` only.
    Quota,
}

/// The simulator's state. Cheap to clone; clones are the same simulator.
#[derive(Clone)]
pub struct FcmSimulator(Arc<Inner>);

struct Inner {
    options: FcmOptions,
    clock: Clock,
    inbox: Inbox,
    /// Where the token endpoint is reached, for the accounts that are made here.
    url: String,
    accounts: Mutex<HashMap<String, KnownAccount>>,
    access: Mutex<HashMap<String, AccessToken>>,
    tokens: Mutex<HashMap<String, RegistrationToken>>,
    /// Who has subscribed, by project and topic.
    topics: Mutex<HashMap<(String, String), BTreeSet<String>>>,
    script: Script<FcmAction>,
    sent: AtomicU64,
    refused: AtomicU64,
    tokens_issued: AtomicU64,
}

/// Counters of the simulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FcmStats {
    /// Messages accepted (`validate_only` ones too).
    pub accepted: u64,
    /// Messages refused.
    pub refused: u64,
    /// Access tokens issued.
    pub tokens_issued: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FcmSimulator {
    /// A simulator that delivers into `inbox`; `url` is where clients reach it.
    #[must_use]
    pub fn new(options: FcmOptions, url: &str, inbox: Inbox, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            options,
            clock,
            inbox,
            url: url.trim_end_matches('/').to_owned(),
            accounts: Mutex::default(),
            access: Mutex::default(),
            tokens: Mutex::default(),
            topics: Mutex::default(),
            script: Script::default(),
            sent: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            tokens_issued: AtomicU64::new(0),
        }))
    }

    /// Makes a service account of `project` whose assertions are accepted here. Takes a moment: an RSA key is made.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn create_service_account(&self, project: &str) -> anyhow::Result<ServiceAccount> {
        let account = ServiceAccount::create(project, &format!("{}/token", self.0.url))?;
        self.register_service_account(&account)?;
        Ok(account)
    }

    /// Accepts the assertions of this account from now on.
    ///
    /// # Errors
    /// When its private key is no RSA key.
    pub fn register_service_account(&self, account: &ServiceAccount) -> anyhow::Result<()> {
        let known = KnownAccount::new(account)?;
        lock(&self.0.accounts).insert(account.client_email.clone(), known);
        Ok(())
    }

    /// The development service account in `folder` (`service-account.json`), made when there is none, with its
    /// `token_uri` pointing here; registered.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is damaged.
    pub fn load_or_create_service_account(&self, folder: &Path) -> anyhow::Result<ServiceAccount> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let file = folder.join(ACCOUNT_FILE);
        let mut account = match std::fs::read(&file) {
            Ok(json) => serde_json::from_slice(&json).with_context(|| {
                format!("{} is no service account; delete it and a new one is made at the next start", file.display())
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                ServiceAccount::create(DEVELOPMENT_PROJECT, "")?
            }
            Err(error) => return Err(anyhow::Error::new(error).context(format!("cannot read {}", file.display()))),
        };
        let token_uri = format!("{}/token", self.0.url);
        if account.token_uri != token_uri {
            account.token_uri = token_uri;
            tidings_shared::tls::write_private(&file, &serde_json::to_string_pretty(&account)?)?;
        }
        self.register_service_account(&account)?;
        Ok(account)
    }

    /// Makes a registration token known, or changes what is known of it.
    pub fn register_token(&self, token: RegistrationToken) {
        lock(&self.0.tokens).insert(token.token.clone(), token);
    }

    /// What the simulator does with coming messages.
    #[must_use]
    pub fn script(&self) -> &Script<FcmAction> {
        &self.0.script
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> FcmStats {
        FcmStats {
            accepted: self.0.sent.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
            tokens_issued: self.0.tokens_issued.load(Ordering::Relaxed),
        }
    }

    /// Forgets scripts, registration tokens, topic subscriptions and counters. Accounts and access tokens stay.
    pub fn reset(&self) {
        self.0.script.clear();
        lock(&self.0.tokens).clear();
        lock(&self.0.topics).clear();
        self.0.sent.store(0, Ordering::Relaxed);
        self.0.refused.store(0, Ordering::Relaxed);
        self.0.tokens_issued.store(0, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for FcmSimulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FcmSimulator").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
