//! What a token says about its bearer.

use serde::Deserialize;

use crate::identity::UserId;
use crate::topic::access::{Acl, Principal};

/// The claims that Tidings reads (RFC 7519, section 4.1, and `acl`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub`: the user.
    pub user: UserId,
    /// `exp` in ms since 1970; `None` only where tokens without it are allowed.
    pub expires_at_ms: Option<i64>,
    /// `iat` in ms since 1970.
    pub issued_at_ms: Option<i64>,
    /// `jti`: the token's own id.
    pub id: Option<String>,
    /// `acl`: what the token grants beyond the user's own topics.
    pub acl: Acl,
}

impl Claims {
    /// The bearer as the topic rules see it.
    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal::Device { user: self.user.clone(), acl: self.acl.clone() }
    }
}

/// The claims as they stand in the token; times are NumericDates, which may have a fraction (RFC 7519, section 2).
#[derive(Debug, Deserialize)]
pub(super) struct RawClaims {
    pub(super) sub: Option<Subject>,
    pub(super) exp: Option<f64>,
    pub(super) nbf: Option<f64>,
    pub(super) iat: Option<f64>,
    pub(super) iss: Option<String>,
    pub(super) aud: Option<OneOrMany>,
    pub(super) jti: Option<String>,
    #[serde(default)]
    pub(super) acl: Acl,
}

/// Some issuers write numeric user ids as JSON numbers.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Subject {
    Text(String),
    Number(u64),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn contains_any(&self, allowed: &[String]) -> bool {
        match self {
            Self::One(one) => allowed.contains(one),
            Self::Many(many) => many.iter().any(|one| allowed.contains(one)),
        }
    }
}

/// Milliseconds of a NumericDate; out of range saturates.
#[expect(clippy::cast_possible_truncation, reason = "float casts saturate, which is what an absurd date deserves")]
pub(super) fn to_ms(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}
