//! The keys that tokens are verified with: a shared secret, a PEM file, a JWKS from a file or a URL.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use tokio::sync::Mutex;

use super::VerifierError;
use crate::clock::Clock;

/// How long a fetched key set is used before it is fetched anew, in ms.
const FRESH_MS: i64 = 10 * 60_000;
/// The shortest time between two fetches, whatever tokens ask for, in ms.
const MIN_INTERVAL_MS: i64 = 10_000;
/// The largest key set that is read, in bytes.
const MAX_JWKS_BYTES: usize = 1 << 20;

/// A key that can verify, and which tokens it is for.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) key: Arc<DecodingKey>,
}

impl Key {
    fn fits(&self, algorithm: Algorithm) -> bool {
        self.key.family() == algorithm.family() && self.algorithm.is_none_or(|own| own == algorithm)
    }
}

/// All keys at hand.
pub(super) struct Keys {
    fixed: Vec<Key>,
    remote: Option<Remote>,
}

struct Remote {
    url: String,
    client: reqwest::Client,
    cached: ArcSwap<Cached>,
    fetching: Mutex<()>,
    clock: Clock,
}

#[derive(Default)]
struct Cached {
    keys: Vec<Key>,
    fetched_at_ms: Option<i64>,
    tried_at_ms: Option<i64>,
}

/// What looking for a key came to.
pub(super) enum Found {
    Keys(Vec<Key>),
    None,
    Unreachable,
}

impl Keys {
    pub(super) fn new(fixed: Vec<Key>) -> Self {
        Self { fixed, remote: None }
    }

    pub(super) fn with_remote(mut self, url: String, client: reqwest::Client, clock: Clock) -> Self {
        let cached = ArcSwap::default();
        self.remote = Some(Remote { url, client, cached, fetching: Mutex::new(()), clock });
        self
    }

    /// The keys that may have signed a token with this header. Without a `kid` every key of the algorithm may.
    pub(super) async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Found {
        let fixed = select(&self.fixed, id, algorithm);
        if !fixed.is_empty() {
            return Found::Keys(fixed);
        }
        let Some(remote) = &self.remote else { return Found::None };
        let before = remote.cached.load_full();
        let known = select(&before.keys, id, algorithm);
        let now = remote.clock.now_ms();
        let fresh = before.fetched_at_ms.is_some_and(|at| now - at < FRESH_MS);
        if !known.is_empty() && fresh {
            return Found::Keys(known);
        }
        remote.refresh(before.tried_at_ms).await;
        let after = remote.cached.load();
        let keys = select(&after.keys, id, algorithm);
        match (keys.is_empty(), after.fetched_at_ms) {
            (false, _) => Found::Keys(keys),
            (true, Some(_)) => Found::None,
            (true, None) => Found::Unreachable,
        }
    }
}

impl Remote {
    /// Fetches the key set unless somebody else just did; old keys stay when the fetch fails.
    async fn refresh(&self, seen_try: Option<i64>) {
        let _one_at_a_time = self.fetching.lock().await;
        let before = self.cached.load_full();
        let now = self.clock.now_ms();
        let tried_meanwhile = before.tried_at_ms != seen_try;
        let too_soon = before.tried_at_ms.is_some_and(|at| now - at < MIN_INTERVAL_MS);
        if tried_meanwhile || too_soon {
            return;
        }
        let next = match self.fetch().await {
            Ok(keys) => Cached { keys, fetched_at_ms: Some(now), tried_at_ms: Some(now) },
            Err(error) => {
                tracing::warn!(url = %self.url, %error, "the issuer's keys could not be fetched; the known ones stay");
                Cached { keys: before.keys.clone(), fetched_at_ms: before.fetched_at_ms, tried_at_ms: Some(now) }
            }
        };
        self.cached.store(Arc::new(next));
    }

    async fn fetch(&self) -> anyhow::Result<Vec<Key>> {
        let mut answer = self.client.get(&self.url).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            anyhow::ensure!(body.len() <= MAX_JWKS_BYTES, "the key set is larger than {MAX_JWKS_BYTES} bytes");
        }
        Ok(from_jwks(&serde_json::from_slice(&body)?))
    }
}

fn select(keys: &[Key], id: Option<&str>, algorithm: Algorithm) -> Vec<Key> {
    let fitting = keys.iter().filter(|key| key.fits(algorithm));
    match id {
        Some(id) => fitting.filter(|key| key.id.as_deref().is_none_or(|own| own == id)).cloned().collect(),
        None => fitting.cloned().collect(),
    }
}

/// Every usable signature key of a set; shared secrets in a key set are never used.
fn from_jwks(set: &JwkSet) -> Vec<Key> {
    set.keys.iter().filter_map(from_jwk).collect()
}

fn from_jwk(jwk: &Jwk) -> Option<Key> {
    if matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
        return None;
    }
    let key = DecodingKey::from_jwk(jwk).ok()?;
    let algorithm = jwk.common.key_algorithm.and_then(|named| named.to_string().parse().ok());
    Some(Key { id: jwk.common.key_id.clone(), algorithm, key: Arc::new(key) })
}

pub(super) fn from_secret(secret: &str) -> Key {
    Key { id: None, algorithm: Some(Algorithm::HS256), key: Arc::new(DecodingKey::from_secret(secret.as_bytes())) }
}

pub(super) fn from_jwks_file(file: &Path) -> Result<Vec<Key>, VerifierError> {
    let fault = |problem: String| VerifierError { place: format!("auth.jwks_file: {}", file.display()), problem };
    let text = std::fs::read(file).map_err(|error| fault(format!("the key set cannot be read: {error}")))?;
    let set = serde_json::from_slice(&text).map_err(|error| fault(format!("this is not a JWKS: {error}")))?;
    let keys = from_jwks(&set);
    if keys.is_empty() {
        return Err(fault("the key set has no key that signatures can be verified with".to_owned()));
    }
    Ok(keys)
}

pub(super) fn from_pem_file(file: &Path) -> Result<Key, VerifierError> {
    let fault = |problem: String| VerifierError { place: format!("auth.public_key_file: {}", file.display()), problem };
    let pem = std::fs::read(file).map_err(|error| fault(format!("the public key cannot be read: {error}")))?;
    let key = DecodingKey::from_ec_pem(&pem)
        .or_else(|_| DecodingKey::from_rsa_pem(&pem))
        .or_else(|_| DecodingKey::from_ed_pem(&pem))
        .map_err(|_| fault("this is not the PEM form of an EC, RSA or Ed25519 public key".to_owned()))?;
    Ok(Key { id: None, algorithm: None, key: Arc::new(key) })
}

/// HMAC keys belong to `auth.secret` alone, so the allow-list of key algorithms never names them.
pub(super) fn is_public_key_algorithm(algorithm: Algorithm) -> bool {
    algorithm.family() != AlgorithmFamily::Hmac
}
