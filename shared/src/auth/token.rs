//! The compact form of a token (RFC 7515, section 7.1), before anything in it is believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::claims::{RawClaims, parse};
use super::{Claims, TokenError};

/// The longest token that is looked at, in bytes.
pub(super) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The members of the header that count here. Keys, and addresses of keys, that a token brings along (`jwk`, `jku`, `x5c`,
/// `x5u`) are not among them: a token does not choose what it is verified with (RFC 8725, sections 3.10 and 2.7).
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    /// Extensions that must be understood (RFC 7515, section 4.1.11); none is known here.
    crit: Option<serde_json::Value>,
}

/// A token, taken apart.
pub(super) struct Parts<'a> {
    pub(super) header: Header,
    /// What is signed.
    pub(super) message: &'a [u8],
    pub(super) signature: &'a str,
    payload: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn of(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        let json = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::Malformed)?;
        // A member that stands twice is refused here, as in the claims: two readers could see two tokens in it.
        let header: Header = serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let message = &token.as_bytes()[..token.len() - signature.len() - 1];
        Ok(Self { header, message, signature, payload })
    }

    /// The claims as they stand there. Whether they are true is another question.
    pub(super) fn claims(&self) -> Result<RawClaims, TokenError> {
        let json = URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| TokenError::Malformed)?;
        parse(&json)
    }
}

/// What a token says about itself, believed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// `alg`.
    pub algorithm: String,
    /// `kid`.
    pub key_id: Option<String>,
    /// `iss`.
    pub issuer: Option<String>,
    /// Its claims.
    pub claims: Claims,
}

/// Reads a token without verifying anything: to explain it to its owner, never to let somebody in.
///
/// # Errors
/// [`TokenError::Malformed`] or [`TokenError::BadClaim`] when it cannot be read.
pub fn inspect(token: &str) -> Result<Inspected, TokenError> {
    let parts = Parts::of(token)?;
    let raw = parts.claims()?;
    Ok(Inspected {
        issuer: raw.iss.clone(),
        claims: raw.into_claims()?,
        algorithm: parts.header.alg,
        key_id: parts.header.kid,
    })
}

/// A part of a text that may stand in an answer.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(16).collect()
}
