//! The keys that tokens are verified with: a shared secret, a PEM file, a JWKS from a file or a URL. Files and URLs are
//! read again while we run, so keys rotate without a restart.

mod file;
mod jwk;
mod remote;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

use self::file::{FileKeys, Form};
use self::remote::Remote;
use super::VerifierError;
use crate::clock::Clock;

pub(super) use remote::{body_of, chain, printable};

/// Keys that one token is tried with, at most: each costs a verification.
const TRIES: usize = 32;

/// A key that can verify, and which tokens it is for.
#[derive(Clone)]
pub(super) struct Key {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    key: Arc<DecodingKey>,
}

impl Key {
    fn fits(&self, algorithm: Algorithm) -> bool {
        self.key.family() == algorithm.family() && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// The key itself; the same key read anew is another one.
    pub(super) fn identity(&self) -> &Arc<DecodingKey> {
        &self.key
    }

    /// Whether this key made the signature.
    pub(super) fn signed(&self, signature: &str, message: &[u8], algorithm: Algorithm) -> bool {
        jsonwebtoken::crypto::verify(signature, message, &self.key, algorithm).unwrap_or(false)
    }
}

/// The keys that may have signed a token.
pub(super) struct Candidates {
    pub(super) keys: Vec<Key>,
    /// The token names one of them.
    pub(super) named: bool,
}

/// All keys at hand.
pub(super) struct Keys {
    secret: Option<Key>,
    files: Vec<FileKeys>,
    remote: Option<Arc<Remote>>,
}

impl Keys {
    pub(super) fn new(secret: Option<&str>) -> Self {
        let secret = secret.map(|secret| Key {
            id: None,
            algorithm: Some(Algorithm::HS256),
            key: Arc::new(DecodingKey::from_secret(secret.as_bytes())),
        });
        Self { secret, files: Vec::new(), remote: None }
    }

    pub(super) fn add_pem_file(&mut self, file: PathBuf, clock: &Clock) -> Result<(), VerifierError> {
        self.files.push(FileKeys::open(Form::Pem, file, clock.clone())?);
        Ok(())
    }

    pub(super) fn add_jwks_file(&mut self, file: PathBuf, clock: &Clock) -> Result<(), VerifierError> {
        self.files.push(FileKeys::open(Form::Jwks, file, clock.clone())?);
        Ok(())
    }

    pub(super) fn add_remote(&mut self, url: String, client: reqwest::Client, patience: Duration, clock: &Clock) {
        self.remote = Some(Arc::new(Remote::new(url, client, patience, clock.clone())));
    }

    /// The known keys that may have signed a token with this header: those of its name and those without a name; without a
    /// `kid`, every key of the algorithm.
    pub(super) fn candidates(&self, id: Option<&str>, algorithm: Algorithm) -> Candidates {
        if algorithm.family() == AlgorithmFamily::Hmac {
            return Candidates { keys: self.secret.iter().cloned().collect(), named: true };
        }
        let sets = self.files.iter().map(FileKeys::keys).chain(self.remote.iter().map(|remote| remote.keys()));
        let (mut named, mut others) = (Vec::new(), Vec::new());
        for set in sets {
            for key in set.iter().filter(|key| key.fits(algorithm)) {
                match (&key.id, id) {
                    (Some(own), Some(id)) if own == id => named.push(key.clone()),
                    (Some(_), Some(_)) => {}
                    _ => others.push(key.clone()),
                }
            }
        }
        let is_named = !named.is_empty();
        named.extend(others);
        named.truncate(TRIES);
        Candidates { keys: named, named: is_named }
    }

    /// Looks whether what is known has become old.
    pub(super) async fn freshen(&self) {
        for file in &self.files {
            file.look(false);
        }
        if let Some(remote) = &self.remote {
            remote.freshen().await;
        }
    }

    /// A token fits no known key: looks for newer ones. Whether there are others now. The issuer is asked only when the
    /// token names no key that is known.
    pub(super) async fn renew(&self, named: bool) -> bool {
        // Every file is looked at, whatever the first one says.
        let changed = self.files.iter().filter(|file| file.look(true)).count() > 0;
        match &self.remote {
            Some(remote) if !named && !changed => remote.renew().await,
            _ => changed,
        }
    }

    /// Whether keys have names here, so that a name that is not known means a key that is not known.
    pub(super) fn have_names(&self) -> bool {
        self.remote.is_some() || self.files.iter().any(|file| file.form() == Form::Jwks)
    }

    /// Whether the issuer's URL has never given keys.
    pub(super) fn are_missing(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.is_unknown())
    }
}

/// HMAC keys belong to `auth.secret` alone, so the allow-list of key algorithms never names them.
pub(super) fn is_public_key_algorithm(algorithm: Algorithm) -> bool {
    algorithm.family() != AlgorithmFamily::Hmac
}
