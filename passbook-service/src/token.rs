//! Authentication tokens of passes: made, hashed, compared in constant time.
//!
//! A token never changes once a pass has it. Only its hash is kept. In the derived mode it can be computed again from a
//! master key outside the database and a nonce in the row; a leaked database then still gives no token away.

use std::path::Path;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::config::TokenMode;
use crate::package::hex;

/// How a stored hash was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// What this service writes.
    Sha384,
    /// Imported from another provider; replaced by SHA-384 when the token is next used.
    Sha256,
    /// As above.
    Sha1,
    /// As above: the token itself.
    Plain,
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::Sha384, Self::Sha256, Self::Sha1, Self::Plain];

    /// The name in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha384 => "sha384",
            Self::Sha256 => "sha256",
            Self::Sha1 => "sha1",
            Self::Plain => "plain",
        }
    }

    /// The algorithm with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    fn hash(self, token: &str) -> String {
        let algorithm = match self {
            Self::Plain => return token.to_owned(),
            Self::Sha384 => &digest::SHA384,
            Self::Sha256 => &digest::SHA256,
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        };
        hex(digest::digest(algorithm, token.as_bytes()).as_ref())
    }
}

/// The hash that is stored for a token.
#[must_use]
pub fn hash(token: &str) -> String {
    Algorithm::Sha384.hash(token)
}

/// Compares a presented token with what is stored; `None` stands for an unknown pass and takes as long.
#[must_use]
pub fn fits(presented: &str, stored: Option<(Algorithm, &str)>) -> bool {
    // Each form is computed every time: which one is stored must not show.
    let computed = Algorithm::ALL.map(|algorithm| algorithm.hash(presented));
    let (algorithm, expected) = stored.unwrap_or((Algorithm::Sha384, ""));
    let found = Algorithm::ALL
        .iter()
        .zip(&computed)
        .find(|(candidate, _)| **candidate == algorithm)
        .map_or("", |(_, text)| text);
    // Compared as digests: equal lengths, whatever was stored or presented.
    let left = digest::digest(&digest::SHA384, found.as_bytes());
    let right = digest::digest(&digest::SHA384, expected.as_bytes());
    let equal: bool = left.as_ref().ct_eq(right.as_ref()).into();
    equal && stored.is_some()
}

/// Makes tokens.
pub struct TokenMaker(Option<hmac::Key>);

/// A token for a new pass.
pub struct NewToken {
    /// The token; shown once.
    pub token: String,
    /// Stored beside the hash when the token can be derived again.
    pub nonce: Option<String>,
}

impl TokenMaker {
    /// A maker as configured; a missing master key is made in `data`.
    ///
    /// # Errors
    /// When the key file cannot be read or written.
    pub fn new(mode: &TokenMode, data: &Path) -> anyhow::Result<Self> {
        let key = match mode {
            TokenMode::Random => return Ok(Self(None)),
            TokenMode::Derived(Some(key)) => key.clone(),
            TokenMode::Derived(None) => {
                key_file(data, "token.key", "the master key of pass tokens (setting wallet.token_key)")?
            }
        };
        Ok(Self(Some(hmac::Key::new(hmac::HMAC_SHA384, key.as_bytes()))))
    }

    /// A token that nobody had before.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn make(&self, pass_type: &str, serial: &str) -> anyhow::Result<NewToken> {
        let random = random_text::<24>()?;
        Ok(match self.derive(pass_type, serial, &random) {
            Some(token) => NewToken { token, nonce: Some(random) },
            None => NewToken { token: random, nonce: None },
        })
    }

    /// Whether tokens are random, so that nobody can make them again.
    #[must_use]
    pub fn are_random(&self) -> bool {
        self.0.is_none()
    }

    /// The token that was made with this nonce; `None` in the random mode.
    #[must_use]
    pub fn derive(&self, pass_type: &str, serial: &str, nonce: &str) -> Option<String> {
        let key = self.0.as_ref()?;
        // JSON keeps the parts apart.
        let message = serde_json::json!(["tidings pass token 1", pass_type, serial, nonce]).to_string();
        let tag = hmac::sign(key, message.as_bytes());
        Some(BASE64_URL_SAFE_NO_PAD.encode(&tag.as_ref()[..24]))
    }
}

/// `N` random bytes in the URL-safe alphabet.
pub(crate) fn random_text<const N: usize>() -> anyhow::Result<String> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<N>()?))
}

/// `N` random bytes in hexadecimal.
pub(crate) fn random_hex<const N: usize>() -> anyhow::Result<String> {
    Ok(hex(&random_bytes::<N>()?))
}

pub(crate) fn random_bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system's random source does not answer"))?;
    Ok(bytes)
}

/// The key in a file of the data folder, made when it is missing.
///
/// # Errors
/// Names the file and what it is for.
pub(crate) fn key_file(data: &Path, name: &str, what: &str) -> anyhow::Result<String> {
    use anyhow::Context;

    let path = data.join("wallet").join(name);
    let place = || format!("{}: {what}", path.display());
    // Of several processes that start together one makes the file; all read it.
    if !path.exists() {
        let key = random_hex::<32>()?;
        std::fs::create_dir_all(data.join("wallet")).with_context(place)?;
        crate::secret_file::create(&path, key.as_bytes()).with_context(place)?;
    }
    let key = std::fs::read_to_string(&path).with_context(place)?;
    anyhow::ensure!(
        key.trim().len() >= 32,
        "{} has fewer than 32 characters; restore it from a backup. With a new one, what the old one made is lost",
        place()
    );
    Ok(key.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_token_can_be_made_again_and_depends_on_everything() {
        let folder = tempfile::tempdir().unwrap();
        let maker = TokenMaker::new(&TokenMode::Derived(None), folder.path()).unwrap();
        let made = maker.make("pass.a", "1").unwrap();
        let nonce = made.nonce.unwrap();
        assert!(made.token.len() >= 16);
        let again = TokenMaker::new(&TokenMode::Derived(None), folder.path()).unwrap();
        assert_eq!(again.derive("pass.a", "1", &nonce), Some(made.token.clone()), "the key file is kept");
        assert_ne!(again.derive("pass.a", "2", &nonce), Some(made.token.clone()));
        assert_ne!(again.derive("pass.b", "1", &nonce), Some(made.token.clone()));
        assert_ne!(maker.make("pass.a", "1").unwrap().token, made.token);
        let other = TokenMaker::new(&TokenMode::Derived(Some("0".repeat(32))), folder.path()).unwrap();
        assert_ne!(other.derive("pass.a", "1", &nonce), Some(made.token));
    }

    #[test]
    fn processes_that_start_together_have_one_key() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let barrier = std::sync::Barrier::new(4);
            let keys: Vec<String> = std::thread::scope(|scope| {
                let started: Vec<_> = (0..4)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            key_file(folder.path(), "token.key", "a key").unwrap()
                        })
                    })
                    .collect();
                started.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{keys:?}");
            let files = std::fs::read_dir(folder.path().join("wallet")).unwrap().count();
            assert_eq!(files, 1, "nothing is left beside it");
        }
    }

    #[test]
    fn random_tokens_cannot_be_derived() {
        let maker = TokenMaker::new(&TokenMode::Random, Path::new("/nowhere")).unwrap();
        let made = maker.make("pass.a", "1").unwrap();
        assert!(made.nonce.is_none() && made.token.len() >= 16);
        assert_eq!(maker.derive("pass.a", "1", "x"), None);
    }

    #[test]
    fn every_stored_form_is_compared_and_an_unknown_pass_never_fits() {
        for algorithm in Algorithm::ALL {
            let stored = algorithm.hash("right");
            assert!(fits("right", Some((algorithm, &stored))));
            assert!(!fits("wrong", Some((algorithm, &stored))));
            assert_eq!(Algorithm::from_name(algorithm.as_str()), Some(algorithm));
        }
        assert!(!fits("", None));
        assert!(!fits("", Some((Algorithm::Sha384, ""))));
        assert!(!fits(&hash("right"), Some((Algorithm::Sha384, &hash("right")))), "a stolen hash is no token");
        assert_eq!(hash("x").len(), 96);
    }
}
