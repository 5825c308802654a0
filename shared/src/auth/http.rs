//! Tokens and keys in HTTP headers.

use ::http::{HeaderMap, StatusCode, header};

use super::{ServiceKeys, TokenError};
use crate::http::ApiError;

/// The credential after `Bearer ` (RFC 6750, section 2.1).
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    credential(headers, "Bearer")
}

/// The credential after a scheme, which is compared without case (RFC 9110, section 11.1).
#[must_use]
pub fn credential<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (found, credential) = value.split_once(' ')?;
    let credential = credential.trim();
    (found.eq_ignore_ascii_case(scheme) && !credential.is_empty()).then_some(credential)
}

/// Refuses a request without a valid service key.
///
/// # Errors
/// 401 `service_key_missing` or `service_key_wrong`.
pub fn require_service_key(headers: &HeaderMap, keys: &ServiceKeys) -> Result<(), ApiError> {
    let Some(presented) = bearer(headers) else {
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "service_key_missing",
            "send a service key as `Authorization: Bearer KEY`",
        ));
    };
    if keys.accepts(presented) {
        Ok(())
    } else {
        Err(ApiError::new(StatusCode::UNAUTHORIZED, "service_key_wrong", "this service key is not valid here"))
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            // The pause between two fetches of the issuer's keys.
            TokenError::KeysUnavailable | TokenError::IssuerUnavailable => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), error.to_string()).retry_after(10)
            }
            _ => Self::new(StatusCode::UNAUTHORIZED, error.code(), error.to_string()),
        }
    }
}
