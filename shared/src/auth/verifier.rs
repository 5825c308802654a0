//! Verifies tokens: signature by allow-list, then the claims, each failure with its own name.

use std::path::PathBuf;
use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode};
use serde::Deserialize;

use super::claims::{RawClaims, Subject, to_ms};
use super::keys::{Found, Key, Keys, from_jwks_file, from_pem_file, from_secret, is_public_key_algorithm};
use super::{Claims, TokenError};
use crate::clock::Clock;
use crate::config::Settings;
use crate::identity::UserId;

/// The longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What tokens must be like (settings `auth.*`).
#[derive(Clone, Debug, Default)]
pub struct VerifierConfig {
    /// Shared secret for HS256; without it HS256 is refused.
    pub secret: Option<String>,
    /// Where the issuer publishes its keys.
    pub jwks_url: Option<String>,
    /// A file with such keys.
    pub jwks_file: Option<PathBuf>,
    /// A PEM public key.
    pub public_key_file: Option<PathBuf>,
    /// Certificates to trust for `jwks_url` besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Allowed `iss`; empty allows any.
    pub issuers: Vec<String>,
    /// Allowed `aud`; empty allows any.
    pub audiences: Vec<String>,
    /// Allowed algorithms of public keys.
    pub algorithms: Vec<String>,
    /// Allowed difference of clocks, in ms.
    pub leeway_ms: i64,
    /// Whether `exp` is needed.
    pub require_expiry: bool,
}

impl VerifierConfig {
    /// Reads `auth.*`.
    #[must_use]
    pub fn from_settings(settings: &Settings) -> Self {
        Self {
            secret: settings.optional_text("auth.secret"),
            jwks_url: settings.optional_text("auth.jwks_url"),
            jwks_file: settings.optional_path("auth.jwks_file"),
            public_key_file: settings.optional_path("auth.public_key_file"),
            ca_file: settings.optional_path("auth.ca_file"),
            issuers: settings.texts("auth.issuers"),
            audiences: settings.texts("auth.audiences"),
            algorithms: settings.texts("auth.algorithms"),
            leeway_ms: settings.duration_ms("auth.leeway"),
            require_expiry: settings.flag("auth.require_expiry"),
        }
    }
}

/// Why a verifier could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct VerifierError {
    pub(super) place: String,
    pub(super) problem: String,
}

/// Verifies tokens. Cheap to clone; clones share fetched keys.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    keys: Keys,
    algorithms: Vec<Algorithm>,
    issuers: Vec<String>,
    audiences: Vec<String>,
    leeway_ms: i64,
    require_expiry: bool,
    clock: Clock,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("algorithms", &self.0.algorithms).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Reads key files; keys of a URL are fetched when the first token needs them.
    ///
    /// # Errors
    /// A file that cannot be used, or an algorithm that is not known.
    pub fn new(config: VerifierConfig, clock: Clock) -> Result<Self, VerifierError> {
        let mut algorithms = Vec::new();
        for name in &config.algorithms {
            let known = name.parse().ok().filter(|algorithm| is_public_key_algorithm(*algorithm));
            algorithms.push(known.ok_or_else(|| VerifierError {
                place: "auth.algorithms".to_owned(),
                problem: format!("`{name}` is not a signature algorithm of public keys; allowed are ES256, ES384, RS256, RS384, RS512, PS256, PS384, PS512 and EdDSA (HS256 comes with auth.secret)"),
            })?);
        }
        let mut fixed = Vec::new();
        if let Some(secret) = &config.secret {
            fixed.push(from_secret(secret));
            algorithms.push(Algorithm::HS256);
        }
        if let Some(file) = &config.public_key_file {
            fixed.push(from_pem_file(file)?);
        }
        if let Some(file) = &config.jwks_file {
            fixed.extend(from_jwks_file(file)?);
        }
        let mut keys = Keys::new(fixed);
        if let Some(url) = config.jwks_url {
            let client = crate::http::client(config.ca_file.as_deref())
                .map_err(|error| VerifierError { place: "auth.ca_file".to_owned(), problem: error.to_string() })?;
            keys = keys.with_remote(url, client, clock.clone());
        }
        Ok(Self(Arc::new(Inner {
            keys,
            algorithms,
            issuers: config.issuers,
            audiences: config.audiences,
            leeway_ms: config.leeway_ms,
            require_expiry: config.require_expiry,
            clock,
        })))
    }

    /// How far the issuer's clock and ours may differ, in ms: a token is good until its `exp` and this much more.
    #[must_use]
    pub fn leeway_ms(&self) -> i64 {
        self.0.leeway_ms
    }

    /// Verifies a token in its compact form.
    ///
    /// # Errors
    /// The check that failed. [`TokenError::KeysUnavailable`] may pass; the others will not.
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let inner = &*self.0;
        let header = read_header(token)?;
        let algorithm = header
            .alg
            .parse::<Algorithm>()
            .ok()
            .filter(|algorithm| inner.algorithms.contains(algorithm))
            .ok_or_else(|| TokenError::AlgorithmNotAllowed(printable(&header.alg)))?;
        let keys = match inner.keys.find(header.kid.as_deref(), algorithm).await {
            Found::Keys(keys) => keys,
            Found::None => return Err(TokenError::UnknownKey),
            Found::Unreachable => return Err(TokenError::KeysUnavailable),
        };
        let claims = verify_signature(token, algorithm, &keys)?;
        inner.check(claims)
    }
}

impl Inner {
    fn check(&self, claims: RawClaims) -> Result<Claims, TokenError> {
        let now = self.clock.now_ms();
        let expires_at_ms = claims.exp.map(to_ms);
        match expires_at_ms {
            None if self.require_expiry => return Err(TokenError::BadClaim("exp")),
            Some(at) if at.saturating_add(self.leeway_ms) <= now => return Err(TokenError::Expired),
            _ => {}
        }
        if claims.nbf.is_some_and(|at| to_ms(at).saturating_sub(self.leeway_ms) > now) {
            return Err(TokenError::NotYetValid);
        }
        if !self.issuers.is_empty() && !claims.iss.as_ref().is_some_and(|iss| self.issuers.contains(iss)) {
            return Err(TokenError::WrongIssuer);
        }
        if !self.audiences.is_empty() && !claims.aud.as_ref().is_some_and(|aud| aud.contains_any(&self.audiences)) {
            return Err(TokenError::WrongAudience);
        }
        let subject = match claims.sub {
            Some(Subject::Text(text)) => text,
            Some(Subject::Number(number)) => number.to_string(),
            None => return Err(TokenError::BadClaim("sub")),
        };
        Ok(Claims {
            user: UserId::new(&subject).map_err(|_| TokenError::BadClaim("sub"))?,
            expires_at_ms,
            issued_at_ms: claims.iat.map(to_ms),
            id: claims.jti,
            acl: claims.acl,
        })
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood (RFC 7515, section 4.1.11); none is known here.
    crit: Option<serde_json::Value>,
}

/// Reads the header ourselves, so that an algorithm the library does not know (`none`) gets its own answer.
fn read_header(token: &str) -> Result<Header, TokenError> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    if token.len() > MAX_TOKEN_BYTES || token.split('.').count() != 3 {
        return Err(TokenError::Malformed);
    }
    let header = token.split('.').next().unwrap_or_default();
    let json = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::Malformed)?;
    let header: Header = serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)?;
    if header.crit.is_some() {
        return Err(TokenError::Malformed);
    }
    Ok(header)
}

fn verify_signature(token: &str, algorithm: Algorithm, keys: &[Key]) -> Result<RawClaims, TokenError> {
    let mut validation = Validation::new(algorithm);
    // Times, issuer and audience are checked by `Inner::check`, with our clock and a name for each failure.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let mut refused = TokenError::UnknownKey;
    for key in keys {
        match decode::<RawClaims>(token, &key.key, &validation) {
            Ok(data) => return Ok(data.claims),
            Err(error) => {
                refused = match error.kind() {
                    ErrorKind::InvalidSignature => TokenError::BadSignature,
                    ErrorKind::Json(_) => TokenError::BadClaim("(their JSON form)"),
                    ErrorKind::Base64(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => TokenError::Malformed,
                    _ => TokenError::BadSignature,
                };
            }
        }
    }
    Err(refused)
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(16).collect()
}

#[cfg(test)]
mod tests;
