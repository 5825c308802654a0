//! Apple's answers and what they mean for us: the table of status codes and reasons
//! ("Handling notification responses from APNs"). A reason that is not in it keeps its text and is decided by
//! the class of its status.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tidings_shared::clock::Clock;

use super::fault::TransportError;
use super::transport::Response;
use crate::provider::retry_after::retry_after;
use crate::provider::{Answer, Outcome, Retry, TokenGone};

/// How long a single token is left alone after `TooManyRequests`.
const TOKEN_PAUSE: Duration = Duration::from_secs(60);
/// After `TooManyProviderTokenUpdates` the old token stays; so does the push, for a while.
const TOKEN_UPDATES_PAUSE: Duration = Duration::from_secs(60);

/// Apple's error body.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    reason: Option<String>,
    timestamp: Option<i64>,
}

pub(super) fn read(response: &Response, clock: &Clock) -> Answer {
    let status = response.status;
    // A broadcast has a request id instead, and in the sandbox a name for Apple's delivery log.
    let named =
        ["apns-id", "apns-unique-id", "apns-request-id"].into_iter().find_map(|name| response.headers.get(name));
    let id = named.and_then(|id| id.to_str().ok()).map(str::to_owned);
    if status.is_success() {
        return Answer::accepted(status.as_u16(), id);
    }
    let body: ErrorBody = serde_json::from_slice(&response.body).unwrap_or_default();
    let outcome = with_delay(decide(status, body.reason.as_deref(), body.timestamp), &response.headers, clock);
    Answer { outcome, status: Some(status.as_u16()), reason: body.reason, provider_id: id }
}

/// What was not answered at all.
pub(super) fn unanswered(error: &TransportError) -> Answer {
    let outcome = match error {
        TransportError::Refused { .. } => Outcome::Pause,
        TransportError::Invalid { .. } => Outcome::Dead,
        error if error.maybe_taken() => Retry::unanswered(),
        _ => Retry::unreached(),
    };
    tracing::debug!(%error, "no answer from APNs");
    Answer::without_status(outcome, error.reason())
}

/// Reasons after which Apple is done with the connection.
pub(super) fn reconnects(reason: Option<&str>) -> bool {
    matches!(reason, Some("IdleTimeout" | "Shutdown"))
}

/// Reasons that say that the credentials, not the push, are refused.
pub(super) fn credentials_refused(reason: &str) -> bool {
    matches!(
        reason,
        "BadCertificate"
            | "BadCertificateEnvironment"
            | "Forbidden"
            | "InvalidProviderToken"
            | "MissingProviderToken"
            | "BadEnvironmentKeyInToken"
            | "BadEnvironmentKeyIdInToken"
            | "UnrelatedKeyIdInToken"
    )
}

pub(super) fn decide(status: StatusCode, reason: Option<&str>, timestamp_ms: Option<i64>) -> Outcome {
    if let Some(reason) = reason {
        match reason {
            "BadDeviceToken" | "DeviceTokenNotForTopic" => return Outcome::OtherEnvironment,
            "IdleTimeout" => return Retry::soon(),
            "ExpiredProviderToken" => return Outcome::SignAnew,
            "TooManyRequests" => return Retry::after(TOKEN_PAUSE),
            "TooManyProviderTokenUpdates" => return Retry::after(TOKEN_UPDATES_PAUSE),
            // About one broadcast channel, or about broadcasts alone: other pushes of the app go on.
            "BadChannelId" | "ChannelNotRegistered" | "FeatureNotEnabled" | "TopicMismatch" => return Outcome::Dead,
            _ if credentials_refused(reason) => return Outcome::Pause,
            _ => {}
        }
    }
    match status.as_u16() {
        401 | 403 => Outcome::Pause,
        404 | 405 => {
            tracing::error!(
                status = status.as_u16(),
                reason,
                "APNs does not know the request: a wrong base URL, or a fault of ours"
            );
            Outcome::Dead
        }
        410 => Outcome::DropToken(timestamp_ms.map_or(TokenGone::Now, TokenGone::At)),
        429 => Retry::after(TOKEN_PAUSE),
        500..=599 => Retry::soon(),
        _ => Outcome::Dead,
    }
}

fn with_delay(outcome: Outcome, headers: &HeaderMap, clock: &Clock) -> Outcome {
    let asked = retry_after(headers, clock);
    match (outcome, asked) {
        (Outcome::Retry(retry), Some(asked)) => {
            Outcome::Retry(Retry { after: Some(retry.after.map_or(asked, |after| after.max(asked))), ..retry })
        }
        _ => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, reason: &str) -> Outcome {
        decide(StatusCode::from_u16(status).unwrap(), Some(reason), None)
    }

    #[test]
    fn the_callers_errors_are_dead() {
        for reason in [
            "BadCollapseId",
            "BadExpirationDate",
            "BadMessageId",
            "BadPriority",
            "BadTopic",
            "DuplicateHeaders",
            "InvalidPushType",
            "MissingDeviceToken",
            "MissingTopic",
            "PayloadEmpty",
            "TopicDisallowed",
        ] {
            assert_eq!(outcome(400, reason), Outcome::Dead, "{reason}");
        }
        assert_eq!(outcome(413, "PayloadTooLarge"), Outcome::Dead);
        assert_eq!(outcome(404, "BadPath"), Outcome::Dead);
        assert_eq!(outcome(405, "MethodNotAllowed"), Outcome::Dead);
    }

    #[test]
    fn a_wrong_token_may_belong_to_the_other_environment() {
        assert_eq!(outcome(400, "BadDeviceToken"), Outcome::OtherEnvironment);
        assert_eq!(outcome(400, "DeviceTokenNotForTopic"), Outcome::OtherEnvironment);
    }

    #[test]
    fn refused_credentials_pause_the_app() {
        for reason in [
            "BadCertificate",
            "BadCertificateEnvironment",
            "Forbidden",
            "InvalidProviderToken",
            "MissingProviderToken",
            "BadEnvironmentKeyInToken",
            "BadEnvironmentKeyIdInToken",
            "UnrelatedKeyIdInToken",
        ] {
            assert_eq!(outcome(403, reason), Outcome::Pause, "{reason}");
        }
        assert_eq!(outcome(403, "ExpiredProviderToken"), Outcome::SignAnew);
    }

    #[test]
    fn a_gone_token_is_judged_by_its_time() {
        for reason in ["Unregistered", "ExpiredToken", "SomethingNew"] {
            let at = decide(StatusCode::GONE, Some(reason), Some(1_700_000_000_000));
            assert_eq!(at, Outcome::DropToken(TokenGone::At(1_700_000_000_000)), "{reason}");
        }
        assert_eq!(decide(StatusCode::GONE, None, None), Outcome::DropToken(TokenGone::Now));
    }

    #[test]
    fn busy_servers_are_asked_again() {
        assert_eq!(outcome(429, "TooManyRequests"), Retry::after(TOKEN_PAUSE));
        assert_eq!(outcome(429, "TooManyProviderTokenUpdates"), Retry::after(TOKEN_UPDATES_PAUSE));
        assert_eq!(outcome(400, "IdleTimeout"), Retry::soon());
        for (status, reason) in [(500, "InternalServerError"), (503, "ServiceUnavailable"), (503, "Shutdown")] {
            assert_eq!(outcome(status, reason), Retry::soon(), "{reason}");
        }
        assert!(reconnects(Some("Shutdown")) && reconnects(Some("IdleTimeout")) && !reconnects(Some("BadTopic")));
    }

    #[test]
    fn an_unknown_reason_is_decided_by_its_status() {
        assert_eq!(outcome(400, "NewIn2031"), Outcome::Dead);
        assert_eq!(outcome(403, "NewIn2031"), Outcome::Pause);
        assert_eq!(outcome(429, "NewIn2031"), Retry::after(TOKEN_PAUSE));
        assert_eq!(outcome(502, "NewIn2031"), Retry::soon());
        assert_eq!(outcome(418, "NewIn2031"), Outcome::Dead);
    }

    #[test]
    fn retry_after_is_heeded_but_never_shortens() {
        let clock = Clock::manual(784_111_777_000);
        let with_delay = |outcome, asked: &'static str| {
            let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, http::HeaderValue::from_static(asked))]);
            with_delay(outcome, &headers, &clock)
        };
        assert_eq!(with_delay(Retry::soon(), "7"), Retry::after(Duration::from_secs(7)));
        let date = "Sun, 06 Nov 1994 08:50:37 GMT";
        assert_eq!(with_delay(Retry::soon(), date), Retry::after(Duration::from_secs(60)));
        assert_eq!(with_delay(Retry::after(TOKEN_PAUSE), "7"), Retry::after(TOKEN_PAUSE));
        assert_eq!(with_delay(Retry::soon(), "soon"), Retry::soon());
        assert_eq!(with_delay(Outcome::Dead, "7"), Outcome::Dead);
    }

    #[test]
    fn what_concerns_one_channel_stops_nobody_else() {
        for reason in ["BadChannelId", "ChannelNotRegistered", "FeatureNotEnabled", "TopicMismatch"] {
            assert_eq!(outcome(403, reason), Outcome::Dead, "{reason}");
        }
    }
}
