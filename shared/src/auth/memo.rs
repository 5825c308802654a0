//! Which signatures were found good lately. A device shows the same token at every connect; when all come back at once,
//! verifying each signature again would be most of the work.
//!
//! Only the signature is remembered, by the hash of the whole token, and only for the very key that was used: a key that
//! is read anew is another one. Times, issuer, audience and revocation are looked at every time. A bad signature is never
//! remembered, so nobody without good tokens can fill the memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

use super::keys::Key;
use super::token::Parts;
use crate::recent::Recent;

/// Signatures in each of two generations; about 60 bytes each.
const REMEMBERED: usize = 32 * 1024;

/// The hash of a token.
pub(super) type Fingerprint = [u8; 32];

/// The hash of a token, by which it is known without being kept.
pub(super) fn fingerprint(token: &str) -> Fingerprint {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    fingerprint
}

/// See the head of this file.
pub(super) struct Memo(Mutex<Recent<Fingerprint, Arc<DecodingKey>>>);

impl Default for Memo {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(REMEMBERED)))
    }
}

impl Memo {
    fn lock(&self) -> MutexGuard<'_, Recent<Fingerprint, Arc<DecodingKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one of `keys` has signed the token, computed or remembered.
    pub(super) fn signed(&self, keys: &[Key], token: &str, parts: &Parts<'_>, algorithm: Algorithm) -> bool {
        let made_by = |key: &&Key| key.signed(parts.signature, parts.message, algorithm);
        if algorithm.family() == AlgorithmFamily::Hmac {
            // As cheap as the hash.
            return keys.iter().any(|key| made_by(&key));
        }
        let name = fingerprint(token);
        let known = self.lock().peek(&name).cloned();
        let remembered = known.and_then(|known| keys.iter().find(|key| Arc::ptr_eq(key.identity(), &known)));
        let Some(key) = remembered.or_else(|| keys.iter().find(made_by)) else { return false };
        // Young again, and of this key from now on.
        key.identity().clone_into(self.lock().touch(name, || key.identity().clone()));
        true
    }
}
