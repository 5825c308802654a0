//! One credential in use: its client, and what its provider thinks of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_shared::push_api::{Credential as Shown, CredentialState, Environment, Provider};

use super::advice::advice;
use super::credentials::ENVIRONMENTS;
use super::foreign::Foreign;
use crate::provider::PushProvider;
use crate::provider::apns::Apns;
use crate::provider::fcm::Fcm;
use crate::provider::webpush::WebPush;

/// One provider's client with one credential.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    Apns(Arc<Apns>),
    Fcm(Arc<Fcm>),
    WebPush(Arc<WebPush>),
}

impl Client {
    pub(super) fn provider(&self) -> &dyn PushProvider {
        match self {
            Self::Apns(client) => &**client,
            Self::Fcm(client) => &**client,
            Self::WebPush(client) => &**client,
        }
    }
}

/// A credential as it was read from its files.
#[derive(Debug)]
pub(super) struct Loaded {
    /// Names it for people: a key id, or a file. Never the secret.
    pub(super) name: String,
    /// Of everything that it was made from: the same digest is the same credential.
    pub(super) digest: [u8; 32],
    pub(super) client: Client,
    pub(super) expires_at_ms: Option<i64>,
}

/// A credential in use.
#[derive(Debug)]
pub(crate) struct Credential {
    pub(super) loaded: Loaded,
    /// What the provider thinks of it, in each environment.
    standing: Mutex<[Standing; 2]>,
    /// Tokens that may be of another project.
    pub(super) foreign: Foreign,
}

#[derive(Clone, Debug, Default)]
pub(super) enum Standing {
    #[default]
    Unknown,
    Accepted {
        since_ms: i64,
    },
    Refused {
        since_ms: i64,
        /// When one push may ask again.
        ask_at_ms: i64,
        status: Option<u16>,
        reason: Option<String>,
    },
}

impl Credential {
    pub(super) fn new(loaded: Loaded) -> Arc<Self> {
        Arc::new(Self { loaded, standing: Mutex::default(), foreign: Foreign::default() })
    }

    pub(super) fn name(&self) -> &str {
        &self.loaded.name
    }

    pub(crate) fn client(&self) -> &Client {
        &self.loaded.client
    }

    pub(super) fn expires_at_ms(&self) -> Option<i64> {
        self.loaded.expires_at_ms
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, [Standing; 2]> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_refused(&self, environment: Environment) -> bool {
        matches!(self.standing()[environment as usize], Standing::Refused { .. })
    }

    /// Whether it may send now. A refused one lets a single push through when its time has come.
    pub(super) fn may_send(&self, environment: Environment, now_ms: i64, recheck_ms: i64) -> bool {
        match &mut self.standing()[environment as usize] {
            Standing::Refused { ask_at_ms, .. } if now_ms < *ask_at_ms => false,
            Standing::Refused { ask_at_ms, .. } => {
                *ask_at_ms = now_ms + recheck_ms;
                true
            }
            _ => true,
        }
    }

    /// What is shown: a refusal in any environment, else an acceptance.
    pub(super) fn shown(&self, provider: Provider) -> Shown {
        let standing = self.standing().clone();
        let mut shown = Shown {
            name: self.loaded.name.clone(),
            state: CredentialState::Unknown,
            since_ms: None,
            environment: None,
            provider_status: None,
            reason: None,
            advice: None,
            expires_at_ms: self.loaded.expires_at_ms,
        };
        for (environment, standing) in ENVIRONMENTS.into_iter().zip(standing) {
            match standing {
                Standing::Refused { since_ms, status, reason, .. } => {
                    shown.state = CredentialState::Refused;
                    shown.since_ms = Some(since_ms);
                    shown.environment = Some(environment);
                    shown.provider_status = status;
                    shown.advice = Some(advice(provider, reason.as_deref()).to_owned());
                    shown.reason = reason;
                    break;
                }
                Standing::Accepted { since_ms } if shown.state == CredentialState::Unknown => {
                    shown.state = CredentialState::Accepted;
                    shown.since_ms = Some(since_ms);
                }
                Standing::Accepted { .. } | Standing::Unknown => {}
            }
        }
        shown
    }
}
