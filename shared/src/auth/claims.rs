//! What a token says about its bearer.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::TokenError;
use crate::identity::UserId;
use crate::topic::access::{Acl, Principal};

/// The longest `jti`, in bytes: it is kept with every connection, and with a revocation.
const MAX_ID_BYTES: usize = 256;

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
    /// When access ends, in ms since 1970: at `exp`, or later where `exp` has passed and only the leeway (or the issuer,
    /// asked by introspection) makes the token good.
    pub ends_at_ms: Option<i64>,
}

impl Claims {
    /// The bearer as the topic rules see it.
    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal::Device { user: self.user.clone(), acl: self.acl.clone() }
    }
}

/// The claims as they stand in a token, or in the answer of an introspection; each of a form that can be used.
#[derive(Clone, Debug, Default)]
pub(super) struct RawClaims {
    pub(super) sub: Option<String>,
    pub(super) exp: Option<i64>,
    pub(super) nbf: Option<i64>,
    pub(super) iat: Option<i64>,
    pub(super) iss: Option<String>,
    pub(super) aud: Option<Vec<String>>,
    pub(super) jti: Option<String>,
    pub(super) acl: Option<Acl>,
}

impl RawClaims {
    /// Without looking at the clock, the issuer or the audience.
    pub(super) fn into_claims(self) -> Result<Claims, TokenError> {
        let subject = self.sub.ok_or(TokenError::BadClaim("sub"))?;
        if self.jti.as_ref().is_some_and(|id| id.len() > MAX_ID_BYTES) {
            return Err(TokenError::BadClaim("jti"));
        }
        Ok(Claims {
            user: UserId::new(&subject).map_err(|_| TokenError::BadClaim("sub"))?,
            expires_at_ms: self.exp,
            issued_at_ms: self.iat,
            id: self.jti,
            acl: self.acl.unwrap_or_default(),
            ends_at_ms: self.exp,
        })
    }
}

/// The members that count, each still of any form. A member that stands twice is refused.
#[derive(Deserialize)]
struct Members {
    sub: Option<Value>,
    exp: Option<Value>,
    nbf: Option<Value>,
    iat: Option<Value>,
    iss: Option<Value>,
    aud: Option<Value>,
    jti: Option<Value>,
    acl: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Reads claims.
///
/// # Errors
/// [`TokenError::BadClaim`] with the one that cannot be used.
pub(super) fn parse(json: &[u8]) -> Result<RawClaims, TokenError> {
    let members: Members = serde_json::from_slice(json).map_err(|_| TokenError::BadClaim("(their JSON form)"))?;
    let audience = read("aud", members.aud)?.map(|aud| match aud {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    });
    Ok(RawClaims {
        sub: subject(members.sub)?,
        exp: date("exp", members.exp)?,
        nbf: date("nbf", members.nbf)?,
        iat: date("iat", members.iat)?,
        iss: read("iss", members.iss)?,
        aud: audience,
        jti: read("jti", members.jti)?,
        acl: read("acl", members.acl)?,
    })
}

fn read<T: DeserializeOwned>(name: &'static str, value: Option<Value>) -> Result<Option<T>, TokenError> {
    value.map(|value| serde_json::from_value(value).map_err(|_| TokenError::BadClaim(name))).transpose()
}

/// Some issuers write numeric user ids as JSON numbers.
fn subject(value: Option<Value>) -> Result<Option<String>, TokenError> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Number(number)) if number.is_u64() => Ok(Some(number.to_string())),
        Some(_) => Err(TokenError::BadClaim("sub")),
    }
}

/// A NumericDate, which may have a fraction (RFC 7519, section 2), in ms; out of range saturates.
#[expect(clippy::cast_possible_truncation, reason = "float casts saturate, which is what an absurd date deserves")]
fn date(name: &'static str, value: Option<Value>) -> Result<Option<i64>, TokenError> {
    let seconds: Option<f64> = read(name, value)?;
    Ok(seconds.map(|seconds| (seconds * 1000.0) as i64))
}
