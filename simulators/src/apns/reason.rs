//! The error table of APNs: which reason comes with which status, and the exact form of the answer's body.

use std::borrow::Cow;

use http::StatusCode;
use serde::Serialize;

use crate::script::RetryAfterForm;

/// A refusal: the status and the JSON body `{"reason":…}` (410 adds `timestamp`, in milliseconds since 1970).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The provider's word for it.
    pub reason: Cow<'static, str>,
    /// Since when the token is dead; only with 410.
    pub timestamp: Option<i64>,
    /// The `retry-after` header: seconds, and how they are written.
    pub retry_after: Option<(u64, RetryAfterForm)>,
}

#[derive(Serialize)]
struct Body<'a> {
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
}

impl Refusal {
    /// The refusal with the status that APNs gives for this reason (400 for a reason that is in no table).
    #[must_use]
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        let reason = reason.into();
        Self { status: status_of(&reason), reason, timestamp: None, retry_after: None }
    }

    /// 410 with the time at which the token died.
    #[must_use]
    pub fn gone(reason: impl Into<Cow<'static, str>>, timestamp_ms: i64) -> Self {
        Self { timestamp: Some(timestamp_ms), ..Self::new(reason) }
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> String {
        let body = Body { reason: &self.reason, timestamp: self.timestamp };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

/// The status of a reason; 400 when the table does not have it.
#[must_use]
pub fn status_of(reason: &str) -> StatusCode {
    REASONS.iter().find(|(_, reasons)| reasons.contains(&reason)).map_or(StatusCode::BAD_REQUEST, |(status, _)| *status)
}

/// Every reason that Apple documents.
pub const REASONS: &[(StatusCode, &[&str])] = &[
    (
        StatusCode::BAD_REQUEST,
        &[
            "BadCollapseId",
            "BadDeviceToken",
            "BadExpirationDate",
            "BadMessageId",
            "BadPriority",
            "BadTopic",
            "DeviceTokenNotForTopic",
            "DuplicateHeaders",
            "IdleTimeout",
            "InvalidPushType",
            "MissingDeviceToken",
            "MissingTopic",
            "PayloadEmpty",
            "TopicDisallowed",
        ],
    ),
    (
        StatusCode::FORBIDDEN,
        &[
            "BadCertificate",
            "BadCertificateEnvironment",
            "BadEnvironmentKeyInToken",
            "ExpiredProviderToken",
            "Forbidden",
            "InvalidProviderToken",
            "MissingProviderToken",
            "UnrelatedKeyIdInToken",
        ],
    ),
    (StatusCode::NOT_FOUND, &["BadPath"]),
    (StatusCode::METHOD_NOT_ALLOWED, &["MethodNotAllowed"]),
    (StatusCode::GONE, &["ExpiredToken", "Unregistered"]),
    (StatusCode::PAYLOAD_TOO_LARGE, &["PayloadTooLarge"]),
    (StatusCode::TOO_MANY_REQUESTS, &["TooManyProviderTokenUpdates", "TooManyRequests"]),
    (StatusCode::INTERNAL_SERVER_ERROR, &["InternalServerError"]),
    (StatusCode::SERVICE_UNAVAILABLE, &["ServiceUnavailable", "Shutdown"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_have_exactly_the_provider_s_form() {
        assert_eq!(Refusal::new("BadDeviceToken").body(), r#"{"reason":"BadDeviceToken"}"#);
        assert_eq!(
            Refusal::gone("Unregistered", 1_454_402_113_000).body(),
            r#"{"reason":"Unregistered","timestamp":1454402113000}"#
        );
        assert_eq!(Refusal::new("Unregistered").status, StatusCode::GONE);
        assert_eq!(Refusal::new("SomethingNew").status, StatusCode::BAD_REQUEST);
    }
}
