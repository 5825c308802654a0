//! FCM's answers and what they mean for us. The code of an error is in `details[]` of type `FcmError`; it may be
//! missing, other details may stand in its place, and a proxy in between answers with HTML.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use super::is_temporary;
use crate::provider::{Answer, Outcome, Retry, TokenGone};

/// Google's advice for QUOTA_EXCEEDED without Retry-After.
const QUOTA_PAUSE: Duration = Duration::from_secs(60);
/// People have to act before another try can succeed.
const THIRD_PARTY_PAUSE: Duration = Duration::from_secs(600);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    name: Option<String>,
    error: Option<RpcStatus>,
}

/// `google.rpc.Status`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RpcStatus {
    status: Option<String>,
    details: Vec<Detail>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail {
    #[serde(rename = "@type")]
    kind: String,
    #[serde(rename = "errorCode")]
    error_code: Option<String>,
    #[serde(rename = "fieldViolations")]
    field_violations: Vec<FieldViolation>,
    #[serde(rename = "retryDelay")]
    retry_delay: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FieldViolation {
    field: String,
}

pub(super) fn read(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Answer {
    // Not JSON (a proxy's HTML): the status decides.
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    if status.is_success() {
        return Answer::accepted(status.as_u16(), body.name);
    }
    let error = body.error.unwrap_or_default();
    let fcm_code = error
        .details
        .iter()
        .find(|detail| detail.kind.ends_with("google.firebase.fcm.v1.FcmError"))
        .and_then(|detail| detail.error_code.as_deref());
    let code = fcm_code.or(error.status.as_deref());
    let asked = retry_after.or_else(|| error.details.iter().find_map(|detail| delay(detail.retry_delay.as_deref()?)));
    let token_named = error
        .details
        .iter()
        .flat_map(|detail| &detail.field_violations)
        .any(|violation| matches!(violation.field.as_str(), "message.token" | "token" | "message.fid" | "fid"));
    let outcome = decide(status, fcm_code, code, asked, token_named);
    Answer { outcome, status: Some(status.as_u16()), reason: code.map(str::to_owned), provider_id: None }
}

fn decide(
    status: StatusCode,
    fcm_code: Option<&str>,
    code: Option<&str>,
    asked: Option<Duration>,
    token_named: bool,
) -> Outcome {
    let backoff = || asked.map_or_else(Retry::soon, Retry::after);
    match code {
        Some("UNREGISTERED") => Outcome::DropToken(TokenGone::Now),
        Some("INVALID_ARGUMENT") if token_named => Outcome::DropToken(TokenGone::Now),
        Some("INVALID_ARGUMENT") => Outcome::Dead,
        Some("SENDER_ID_MISMATCH" | "PERMISSION_DENIED") => Outcome::Pause,
        // Google's own credentials at Apple or at a browser's push service, uploaded in the Firebase console:
        // only that part of the app is concerned, so the rest goes on.
        Some("THIRD_PARTY_AUTH_ERROR") => {
            tracing::error!(
                "FCM is refused by Apple or a web push service: renew the credentials in the Firebase console"
            );
            Retry::after(asked.unwrap_or(THIRD_PARTY_PAUSE))
        }
        // A plain OAuth refusal: our access token.
        Some("UNAUTHENTICATED") => Outcome::SignAnew,
        Some("QUOTA_EXCEEDED" | "RESOURCE_EXHAUSTED") => Retry::after(asked.unwrap_or(QUOTA_PAUSE)),
        Some("INTERNAL" | "UNAVAILABLE") => backoff(),
        _ => match status {
            StatusCode::UNAUTHORIZED => Outcome::SignAnew,
            StatusCode::FORBIDDEN => Outcome::Pause,
            StatusCode::TOO_MANY_REQUESTS => Retry::after(asked.unwrap_or(QUOTA_PAUSE)),
            status if is_temporary(status) => backoff(),
            // Without FcmError a 404 may as well be a wrong project or address: no reason to forget the token.
            StatusCode::NOT_FOUND if fcm_code.is_none() => {
                tracing::error!(
                    code,
                    "FCM answers 404 without saying UNREGISTERED: are project id and base URL right?"
                );
                Outcome::Dead
            }
            _ => Outcome::Dead,
        },
    }
}

/// `google.rpc.RetryInfo`: `"3.5s"`.
fn delay(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fcm_error(status: u16, name: &str, code: &str) -> Answer {
        answer(
            status,
            json!([{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}]),
            name,
        )
    }

    fn answer(status: u16, details: Value, name: &str) -> Answer {
        let body = json!({"error": {"code": status, "message": "m", "status": name, "details": details}});
        read(StatusCode::from_u16(status).unwrap(), None, body.to_string().as_bytes())
    }

    #[test]
    fn each_code_has_its_consequence() {
        for (status, name, code, outcome) in [
            (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", Outcome::Dead),
            (404, "NOT_FOUND", "UNREGISTERED", Outcome::DropToken(TokenGone::Now)),
            (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", Outcome::Pause),
            (401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR", Retry::after(THIRD_PARTY_PAUSE)),
            (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", Retry::after(QUOTA_PAUSE)),
            (500, "INTERNAL", "INTERNAL", Retry::soon()),
            (503, "UNAVAILABLE", "UNAVAILABLE", Retry::soon()),
            (400, "INVALID_ARGUMENT", "SOMETHING_NEW", Outcome::Dead),
            (503, "UNAVAILABLE", "SOMETHING_NEW", Retry::soon()),
        ] {
            let answer = fcm_error(status, name, code);
            assert_eq!(answer.outcome, outcome, "{code}");
            assert_eq!(answer.reason.as_deref(), Some(code));
            assert_eq!(answer.status, Some(status));
        }
    }

    #[test]
    fn details_may_be_missing() {
        assert_eq!(answer(400, json!([]), "INVALID_ARGUMENT").outcome, Outcome::Dead);
        assert_eq!(answer(401, json!([]), "UNAUTHENTICATED").outcome, Outcome::SignAnew);
        assert_eq!(answer(403, json!([]), "PERMISSION_DENIED").outcome, Outcome::Pause);
        assert_eq!(answer(404, json!([]), "NOT_FOUND").outcome, Outcome::Dead);
        assert_eq!(answer(429, json!([]), "RESOURCE_EXHAUSTED").outcome, Retry::after(QUOTA_PAUSE));
        assert_eq!(answer(503, json!([]), "UNAVAILABLE").outcome, Retry::soon());
    }

    #[test]
    fn an_invalid_argument_drops_the_token_only_when_it_names_it() {
        let violation = |field: &str| {
            json!([{"@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [{"field": field, "description": "d"}]}])
        };
        let named = answer(400, violation("message.token"), "INVALID_ARGUMENT");
        assert_eq!(named.outcome, Outcome::DropToken(TokenGone::Now));
        assert_eq!(answer(400, violation("message.data"), "INVALID_ARGUMENT").outcome, Outcome::Dead);
    }

    #[test]
    fn html_from_a_proxy_is_judged_by_its_status() {
        let read = |status| read(status, None, b"<!DOCTYPE html><title>Error 502</title>");
        let answer = read(StatusCode::BAD_GATEWAY);
        assert_eq!((answer.outcome, answer.reason), (Retry::soon(), None));
        assert_eq!(read(StatusCode::FORBIDDEN).outcome, Outcome::Pause);
    }

    #[test]
    fn retry_after_wins_over_our_own_pauses() {
        let asked = Duration::from_secs(7);
        let body = json!({"error": {"status": "RESOURCE_EXHAUSTED"}}).to_string();
        assert_eq!(read(StatusCode::TOO_MANY_REQUESTS, Some(asked), body.as_bytes()).outcome, Retry::after(asked));
        assert_eq!(read(StatusCode::SERVICE_UNAVAILABLE, Some(asked), b"").outcome, Retry::after(asked));
        let info = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.5s"}]);
        assert_eq!(answer(503, info, "UNAVAILABLE").outcome, Retry::after(Duration::from_millis(2500)));
    }

    #[test]
    fn acceptance_keeps_the_name() {
        let answer = read(StatusCode::OK, None, br#"{"name":"projects/p/messages/1"}"#);
        assert_eq!(answer.outcome, Outcome::Accepted);
        assert_eq!(answer.provider_id.as_deref(), Some("projects/p/messages/1"));
    }
}
