//! The credentials of one app at one provider: tried in their order, the first that is not refused sends. A refused one
//! rests and is asked again now and then, so that a rotation needs no hand on the gateway. Only when all of them are
//! refused does the app pause; its queue stays.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tidings_shared::clock::Clock;
use tidings_shared::push_api::{AppState, CredentialState, Environment, Provider, Push};

use super::advice::advice;
pub(crate) use super::credential::{Client, Credential};
pub(super) use super::credential::{Loaded, Standing};
use crate::provider::{Answer, Message, Outcome, PushProvider, Refusal};

pub(super) const ENVIRONMENTS: [Environment; 2] = [Environment::Production, Environment::Sandbox];

/// See the head of this file.
pub(crate) struct CredentialSet {
    pub(crate) provider: Provider,
    pub(crate) app: String,
    /// Never empty.
    current: ArcSwap<Vec<Arc<Credential>>>,
    faults: Mutex<Vec<String>>,
    clock: Clock,
    recheck_ms: i64,
}

impl fmt::Debug for CredentialSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialSet")
            .field("provider", &self.provider)
            .field("app", &self.app)
            .field("current", &self.current.load())
            .finish_non_exhaustive()
    }
}

impl CredentialSet {
    /// `loaded` has at least one.
    pub(super) fn new(provider: Provider, app: &str, loaded: Vec<Loaded>, recheck_ms: i64, clock: Clock) -> Self {
        Self {
            provider,
            app: app.to_owned(),
            current: ArcSwap::from_pointee(loaded.into_iter().map(Credential::new).collect()),
            faults: Mutex::default(),
            clock,
            recheck_ms,
        }
    }

    pub(crate) fn credentials(&self) -> Arc<Vec<Arc<Credential>>> {
        self.current.load_full()
    }

    /// Takes over what stands in the files now. What has not changed keeps its connections and its standing.
    pub(super) fn replace(&self, loaded: Vec<Loaded>) {
        let before = self.current.load_full();
        let after = loaded.into_iter().map(|loaded| {
            let known = before.iter().find(|known| known.loaded.digest == loaded.digest);
            known.cloned().unwrap_or_else(|| Credential::new(loaded))
        });
        self.current.store(Arc::new(after.collect()));
        self.lock_faults().clear();
    }

    /// Changed files that cannot be used. Whether they are not known yet.
    pub(super) fn note_faults(&self, faults: Vec<String>) -> bool {
        let mut known = self.lock_faults();
        let new = *known != faults;
        *known = faults;
        new
    }

    /// The credential that sends: the first that is not refused, else the first.
    pub(crate) fn preferred(&self, environment: Environment) -> Option<Arc<Credential>> {
        let credentials = self.current.load();
        let good = credentials.iter().find(|credential| !credential.is_refused(environment));
        good.or_else(|| credentials.first()).cloned()
    }

    /// Keeps what the provider said of a credential. `asked`: the credential was refused already when the push was sent.
    /// What was under way before a refusal and is accepted after it does not undo it.
    pub(crate) fn note(&self, credential: &Credential, environment: Environment, asked: bool, answer: &Answer) {
        let now_ms = self.clock.now_ms();
        let mut standing = credential.standing();
        let standing = &mut standing[environment as usize];
        match answer.outcome {
            Outcome::Pause | Outcome::SignAnew => {
                let since_ms = match standing {
                    Standing::Refused { since_ms, .. } => *since_ms,
                    _ => {
                        tracing::error!(
                            provider = %self.provider,
                            app = self.app,
                            credential = credential.name(),
                            environment = environment.as_str(),
                            status = answer.status,
                            reason = answer.reason,
                            "a credential is refused: {}",
                            advice(self.provider, answer.reason.as_deref())
                        );
                        now_ms
                    }
                };
                *standing = Standing::Refused {
                    since_ms,
                    ask_at_ms: now_ms + self.recheck_ms,
                    status: answer.status,
                    reason: answer.reason.clone(),
                };
            }
            // No answer, or one of a server in trouble: says nothing about the credential.
            Outcome::Retry(_) | Outcome::ForeignToken => {}
            _ if answer.status.is_none() => {}
            _ => match standing {
                Standing::Accepted { .. } => {}
                Standing::Refused { .. } if !asked => {}
                _ => {
                    if matches!(standing, Standing::Refused { .. }) {
                        if answer.outcome == Outcome::Accepted {
                            credential.foreign.repaired();
                        }
                        tracing::info!(
                            provider = %self.provider,
                            app = self.app,
                            credential = credential.name(),
                            "a credential is accepted again"
                        );
                    }
                    *standing = Standing::Accepted { since_ms: now_ms };
                }
            },
        }
    }

    pub(crate) fn serves(&self, environment: Environment) -> bool {
        self.current.load().iter().any(|credential| credential.client().provider().serves(environment))
    }

    /// For `GET /v1/apps`.
    pub(crate) fn state(&self) -> AppState {
        let credentials = self.current.load_full();
        let environments: Vec<_> = ENVIRONMENTS.into_iter().filter(|environment| self.serves(*environment)).collect();
        let paused = environments
            .iter()
            .any(|environment| credentials.iter().all(|credential| credential.is_refused(*environment)));
        let shown: Vec<_> = credentials.iter().map(|credential| credential.shown(self.provider)).collect();
        let state = if paused {
            CredentialState::Paused
        } else if shown.iter().any(|credential| credential.state != CredentialState::Unknown) {
            CredentialState::Accepted
        } else {
            CredentialState::Unknown
        };
        AppState {
            app: self.app.clone(),
            provider: self.provider,
            environments,
            state,
            credentials: shown,
            faults: self.lock_faults().clone(),
        }
    }

    async fn send_with_any(&self, message: &Message) -> Answer {
        let credentials = self.current.load_full();
        let now_ms = self.clock.now_ms();
        let mut refused = None;
        for credential in credentials.iter() {
            if !credential.may_send(message.environment, now_ms, self.recheck_ms) {
                continue;
            }
            let asked = credential.is_refused(message.environment);
            let answer = credential.client().provider().send(message).await;
            let answer = credential.foreign.judge(&message.token, answer, self.clock.now_ms());
            self.note(credential, message.environment, asked, &answer);
            if !matches!(answer.outcome, Outcome::Pause | Outcome::SignAnew) {
                return answer;
            }
            refused = Some(answer);
        }
        refused.unwrap_or_else(|| {
            let (status, reason) = credentials.first().map_or((None, None), |credential| {
                match &credential.standing()[message.environment as usize] {
                    Standing::Refused { status, reason, .. } => (*status, reason.clone()),
                    _ => (None, None),
                }
            });
            Answer { outcome: Outcome::Pause, status, reason, provider_id: None }
        })
    }

    /// The form of a push is judged alike by all of them.
    fn first<T>(&self, ask: impl FnOnce(&dyn PushProvider) -> T, nobody: T) -> T {
        match self.current.load().first() {
            Some(credential) => ask(credential.client().provider()),
            None => nobody,
        }
    }

    fn lock_faults(&self) -> MutexGuard<'_, Vec<String>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PushProvider for CredentialSet {
    fn send<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Answer> {
        Box::pin(self.send_with_any(message))
    }

    fn check(&self, push: &Push, collapse_id: Option<&str>) -> Result<(), Refusal> {
        self.first(|provider| provider.check(push, collapse_id), Ok(()))
    }

    fn serves(&self, environment: Environment) -> bool {
        self.serves(environment)
    }

    fn check_recipient(&self, recipient: &str, push: &Push) -> Result<(), Refusal> {
        self.first(|provider| provider.check_recipient(recipient, push), Ok(()))
    }

    fn validate<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Option<Answer>> {
        Box::pin(async move {
            let credential = self.preferred(message.environment)?;
            let asked = credential.is_refused(message.environment);
            let answer = credential.client().provider().validate(message).await?;
            let answer = credential.foreign.judge(&message.token, answer, self.clock.now_ms());
            self.note(&credential, message.environment, asked, &answer);
            Some(answer)
        })
    }
}
