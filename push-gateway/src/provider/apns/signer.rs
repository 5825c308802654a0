//! The provider token: a JWT signed with an app's `.p8` key ("Establishing a token-based connection to APNs").
//! Apple wants it made anew no more often than every 20 minutes and no less than every 60.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use tidings_shared::clock::Clock;

/// A token older than this is made anew: late enough to be rare, early enough to never be refused.
const RENEW_AFTER_MS: i64 = 45 * 60_000;
/// Apple refuses tokens that are made more often than this.
const SOONEST_RENEWAL_MS: i64 = 20 * 60_000;

/// A key that cannot sign provider tokens.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// Not a P-256 private key in PKCS#8 PEM.
    #[error("not a P-256 private key in PEM (PKCS#8), which is what Apple's .p8 files hold")]
    Key(#[source] jsonwebtoken::errors::Error),
    /// The library refused to sign.
    #[error("signing failed")]
    Sign(#[source] jsonwebtoken::errors::Error),
    /// A token that is no header value; cannot happen with base64.
    #[error("the token is no header value")]
    Header(#[source] http::header::InvalidHeaderValue),
}

/// Signs, keeps and renews one key's provider token. Share it among all apps of the key.
pub struct Signer {
    key: EncodingKey,
    key_id: String,
    team_id: String,
    clock: Clock,
    current: Mutex<Option<Signed>>,
}

#[derive(Clone)]
struct Signed {
    header: HeaderValue,
    at_ms: i64,
    /// Made before its time, because Apple called its predecessor expired.
    early: bool,
    expired: bool,
}

#[derive(Serialize)]
struct ProviderClaims<'a> {
    iss: &'a str,
    iat: i64,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key_id", &self.key_id).field("team_id", &self.team_id).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads a `.p8` key. `key_id` and `team_id` are the ten characters that Apple shows beside it.
    ///
    /// # Errors
    /// [`SignerError::Key`] when the text is no such key.
    pub fn new(pem: &[u8], key_id: &str, team_id: &str, clock: Clock) -> Result<Self, SignerError> {
        let key = EncodingKey::from_ec_pem(pem).map_err(SignerError::Key)?;
        let signer =
            Self { key, key_id: key_id.to_owned(), team_id: team_id.to_owned(), clock, current: Mutex::default() };
        // A key of another curve parses and fails only here.
        signer.sign(0)?;
        Ok(signer)
    }

    /// The `authorization` header of a request, made anew when it is old. Marked sensitive: never HPACK-indexed.
    pub(super) fn token(&self) -> Result<HeaderValue, SignerError> {
        let now = self.clock.now_ms();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signed) = current.as_ref()
            && !signed.expired
            // A clock that was set back makes the token's `iat` lie in the future.
            && (0..RENEW_AFTER_MS).contains(&(now - signed.at_ms))
        {
            return Ok(signed.header.clone());
        }
        let early = current.as_ref().is_some_and(|signed| signed.expired && now - signed.at_ms < SOONEST_RENEWAL_MS);
        let header = self.sign(now.div_euclid(1000))?;
        *current = Some(Signed { header: header.clone(), at_ms: now, early, expired: false });
        Ok(header)
    }

    /// Apple called `token` expired. `true` when another try makes sense: a newer one exists by now, or one may
    /// be made. A token younger than 20 minutes is replaced once; when its successor is refused as well, a new
    /// signature does not help.
    pub(super) fn refused(&self, token: &HeaderValue) -> bool {
        let now = self.clock.now_ms();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match current.as_mut() {
            Some(signed) if signed.header == *token => {
                if signed.early && now - signed.at_ms < SOONEST_RENEWAL_MS {
                    return false;
                }
                signed.expired = true;
                true
            }
            _ => true,
        }
    }

    fn sign(&self, iat: i64) -> Result<HeaderValue, SignerError> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(self.key_id.clone());
        let claims = ProviderClaims { iss: &self.team_id, iat };
        let token = jsonwebtoken::encode(&header, &claims, &self.key).map_err(SignerError::Sign)?;
        let mut value = HeaderValue::try_from(format!("bearer {token}")).map_err(SignerError::Header)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn signer(clock: &Clock) -> Signer {
        Signer::new(crate::provider::apns::tests::P8.as_bytes(), "KEY1234567", "TEAM123456", clock.clone()).unwrap()
    }

    #[test]
    fn the_token_names_key_team_and_time() {
        let clock = Clock::manual(1_700_000_000_000);
        let token = signer(&clock).token().unwrap();
        assert!(token.is_sensitive());
        let text = token.to_str().unwrap().strip_prefix("bearer ").unwrap();
        let header = jsonwebtoken::decode_header(text).unwrap();
        assert_eq!(header.alg, Algorithm::ES256);
        assert_eq!(header.kid.as_deref(), Some("KEY1234567"));
        let claims: serde_json::Value = jsonwebtoken::dangerous::insecure_decode(text).unwrap().claims;
        assert_eq!(claims, serde_json::json!({"iss": "TEAM123456", "iat": 1_700_000_000}));
    }

    #[test]
    fn it_is_shared_and_renewed_between_20_and_60_minutes() {
        let clock = Clock::manual(1_700_000_000_000);
        let signer = signer(&clock);
        let first = signer.token().unwrap();
        clock.advance(20 * MINUTE);
        assert_eq!(signer.token().unwrap(), first);
        clock.advance(40 * MINUTE);
        let second = signer.token().unwrap();
        assert_ne!(second, first);
    }

    #[test]
    fn a_clock_set_back_does_not_leave_a_token_from_the_future() {
        let clock = Clock::manual(1_700_000_000_000);
        let signer = signer(&clock);
        let first = signer.token().unwrap();
        clock.advance(-5 * MINUTE);
        assert_ne!(signer.token().unwrap(), first);
    }

    #[test]
    fn an_expired_token_is_signed_anew_once_and_not_again_before_20_minutes() {
        let clock = Clock::manual(1_700_000_000_000);
        let signer = signer(&clock);
        let first = signer.token().unwrap();
        assert!(signer.refused(&first));
        clock.advance(1000);
        let second = signer.token().unwrap();
        assert_ne!(second, first);
        // A slower request with the first token comes back: the second exists already.
        assert!(signer.refused(&first));
        assert_eq!(signer.token().unwrap(), second);
        // The fresh one is refused too: the clock or the key is wrong.
        assert!(!signer.refused(&second));
        assert_eq!(signer.token().unwrap(), second);
        clock.advance(20 * MINUTE);
        assert!(signer.refused(&second));
        assert_ne!(signer.token().unwrap(), second);
    }

    #[test]
    fn another_kind_of_key_is_refused() {
        let wrong =
            Signer::new(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "K", "T", Clock::system());
        assert!(wrong.is_err());
    }
}
