//! Asking the issuer about one token (RFC 7662): only where its keys or our clock cannot tell, and never often.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::watch;

use super::VerifierError;
use super::bucket::Bucket;
use super::claims::{RawClaims, parse};
use super::keys::{body_of, chain, printable};
use super::memo::{Fingerprint, fingerprint};
use crate::clock::Clock;
use crate::config::Settings;

/// Questions: so many at once, then one for each interval, in ms.
const AT_ONCE: i64 = 50;
const INTERVAL_MS: i64 = 50;
/// The longest answer, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// How the issuer is asked (settings `auth.introspection.*`).
#[derive(Clone, Debug)]
pub struct IntrospectionConfig {
    /// The endpoint.
    pub url: String,
    /// Who asks, as a client of the issuer (HTTP Basic): its id and its secret.
    pub client: Option<(String, String)>,
    /// Who asks, as the bearer of a token.
    pub bearer: Option<String>,
    /// How far beyond the leeway `exp` and `nbf` may be off for the issuer to be asked, in ms.
    pub skew_ms: i64,
    /// How long an answer is remembered, in ms.
    pub cache_ms: i64,
}

impl IntrospectionConfig {
    /// Reads `auth.introspection.*`; `None` when there is no URL.
    #[must_use]
    pub fn from_settings(settings: &Settings) -> Option<Self> {
        let client = settings.optional_text("auth.introspection.client_id").map(|id| {
            let secret = settings.optional_text("auth.introspection.client_secret").unwrap_or_default();
            (id, secret)
        });
        Some(Self {
            url: settings.optional_text("auth.introspection.url")?,
            client,
            bearer: settings.optional_text("auth.introspection.token"),
            skew_ms: settings.duration_ms("auth.introspection.skew"),
            cache_ms: settings.duration_ms("auth.introspection.cache"),
        })
    }
}

/// What the issuer says: the claims of an active token, `None` for any other.
type Answer = Option<Arc<RawClaims>>;
/// Or that it could not be asked.
type Outcome = Result<Answer, ()>;

enum Slot {
    Asking(watch::Receiver<Option<Outcome>>),
    Known { answer: Answer, until_ms: i64 },
}

pub(super) struct Introspector {
    config: IntrospectionConfig,
    client: reqwest::Client,
    patience: Duration,
    clock: Clock,
    bucket: Bucket,
    /// By the SHA-256 of the token. What the bucket lets through bounds it.
    slots: Mutex<HashMap<Fingerprint, Slot>>,
}

#[derive(Deserialize)]
struct Active {
    active: bool,
}

impl Introspector {
    pub(super) fn new(
        config: IntrospectionConfig,
        client: reqwest::Client,
        patience: Duration,
        clock: Clock,
    ) -> Result<Self, VerifierError> {
        if !config.url.starts_with("http") {
            let problem = "the introspection endpoint is an http:// or https:// address".to_owned();
            return Err(VerifierError { place: "auth.introspection.url".to_owned(), problem });
        }
        if config.client.is_some() && config.bearer.is_some() {
            let problem = "set either client_id and client_secret, or token".to_owned();
            return Err(VerifierError { place: "auth.introspection".to_owned(), problem });
        }
        let bucket = Bucket::new(AT_ONCE, INTERVAL_MS, clock.clone());
        Ok(Self { config, client, patience, clock, bucket, slots: Mutex::default() })
    }

    pub(super) fn skew_ms(&self) -> i64 {
        self.config.skew_ms
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Fingerprint, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the issuer says about a token; one question for each token at a time.
    ///
    /// # Errors
    /// It could not be asked, or was asked too often.
    pub(super) async fn ask(self: &Arc<Self>, token: &str) -> Outcome {
        let name = fingerprint(token);
        let mut answered = {
            let now = self.clock.now_ms();
            let mut slots = self.slots();
            match slots.get(&name) {
                Some(Slot::Known { answer, until_ms }) if *until_ms > now => return Ok(answer.clone()),
                Some(Slot::Asking(answered)) => answered.clone(),
                _ => {
                    if !self.bucket.take() {
                        return Err(());
                    }
                    slots.retain(|_, slot| !matches!(slot, Slot::Known { until_ms, .. } if *until_ms <= now));
                    let (tell, answered) = watch::channel(None);
                    slots.insert(name, Slot::Asking(answered.clone()));
                    drop(slots);
                    let question = Question { introspector: self.clone(), name, tell };
                    let token = token.to_owned();
                    // A task of its own: who waits may go away.
                    tokio::spawn(async move { question.put(token).await });
                    answered
                }
            }
        };
        match answered.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(())),
            Err(_) => Err(()),
        }
    }

    async fn request(&self, token: &str) -> Result<Answer, String> {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut request = self
            .client
            .post(&self.config.url)
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={}&token_type_hint=access_token", encode(token)));
        if let Some((id, secret)) = &self.config.client {
            // RFC 6749, section 2.3.1: form-encoded before they are joined.
            request = request.basic_auth(encode(id), Some(encode(secret)));
        }
        if let Some(bearer) = &self.config.bearer {
            request = request.bearer_auth(bearer);
        }
        let failed = |error: reqwest::Error| chain(&error.without_url());
        let answer = request.send().await.map_err(failed)?;
        let body = body_of(answer, MAX_BYTES, "the answer is longer").await?;
        // The texts of these errors could repeat what the token says.
        let Active { active } = serde_json::from_slice(&body)
            .map_err(|_| "the answer has no member `active` of true or false".to_owned())?;
        if !active {
            return Ok(None);
        }
        parse(&body).map(|claims| Some(Arc::new(claims))).map_err(|error| error.to_string())
    }
}

/// A question under way; told and forgotten on every path.
struct Question {
    introspector: Arc<Introspector>,
    name: [u8; 32],
    tell: watch::Sender<Option<Outcome>>,
}

impl Question {
    async fn put(self, token: String) {
        let introspector = &self.introspector;
        let outcome = match tokio::time::timeout(introspector.patience, introspector.request(&token)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {:?}", introspector.patience)),
        };
        let outcome = outcome.map_err(|error| {
            let url = printable(&introspector.config.url);
            tracing::warn!(url, error, "the issuer could not be asked about a token");
        });
        if let Ok(answer) = &outcome {
            let until_ms = introspector.clock.now_ms().saturating_add(introspector.config.cache_ms);
            introspector.slots().insert(self.name, Slot::Known { answer: answer.clone(), until_ms });
        }
        self.tell.send_replace(Some(outcome));
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let mut slots = self.introspector.slots();
        if matches!(slots.get(&self.name), Some(Slot::Asking(_))) {
            slots.remove(&self.name);
        }
    }
}
