//! Links to download pages: sealed, with an end. What a link names, its pass's token among it, cannot be read from it, and
//! nobody can make one without the key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::store::PassId;
use crate::token::random_bytes;

/// Most passes behind one link: Wallet takes no larger bundle.
pub const MOST_PASSES: usize = 10;
/// Longest link that is made: with its address and a picture's name it stays below what is read of an address.
pub const LONGEST_MADE: usize = 3900;
/// A link that is longer is nobody's.
const LONGEST: usize = 4096;
const PURPOSE: &[u8] = b"tidings wallet link 1";

/// A pass behind a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedPass {
    #[serde(rename = "p")]
    pass_type: String,
    #[serde(rename = "s")]
    serial: String,
    /// Its token, where the service keeps only a hash.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl LinkedPass {
    /// A pass, and its token where the service cannot derive it.
    #[must_use]
    pub fn new(id: &PassId, token: Option<String>) -> Self {
        Self { pass_type: id.pass_type.clone(), serial: id.serial.clone(), token }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> PassId {
        PassId { pass_type: self.pass_type.clone(), serial: self.serial.clone() }
    }
}

#[derive(Serialize, Deserialize)]
struct Content {
    #[serde(rename = "w")]
    passes: Vec<LinkedPass>,
    /// ms since 1970.
    #[serde(rename = "e")]
    ends_at: i64,
}

/// Why a link opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// It was not made with this key, or was changed.
    Bad,
    /// Its end has passed.
    Ended,
}

/// Makes and opens links.
pub struct Links(LessSafeKey);

impl Links {
    /// With a key of 32 characters or more; the same for every process.
    ///
    /// # Errors
    /// None in practice: the derived key has the right length.
    pub fn new(key: &str) -> anyhow::Result<Self> {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), PURPOSE);
        let key = UnboundKey::new(&AES_256_GCM, derived.as_ref());
        Ok(Self(LessSafeKey::new(key.map_err(|_| anyhow::anyhow!("the link key cannot be used"))?)))
    }

    /// A link's last part, in the URL-safe alphabet.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn seal(&self, passes: Vec<LinkedPass>, ends_at: i64) -> anyhow::Result<String> {
        let nonce = random_bytes::<NONCE_LEN>()?;
        let mut text = serde_json::to_vec(&Content { passes, ends_at })?;
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(PURPOSE), &mut text)
            .map_err(|_| anyhow::anyhow!("a link cannot be sealed"))?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat()))
    }

    /// The passes behind a link.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn open(&self, link: &str, now_ms: i64) -> Result<Vec<LinkedPass>, LinkError> {
        if link.len() > LONGEST {
            return Err(LinkError::Bad);
        }
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(link).map_err(|_| LinkError::Bad)?;
        if bytes.len() < NONCE_LEN {
            return Err(LinkError::Bad);
        }
        let mut sealed = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| LinkError::Bad)?;
        let text = self.0.open_in_place(nonce, Aad::from(PURPOSE), &mut sealed).map_err(|_| LinkError::Bad)?;
        let content: Content = serde_json::from_slice(text).map_err(|_| LinkError::Bad)?;
        if content.ends_at <= now_ms { Err(LinkError::Ended) } else { Ok(content.passes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_until_its_end_and_only_unchanged_and_with_its_key() {
        let links = Links::new(&"k".repeat(32)).unwrap();
        let id = PassId { pass_type: "pass.a".to_owned(), serial: "1".to_owned() };
        let passes = vec![LinkedPass::new(&id, Some("a-secret-token".to_owned()))];
        let link = links.seal(passes.clone(), 1_000).unwrap();
        assert_eq!(links.open(&link, 999), Ok(passes.clone()));
        assert_eq!(links.open(&link, 1_000), Err(LinkError::Ended));
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&link).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("secret"), "what is in it cannot be read");
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 1;
            assert_eq!(links.open(&BASE64_URL_SAFE_NO_PAD.encode(changed), 0), Err(LinkError::Bad));
        }
        assert_eq!(Links::new(&"x".repeat(32)).unwrap().open(&link, 0), Err(LinkError::Bad));
        for bad in ["", "x", "é", &"A".repeat(5000)] {
            assert_eq!(links.open(bad, 0), Err(LinkError::Bad));
        }
        assert_ne!(links.seal(passes, 1_000).unwrap(), link, "each link is sealed with a number of its own");
    }
}
