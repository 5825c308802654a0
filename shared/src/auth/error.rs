//! Why a token was refused.

/// A refused token. The text may be shown to the client: it says which check failed and nothing internal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three base64url parts with JSON in them, or too long.
    #[error("the token is not a JWT")]
    Malformed,
    /// The header names an algorithm that is not allowed here (`none` never is).
    #[error("the token's algorithm {0} is not allowed here")]
    AlgorithmNotAllowed(String),
    /// No key of the issuer fits.
    #[error("the token is signed with a key that is not known here")]
    UnknownKey,
    /// The signature does not fit the key.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is still to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is none of those allowed.
    #[error("the token's issuer is not allowed here")]
    WrongIssuer,
    /// `aud` has none of those allowed.
    #[error("the token is meant for another audience")]
    WrongAudience,
    /// A claim that is needed is missing or cannot be used.
    #[error("the token's claim {0} is missing or cannot be used")]
    BadClaim(&'static str),
    /// Somebody has revoked it.
    #[error("the token was revoked")]
    Revoked,
    /// The issuer could not be asked about the token; it may be good.
    #[error("the token's issuer cannot be asked about it; try again")]
    IssuerUnavailable,
    /// The issuer's keys could not be fetched; the token may be good.
    #[error("the issuer's keys cannot be reached; try again")]
    KeysUnavailable,
}

impl TokenError {
    /// A stable code for clients and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "token_malformed",
            Self::AlgorithmNotAllowed(_) => "token_algorithm",
            Self::UnknownKey => "token_unknown_key",
            Self::BadSignature => "token_signature",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::WrongIssuer => "token_issuer",
            Self::WrongAudience => "token_audience",
            Self::BadClaim(_) => "token_claim",
            Self::Revoked => "token_revoked",
            Self::IssuerUnavailable => "token_issuer_unavailable",
            Self::KeysUnavailable => "token_keys_unavailable",
        }
    }

    /// Whether the check could not be made, so that nothing is said against the token.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::KeysUnavailable | Self::IssuerUnavailable)
    }

    /// Whether the same token may be good later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        self.is_outage() || *self == Self::NotYetValid
    }
}
