//! A pass's token as another provider hands it over: as it is, or as a hash of it.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};

use crate::package::hex;
use crate::token::{self, Algorithm};

/// Apple asks for 16 characters at least; longer ones than these are nobody's.
const LENGTH: std::ops::RangeInclusive<usize> = 16..=512;

/// What is known of a token. The token itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownToken {
    /// How the hash was made.
    pub algorithm: Algorithm,
    /// The hash, in lower-case hexadecimal.
    pub hash: String,
}

impl KnownToken {
    /// From the token itself: only its SHA-384 is kept, as if it had been made here.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn from_token(text: &str) -> Result<Self, &'static str> {
        if !LENGTH.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("an authentication token has 16 to 512 visible ASCII characters");
        }
        Ok(Self { algorithm: Algorithm::Sha384, hash: token::hash(text) })
    }

    /// From a hash in hexadecimal or Base64. It is replaced by SHA-384 when the token is next used.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn from_hash(algorithm: &str, text: &str) -> Result<Self, &'static str> {
        let name = algorithm.to_ascii_lowercase().replace(['-', '_'], "");
        let (algorithm, bytes) = match name.as_str() {
            "sha1" => (Algorithm::Sha1, 20),
            "sha256" => (Algorithm::Sha256, 32),
            "sha384" => (Algorithm::Sha384, 48),
            _ => return Err("tokenAlgorithm is sha1, sha256 or sha384; a token without a hash is given as `token`"),
        };
        let digest = from_hex(text).or_else(|| from_base64(text)).filter(|digest| digest.len() == bytes);
        let digest = digest
            .ok_or("a hash is hexadecimal or Base64 and as long as its algorithm makes it (20, 32 or 48 bytes)")?;
        Ok(Self { algorithm, hash: hex(&digest) })
    }

    /// Whether a stored hash may be of the same token; two hashes by different algorithms cannot be compared.
    #[must_use]
    pub fn agrees_with(&self, algorithm: Algorithm, hash: &str) -> bool {
        self.algorithm != algorithm || self.hash == hash
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    BASE64_STANDARD_NO_PAD.decode(text).or_else(|_| BASE64_URL_SAFE_NO_PAD.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};

    #[test]
    fn a_hash_is_read_in_every_usual_form() {
        let token = "vxwxd7J8AlNNFPS8k0a0FfUFtq0ewzFdc";
        for (algorithm, name) in
            [(Algorithm::Sha1, "SHA-1"), (Algorithm::Sha256, "sha256"), (Algorithm::Sha384, "sha_384")]
        {
            let bytes = {
                let digest = match algorithm {
                    Algorithm::Sha1 => &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
                    Algorithm::Sha256 => &aws_lc_rs::digest::SHA256,
                    _ => &aws_lc_rs::digest::SHA384,
                };
                aws_lc_rs::digest::digest(digest, token.as_bytes()).as_ref().to_vec()
            };
            let expected = KnownToken { algorithm, hash: hex(&bytes) };
            for text in [
                hex(&bytes),
                hex(&bytes).to_uppercase(),
                BASE64_STANDARD.encode(&bytes),
                BASE64_URL_SAFE.encode(&bytes),
                BASE64_URL_SAFE_NO_PAD.encode(&bytes),
            ] {
                assert_eq!(KnownToken::from_hash(name, &text), Ok(expected.clone()), "{text}");
            }
            assert!(token::fits(token, Some((expected.algorithm, &expected.hash))), "the token opens it");
        }
    }

    #[test]
    fn what_cannot_be_one_is_refused() {
        for token in ["", "short", "with a space in between", &"x".repeat(513), "tab\tin\tthe\tmiddle of it"] {
            assert!(KnownToken::from_token(token).is_err(), "{token}");
        }
        for (algorithm, hash) in
            [("md5", "d41d8cd98f00b204e9800998ecf8427e"), ("sha1", "abcd"), ("sha256", "zz"), ("sha384", "")]
        {
            assert!(KnownToken::from_hash(algorithm, hash).is_err(), "{algorithm} {hash}");
        }
        let plain = KnownToken::from_token("0123456789abcdef").unwrap();
        assert_eq!(plain.algorithm, Algorithm::Sha384, "a plain token is never kept");
        assert!(!plain.hash.contains("0123456789abcdef"));
    }
}
