//! Who we are, towards a push service (VAPID, RFC 8292): an ES256 token for its origin, and the public key that the
//! subscription was made with.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::HeaderValue;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

/// A token is good for this long; RFC 8292 allows 24 hours.
const LIFE_S: i64 = 12 * 3600;
/// It is made anew this long before its end.
const RENEW_BEFORE_S: i64 = 3600;
/// Tokens that are kept; when there are more origins, the oldest are made again.
const KEPT: usize = 10_000;

/// A key that cannot be a VAPID key, or a contact that cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum VapidError {
    /// Not a P-256 private key.
    #[error(
        "not a P-256 private key: PEM (PKCS#8 or SEC1), or 32 bytes in Base64 for URLs as `web-push generate-vapid-keys` writes them"
    )]
    Key,
    /// Push services want to know whom to write to.
    #[error("\"{0}\" is no contact: it begins with mailto: or https://")]
    Contact(String),
    /// The cryptographic library failed.
    #[error("signing failed")]
    Sign,
}

/// One app's VAPID key.
pub struct Vapid {
    key: EcdsaKeyPair,
    public_key: String,
    contact: String,
    tokens: Mutex<HashMap<String, Token>>,
}

struct Token {
    header: HeaderValue,
    ends_s: i64,
}

impl fmt::Debug for Vapid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vapid")
            .field("public_key", &self.public_key)
            .field("contact", &self.contact)
            .finish_non_exhaustive()
    }
}

impl Vapid {
    /// Reads a private key: PEM, or 32 bytes in Base64 for URLs. `contact` is a `mailto:` or `https:` address.
    ///
    /// # Errors
    /// [`VapidError`] says what is wrong.
    pub fn new(key: &[u8], contact: &str) -> Result<Self, VapidError> {
        if !contact.starts_with("mailto:") && !contact.starts_with("https://") {
            return Err(VapidError::Contact(contact.to_owned()));
        }
        let key = read_key(key).ok_or(VapidError::Key)?;
        let public_key = BASE64.encode(key.public_key().as_ref());
        Ok(Self { key, public_key, contact: contact.to_owned(), tokens: Mutex::default() })
    }

    pub(super) fn public_key(&self) -> &str {
        &self.public_key
    }

    /// The `authorization` header for an origin, made anew when it is old.
    pub(super) fn authorization(&self, origin: &str, now_s: i64) -> Result<HeaderValue, VapidError> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = tokens.get(origin)
            // A clock that was set back would make a life of more than a day.
            && (RENEW_BEFORE_S..=LIFE_S).contains(&(token.ends_s - now_s))
        {
            return Ok(token.header.clone());
        }
        if tokens.len() >= KEPT {
            tokens.clear();
        }
        let ends_s = now_s + LIFE_S;
        let header = self.sign(origin, ends_s)?;
        tokens.insert(origin.to_owned(), Token { header: header.clone(), ends_s });
        Ok(header)
    }

    fn sign(&self, origin: &str, ends_s: i64) -> Result<HeaderValue, VapidError> {
        let claims = serde_json::json!({"aud": origin, "exp": ends_s, "sub": self.contact});
        let signed =
            format!("{}.{}", BASE64.encode(r#"{"typ":"JWT","alg":"ES256"}"#), BASE64.encode(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| VapidError::Sign)?;
        let text = format!("vapid t={signed}.{}, k={}", BASE64.encode(signature), self.public_key);
        let mut header = HeaderValue::try_from(text).map_err(|_| VapidError::Sign)?;
        header.set_sensitive(true);
        Ok(header)
    }
}

fn read_key(key: &[u8]) -> Option<EcdsaKeyPair> {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    if let Ok(pem) = PrivateKeyDer::from_pem_slice(key) {
        return EcdsaKeyPair::from_private_key_der(algorithm, pem.secret_der()).ok();
    }
    let raw = BASE64.decode(std::str::from_utf8(key).ok()?.trim().trim_end_matches('=')).ok()?;
    let public = PrivateKey::from_private_key(&ECDH_P256, &raw).ok()?.compute_public_key().ok()?;
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, &raw, public.as_ref()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_700_000_000;

    fn pem() -> String {
        rcgen::KeyPair::generate().unwrap().serialize_pem()
    }

    #[test]
    fn a_token_is_for_one_origin_and_signed_with_the_key_it_names() {
        let vapid = Vapid::new(pem().as_bytes(), "mailto:ops@example.org").unwrap();
        let header = vapid.authorization("https://push.example", NOW_S).unwrap();
        assert!(header.is_sensitive());
        let text = header.to_str().unwrap().strip_prefix("vapid t=").unwrap().to_owned();
        let (token, key) = text.split_once(", k=").unwrap();
        assert_eq!(key, vapid.public_key());
        let public = BASE64.decode(key).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let verifier =
            aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED, public);
        verifier.verify(signed.as_bytes(), &BASE64.decode(signature).unwrap()).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&BASE64.decode(signed.split_once('.').unwrap().1).unwrap()).unwrap();
        let expected =
            serde_json::json!({"aud": "https://push.example", "exp": NOW_S + LIFE_S, "sub": "mailto:ops@example.org"});
        assert_eq!(claims, expected);
    }

    #[test]
    fn it_is_kept_for_each_origin_and_renewed_well_before_a_day() {
        let vapid = Vapid::new(pem().as_bytes(), "https://example.org").unwrap();
        let first = vapid.authorization("https://a", NOW_S).unwrap();
        assert_eq!(vapid.authorization("https://a", NOW_S + 10 * 3600).unwrap(), first);
        assert_ne!(vapid.authorization("https://b", NOW_S).unwrap(), first);
        assert_ne!(vapid.authorization("https://a", NOW_S + 11 * 3600 + 1).unwrap(), first);
        assert_ne!(vapid.authorization("https://a", NOW_S - 3600).unwrap(), first);
    }

    #[test]
    fn keys_come_in_two_forms_and_contacts_are_addresses() {
        // The example of RFC 8292's test key in RFC 8291: private and public key of one pair.
        let raw = Vapid::new(b"yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw\n", "mailto:a@b").unwrap();
        assert!(raw.public_key().starts_with("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz"));
        assert!(matches!(Vapid::new(b"nonsense", "mailto:a@b"), Err(VapidError::Key)));
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        assert!(matches!(Vapid::new(other.as_bytes(), "mailto:a@b"), Err(VapidError::Key)));
        assert!(matches!(Vapid::new(pem().as_bytes(), "ops@example.org"), Err(VapidError::Contact(_))));
    }
}
