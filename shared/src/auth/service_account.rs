//! A Google service account: it signs, and gets OAuth2 access tokens (RFC 7523): an RS256 assertion is exchanged at
//! `token_uri`. One exchange is in flight at a time; a token is renewed early, and used until its end while that fails.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};

use super::keys::chain;
use crate::clock::Clock;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// An assertion is good for this long; Google takes an hour at most.
const ASSERTION_S: i64 = 3600;
/// A token is renewed this long before its end.
const RENEW_BEFORE_MS: i64 = 5 * 60_000;
/// A token this close to its end is not used any more.
const UNUSABLE_BEFORE_MS: i64 = 10_000;
/// After a failed early renewal the next attempt waits this long.
const RENEWAL_PAUSE_MS: i64 = 10_000;
/// More of an answer than this is not read.
const MAX_ANSWER: usize = 64 * 1024;

/// The JSON file that Google gives for a service account.
#[derive(Clone, Deserialize)]
pub struct ServiceAccount {
    /// The project that the account belongs to.
    #[serde(default)]
    pub project_id: Option<String>,
    client_email: String,
    private_key: String,
    #[serde(default)]
    private_key_id: Option<String>,
    token_uri: String,
}

/// A file that is no usable service account.
#[derive(Debug, thiserror::Error)]
pub enum ServiceAccountError {
    /// Not the JSON that the Google Cloud console downloads.
    #[error("not a service account in JSON (client_email, private_key and token_uri are needed): {0}")]
    Json(#[from] serde_json::Error),
    /// `private_key` cannot sign.
    #[error("`private_key` is not an RSA private key in PEM")]
    Key(#[source] jsonwebtoken::errors::Error),
}

impl ServiceAccount {
    /// Reads the file's content.
    ///
    /// # Errors
    /// [`ServiceAccountError`] says what is missing.
    pub fn parse(json: &[u8]) -> Result<Self, ServiceAccountError> {
        Ok(serde_json::from_slice(json)?)
    }

    /// The account's address: the `iss` of what it signs.
    #[must_use]
    pub fn email(&self) -> &str {
        &self.client_email
    }

    /// What signs in the account's name.
    ///
    /// # Errors
    /// [`ServiceAccountError::Key`] when the key cannot sign.
    pub fn signer(&self) -> Result<AccountSigner, ServiceAccountError> {
        let key = EncodingKey::from_rsa_pem(self.private_key.as_bytes()).map_err(ServiceAccountError::Key)?;
        let signer = AccountSigner { key, key_id: self.private_key_id.clone() };
        // A key that cannot sign says so here, not at the first use.
        signer.sign(&serde_json::json!({})).map_err(ServiceAccountError::Key)?;
        Ok(signer)
    }
}

/// Signs JSON Web Tokens with a service account's key.
pub struct AccountSigner {
    key: EncodingKey,
    key_id: Option<String>,
}

impl AccountSigner {
    /// The claims as a compact JWT, RS256, with the key's id in its header.
    ///
    /// # Errors
    /// When the claims are no JSON object, or the key fails.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid.clone_from(&self.key_id);
        jsonwebtoken::encode(&header, claims, &self.key)
    }
}

impl fmt::Debug for AccountSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountSigner").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("client_email", &self.client_email).finish_non_exhaustive()
    }
}

/// Gives the current access token of one service account.
pub struct AccessTokens {
    account: ServiceAccount,
    signer: AccountSigner,
    scope: &'static str,
    http: reqwest::Client,
    clock: Clock,
    current: Mutex<Option<Current>>,
    /// One exchange at a time; the others wait here for its result.
    exchange: Arc<tokio::sync::Mutex<()>>,
    failed: Mutex<Failed>,
}

/// So many exchanges have failed, the last one so: whoever waited for it has its answer too.
#[derive(Default)]
struct Failed {
    count: u64,
    last: Option<AccessFailure>,
}

#[derive(Clone)]
struct Current {
    token: Arc<str>,
    ends_ms: i64,
    renew_at_ms: i64,
}

/// Why there is no access token.
#[derive(Debug, Clone)]
pub enum AccessFailure {
    /// Google refuses the account; its word for it.
    Refused(String),
    /// Later, perhaps.
    Temporary(&'static str),
}

#[derive(Serialize)]
struct Assertion<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default = "one_hour")]
    expires_in: i64,
}

fn one_hour() -> i64 {
    3600
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenRefusal {
    error: Option<String>,
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokens").field("account", &self.account).finish_non_exhaustive()
    }
}

impl AccessTokens {
    /// Checks the account's key; nothing is fetched yet. `scope` is what the tokens allow.
    ///
    /// # Errors
    /// [`ServiceAccountError::Key`] when the key cannot sign.
    pub fn new(
        account: ServiceAccount,
        scope: &'static str,
        http: reqwest::Client,
        clock: Clock,
    ) -> Result<Self, ServiceAccountError> {
        let signer = account.signer()?;
        Ok(Self {
            account,
            signer,
            scope,
            http,
            clock,
            current: Mutex::default(),
            exchange: Arc::default(),
            failed: Mutex::default(),
        })
    }

    /// The present access token; fetches one when there is none.
    ///
    /// # Errors
    /// [`AccessFailure`] says whether it is worth another try.
    pub async fn token(self: &Arc<Self>) -> Result<Arc<str>, AccessFailure> {
        match self.look() {
            Look::Good(token) => Ok(token),
            Look::RenewSoon(token) => {
                // Nobody waits for an early renewal, and only one runs.
                if let Ok(guard) = Arc::clone(&self.exchange).try_lock_owned() {
                    let tokens = Arc::clone(self);
                    tokio::spawn(async move {
                        let _guard = guard;
                        tokens.renew_early().await;
                    });
                }
                Ok(token)
            }
            Look::Nothing => {
                let before = self.failed().count;
                let _guard = self.exchange.lock().await;
                // Perhaps the one before us has just brought it, or has waited in vain: many that wait one after the
                // other would wait for ever.
                if let Look::Good(token) | Look::RenewSoon(token) = self.look() {
                    return Ok(token);
                }
                let failed = self.failed().since(before);
                match failed {
                    Some(failure) => Err(failure),
                    None => self.fetch().await,
                }
            }
        }
    }

    /// Google did not take `token`: the next call fetches another one.
    pub fn refused(&self, token: &Arc<str>) {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|current| current.token == *token) {
            *current = None;
        }
    }

    fn look(&self) -> Look {
        let now = self.clock.now_ms();
        match self.lock().as_ref() {
            Some(current) if now < current.renew_at_ms => Look::Good(Arc::clone(&current.token)),
            Some(current) if now < current.ends_ms - UNUSABLE_BEFORE_MS => Look::RenewSoon(Arc::clone(&current.token)),
            _ => Look::Nothing,
        }
    }

    async fn renew_early(&self) {
        // Whoever had the lock before may have renewed it already.
        if !matches!(self.look(), Look::RenewSoon(_)) || self.fetch().await.is_ok() {
            return;
        }
        let again_ms = self.clock.now_ms() + RENEWAL_PAUSE_MS;
        if let Some(current) = self.lock().as_mut() {
            current.renew_at_ms = again_ms;
        }
    }

    /// Only with the `exchange` lock held.
    async fn fetch(&self) -> Result<Arc<str>, AccessFailure> {
        let fetched = self.ask().await;
        if let Err(failure) = &fetched {
            let mut failed = self.failed();
            failed.count += 1;
            failed.last = Some(failure.clone());
        }
        fetched
    }

    async fn ask(&self) -> Result<Arc<str>, AccessFailure> {
        let now = self.clock.now_ms();
        let assertion = self.assertion(now.div_euclid(1000)).map_err(|error| {
            tracing::error!(%error, "the assertion of a service account could not be signed");
            AccessFailure::Refused("signing_failed".to_owned())
        })?;
        let form = format!("grant_type={}&assertion={assertion}", GRANT.replace(':', "%3A"));
        let sent = self
            .http
            .post(&self.account.token_uri)
            .timeout(Duration::from_secs(15))
            .header(::http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await;
        let response = sent.map_err(|error| {
            tracing::warn!(
                error = chain(&error),
                token_uri = self.account.token_uri,
                "no answer from the token endpoint"
            );
            AccessFailure::Temporary("token_endpoint_unreachable")
        })?;
        let status = response.status();
        let body = read_body(response).await;
        if !status.is_success() {
            return Err(self.refusal(status, &body));
        }
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|error| {
            tracing::warn!(%error, token_uri = self.account.token_uri, "the token endpoint's answer is not understood");
            AccessFailure::Temporary("token_endpoint_not_understood")
        })?;
        let token: Arc<str> = answer.access_token.into();
        let ends_ms = now + answer.expires_in.clamp(0, 86_400) * 1000;
        // A token of a short life is renewed after half of it.
        let renew_at_ms = (ends_ms - RENEW_BEFORE_MS).max(now + (ends_ms - now) / 2);
        *self.lock() = Some(Current { token: Arc::clone(&token), ends_ms, renew_at_ms });
        Ok(token)
    }

    fn refusal(&self, status: ::http::StatusCode, body: &[u8]) -> AccessFailure {
        let refusal: TokenRefusal = serde_json::from_slice(body).unwrap_or_default();
        tracing::warn!(
            status = status.as_u16(),
            error = refusal.error,
            account = self.account.client_email,
            "the token endpoint refuses"
        );
        if status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
            return AccessFailure::Temporary("token_endpoint_unavailable");
        }
        AccessFailure::Refused(refusal.error.unwrap_or_else(|| "token_endpoint_refused".to_owned()))
    }

    fn assertion(&self, now_s: i64) -> Result<String, jsonwebtoken::errors::Error> {
        let claims = Assertion {
            iss: &self.account.client_email,
            scope: self.scope,
            aud: &self.account.token_uri,
            iat: now_s,
            exp: now_s + ASSERTION_S,
        };
        self.signer.sign(&claims)
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Failed> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failed {
    /// How an exchange failed that ended after there had been `count`.
    fn since(&self, count: u64) -> Option<AccessFailure> {
        self.last.clone().filter(|_| self.count > count)
    }
}

enum Look {
    Good(Arc<str>),
    RenewSoon(Arc<str>),
    Nothing,
}

async fn read_body(mut response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        if body.len() + chunk.len() > MAX_ANSWER {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    body
}
