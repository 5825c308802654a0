//! Verifies tokens: signature by allow-list, then the claims, each failure with its own name.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::claims::RawClaims;
use super::introspection::{IntrospectionConfig, Introspector};
use super::keys::{Candidates, Keys, is_public_key_algorithm};
use super::memo::Memo;
use super::token::{Parts, printable};
use super::{Claims, TokenError};
use crate::clock::Clock;
use crate::config::Settings;

/// How long the issuer may take to answer unless somebody says (`auth.timeout`).
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// How long the issuer may take to answer; `None`: five seconds.
    pub timeout: Option<Duration>,
    /// How the issuer is asked about single tokens.
    pub introspection: Option<IntrospectionConfig>,
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
            timeout: Some(settings.duration("auth.timeout")),
            introspection: IntrospectionConfig::from_settings(settings),
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
    signatures: Memo,
    algorithms: Vec<Algorithm>,
    issuers: Vec<String>,
    audiences: Vec<String>,
    leeway_ms: i64,
    require_expiry: bool,
    introspector: Option<Arc<Introspector>>,
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
        let mut keys = Keys::new(config.secret.as_deref());
        if config.secret.is_some() {
            algorithms.push(Algorithm::HS256);
        }
        if let Some(file) = config.public_key_file {
            keys.add_pem_file(file, &clock)?;
        }
        if let Some(file) = config.jwks_file {
            keys.add_jwks_file(file, &clock)?;
        }
        let patience = config.timeout.unwrap_or(PATIENCE);
        let client = || {
            crate::http::client(config.ca_file.as_deref())
                .map_err(|error| VerifierError { place: "auth.ca_file".to_owned(), problem: error.to_string() })
        };
        if let Some(url) = config.jwks_url {
            keys.add_remote(url, client()?, patience, &clock);
        }
        let introspector = match config.introspection {
            Some(introspection) => {
                Some(Arc::new(Introspector::new(introspection, client()?, patience, clock.clone())?))
            }
            None => None,
        };
        Ok(Self(Arc::new(Inner {
            keys,
            signatures: Memo::default(),
            algorithms,
            issuers: config.issuers,
            audiences: config.audiences,
            leeway_ms: config.leeway_ms,
            require_expiry: config.require_expiry,
            introspector,
            clock,
        })))
    }

    /// How long after its `exp` a token may still open a door, in ms.
    #[must_use]
    pub fn tolerance_ms(&self) -> i64 {
        self.0.tolerance_ms()
    }

    /// Verifies a token in its compact form.
    ///
    /// # Errors
    /// The check that failed. What [`TokenError::is_outage`] says may pass; the others will not.
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let inner = &*self.0;
        let parts = Parts::of(token)?;
        let named = parts.header.alg.parse().ok();
        let algorithm = named
            .filter(|algorithm| inner.algorithms.contains(algorithm))
            .ok_or_else(|| TokenError::AlgorithmNotAllowed(printable(&parts.header.alg)))?;
        let verified = match inner.authenticate(token, &parts, algorithm).await {
            Ok(claims) => inner.check(claims, inner.leeway_ms),
            Err(refused) => Err(refused),
        };
        match (verified, &inner.introspector) {
            (Err(refused), Some(introspector)) => inner.ask(introspector, token, &parts, refused).await,
            (verified, _) => verified,
        }
    }
}

impl Inner {
    /// The claims, when one of the issuer's keys has signed them.
    async fn authenticate(
        &self,
        token: &str,
        parts: &Parts<'_>,
        algorithm: Algorithm,
    ) -> Result<RawClaims, TokenError> {
        let public = algorithm.family() != AlgorithmFamily::Hmac;
        if public {
            self.keys.freshen().await;
        }
        let id = parts.header.kid.as_deref();
        let signed = |known: &Candidates| self.signatures.signed(&known.keys, token, parts, algorithm);
        let mut known = self.keys.candidates(id, algorithm);
        if signed(&known) {
            return parts.claims();
        }
        // Perhaps with a key that is younger than those known here.
        if public && self.keys.renew(known.named).await {
            known = self.keys.candidates(id, algorithm);
            if signed(&known) {
                return parts.claims();
            }
        }
        let unnamed = id.is_some() && !known.named && self.keys.have_names();
        Err(if known.named || (!known.keys.is_empty() && !unnamed && !self.keys.are_missing()) {
            TokenError::BadSignature
        } else if public && self.keys.are_missing() {
            TokenError::KeysUnavailable
        } else {
            TokenError::UnknownKey
        })
    }

    /// Issuer and audience.
    fn check_parties(&self, claims: &RawClaims) -> Result<(), TokenError> {
        if !self.issuers.is_empty() && !claims.iss.as_ref().is_some_and(|iss| self.issuers.contains(iss)) {
            return Err(TokenError::WrongIssuer);
        }
        let audience = claims.aud.as_deref().unwrap_or_default();
        if !self.audiences.is_empty() && !audience.iter().any(|one| self.audiences.contains(one)) {
            return Err(TokenError::WrongAudience);
        }
        Ok(())
    }

    fn check(&self, claims: RawClaims, leeway_ms: i64) -> Result<Claims, TokenError> {
        let now = self.clock.now_ms();
        match claims.exp {
            None if self.require_expiry => return Err(TokenError::BadClaim("exp")),
            Some(at) if at.saturating_add(leeway_ms) <= now => return Err(TokenError::Expired),
            _ => {}
        }
        if claims.nbf.is_some_and(|at| at.saturating_sub(leeway_ms) > now) {
            return Err(TokenError::NotYetValid);
        }
        self.check_parties(&claims)?;
        let mut claims = claims.into_claims()?;
        let ends = |at: i64| if at > now { at } else { at.saturating_add(leeway_ms) };
        claims.ends_at_ms = claims.expires_at_ms.map(ends);
        Ok(claims)
    }

    /// Asks the issuer about a token that was refused, where keys and clocks cannot tell (RFC 7662); everything else stays
    /// refused unasked.
    async fn ask(
        &self,
        introspector: &Arc<Introspector>,
        token: &str,
        parts: &Parts<'_>,
        refused: TokenError,
    ) -> Result<Claims, TokenError> {
        use TokenError::{Expired, KeysUnavailable, NotYetValid, UnknownKey};
        if !matches!(refused, UnknownKey | KeysUnavailable | Expired | NotYetValid) {
            return Err(refused);
        }
        let leeway_ms = self.tolerance_ms();
        let own = parts.claims()?;
        let now = self.clock.now_ms();
        let too_old = own.exp.is_some_and(|at| at.saturating_add(leeway_ms) <= now);
        let too_young = own.nbf.is_some_and(|at| at.saturating_sub(leeway_ms) > now);
        if own.sub.is_none() || too_old || too_young || self.check_parties(&own).is_err() {
            return Err(refused);
        }
        let Ok(answer) = introspector.ask(token).await else { return Err(TokenError::IssuerUnavailable) };
        let Some(told) = answer else { return Err(refused) };
        let same = |told: &Option<String>, own: &Option<String>| told.is_none() || own.is_none() || told == own;
        if !same(&told.sub, &own.sub) || !same(&told.jti, &own.jti) {
            tracing::warn!(
                "the issuer calls a token active, and names another sub or jti than the token; it is refused"
            );
            return Err(refused);
        }
        let told = RawClaims::clone(&told);
        let claims = RawClaims {
            sub: own.sub,
            exp: told.exp.or(own.exp),
            nbf: told.nbf.or(own.nbf),
            iat: told.iat.or(own.iat),
            iss: told.iss.or(own.iss),
            aud: told.aud.or(own.aud),
            jti: told.jti.or(own.jti),
            acl: told.acl.or(own.acl),
        };
        self.check(claims, leeway_ms)
    }

    fn tolerance_ms(&self) -> i64 {
        self.leeway_ms.saturating_add(self.introspector.as_ref().map_or(0, |introspector| introspector.skew_ms()))
    }
}

#[cfg(test)]
mod tests;
