//! The token issuer of an app, good and bad: its key, its tokens, and every way in which a token can be wrong.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The issuer that the broker under test trusts.
pub const ISSUER: &str = "https://issuer.test";

/// An issuer with an ES256 key.
#[derive(Clone)]
pub struct Issuer {
    private: String,
    public: String,
}

impl Default for Issuer {
    fn default() -> Self {
        Self::new()
    }
}

impl Issuer {
    /// A new key.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn new() -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a P-256 key");
        Self { private: pair.serialize_pem(), public: pair.public_key_pem() }
    }

    /// Writes the public key for `auth.public_key_file`.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn write_public_key(&self, folder: &Path) -> PathBuf {
        let file = folder.join("issuer.pem");
        fs::write(&file, &self.public).expect("the issuer's public key is written");
        file
    }

    /// A good token for this user, which lasts an hour.
    #[must_use]
    pub fn token(&self, user: &str) -> String {
        self.sign(&claims(user))
    }

    /// A token with these claims, signed with the issuer's key.
    ///
    /// # Panics
    /// When the claims cannot be signed.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        let key = EncodingKey::from_ec_pem(self.private.as_bytes()).expect("the issuer's key");
        encode(&Header::new(Algorithm::ES256), claims, &key).expect("a token")
    }

    /// A token with these claims whose HMAC key is the text of the issuer's public key: a verifier that lets the
    /// token choose the algorithm takes it.
    ///
    /// # Panics
    /// When the claims cannot be signed.
    #[must_use]
    pub fn hs256_with_public_key(&self, claims: &Value) -> String {
        let key = EncodingKey::from_secret(self.public.as_bytes());
        encode(&Header::new(Algorithm::HS256), claims, &key).expect("a token")
    }
}

/// The claims of a good token: an hour from now, the right issuer.
#[must_use]
pub fn claims(user: &str) -> Value {
    json!({ "sub": user, "iss": ISSUER, "iat": now_s(), "exp": now_s() + 3600 })
}

/// The claims of a good token with some replaced.
#[must_use]
pub fn claims_with(user: &str, replaced: &Value) -> Value {
    let mut claims = claims(user);
    let changes = replaced.as_object().cloned().unwrap_or_default();
    if let Some(claims) = claims.as_object_mut() {
        claims.extend(changes);
    }
    claims
}

/// A token that says `alg: none` and has no signature.
#[must_use]
pub fn unsigned(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({ "alg": "none", "typ": "JWT" })), part(claims))
}

/// Seconds since 1970.
#[must_use]
pub fn now_s() -> i64 {
    tidings_shared::clock::Clock::system().now_ms() / 1000
}
