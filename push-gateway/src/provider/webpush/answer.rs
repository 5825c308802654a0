//! A push service's answers and what they mean for us (RFC 8030, sections 5 and 7). None of them pauses the app: anybody
//! may register the address of a push service of their own, and it would stop everybody else's pushes.

use std::time::Duration;

use http::StatusCode;

use super::http_client::Refused;
use crate::provider::{Answer, Outcome, Retry, TokenGone};

/// How long a subscription is left alone after 429 without Retry-After.
const BUSY_PAUSE: Duration = Duration::from_secs(60);
/// The longest word of a push service that is kept, in characters.
const MAX_REASON: usize = 120;

/// | status | meaning | outcome |
/// |---|---|---|
/// | 200, 201, 202, 204 | taken | accepted |
/// | 404, 410 | the subscription is gone | the token is dropped |
/// | 413 | too large | dead |
/// | 400, 401, 403, other 4xx, 3xx | wrong request, or a subscription of another key | dead |
/// | 408, 429, 5xx | later | tried again, Retry-After heeded |
pub(super) fn read(status: StatusCode, asked: Option<Duration>, location: Option<&str>, body: &[u8]) -> Answer {
    if status.is_success() {
        return Answer::accepted(status.as_u16(), location.map(str::to_owned));
    }
    let outcome = match status.as_u16() {
        404 | 410 => Outcome::DropToken(TokenGone::Now),
        429 => Retry::after(asked.unwrap_or(BUSY_PAUSE)),
        408 | 500..=599 => asked.map_or_else(Retry::soon, Retry::after),
        _ => Outcome::Dead,
    };
    let reason = reason(body).unwrap_or_else(|| word(status).to_owned());
    Answer { outcome, status: Some(status.as_u16()), reason: Some(reason), provider_id: None }
}

fn word(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "redirect_not_followed",
        401 | 403 => "vapid_refused",
        404 | 410 => "subscription_gone",
        413 => "payload_too_large",
        429 => "too_many_requests",
        500..=599 => "push_service_error",
        _ => "request_refused",
    }
}

/// The reasons that are this gateway's own, wherever a push gets them.
const OWN: [&str; 15] = [
    "cancelled",
    "circuit_open",
    "connect_failed",
    "connection_cut",
    "device_unregistered",
    "encryption_failed",
    "endpoint_refused",
    "expired",
    "invalid_request",
    "origin_busy",
    "payload_too_large",
    "rate_limited",
    "signing_failed",
    "subscription_invalid",
    "timeout",
];

/// The reason in a word of this gateway, for metrics: a push service's own text is in the push's row alone. That of an
/// earlier answer may come again as the reason of a push whose time ended.
pub(crate) fn label(answer: &Answer) -> Option<&'static str> {
    let reason = answer.reason.as_deref()?;
    match answer.status.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) => Some(word(status)),
        None => Some(OWN.into_iter().find(|own| *own == reason).unwrap_or("earlier_answer")),
    }
}

/// Push services answer in JSON (autopush), in text or in HTML; the first line of what is no markup is kept.
fn reason(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) {
        let said = ["message", "reason", "error"].into_iter().find_map(|name| object.get(name)?.as_str());
        return said.map(shortened);
    }
    let line = text.lines().next()?.trim();
    (!line.is_empty() && !line.starts_with('<')).then(|| shortened(line))
}

fn shortened(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_REASON).collect()
}

pub(super) fn unanswered(error: reqwest::Error) -> Answer {
    let error = for_the_log(error);
    if let Some(refused) = Refused::within(&error) {
        tracing::warn!(%refused, "a push service's address is refused");
        return Answer::without_status(Outcome::Dead, "endpoint_refused");
    }
    tracing::debug!(%error, "no answer from a push service");
    if error.is_builder() {
        return Answer::without_status(Outcome::Dead, "invalid_request");
    }
    if error.is_connect() {
        return Answer::without_status(Retry::unreached(), "connect_failed");
    }
    let reason = if error.is_timeout() { "timeout" } else { "connection_cut" };
    Answer::without_status(Retry::unanswered(), reason)
}

/// The address stays out of the log: whoever has it can send to the browser (RFC 8030, section 8.3).
fn for_the_log(error: reqwest::Error) -> reqwest::Error {
    error.without_url()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_subscriptions_address_is_not_in_the_log() {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let error = http.post("http://127.0.0.1:1/wpush/v2/secret").send().await.unwrap_err();
        assert!(error.to_string().contains("secret"), "{error}");
        let error = for_the_log(error);
        assert!(error.is_connect() && !format!("{error} {error:?}").contains("secret"), "{error:?}");
        assert_eq!(unanswered(error).outcome, Retry::unreached());
    }

    #[test]
    fn each_status_has_its_outcome() {
        let gone = Outcome::DropToken(TokenGone::Now);
        for (status, asked, expected) in [
            (200, None, Outcome::Accepted),
            (201, None, Outcome::Accepted),
            (202, None, Outcome::Accepted),
            (204, None, Outcome::Accepted),
            (301, None, Outcome::Dead),
            (400, None, Outcome::Dead),
            (401, None, Outcome::Dead),
            (403, None, Outcome::Dead),
            (404, None, gone),
            (408, None, Retry::soon()),
            (410, None, gone),
            (413, None, Outcome::Dead),
            (429, None, Retry::after(BUSY_PAUSE)),
            (429, Some(7), Retry::after(Duration::from_secs(7))),
            (500, None, Retry::soon()),
            (503, Some(9), Retry::after(Duration::from_secs(9))),
        ] {
            let answer = read(StatusCode::from_u16(status).unwrap(), asked.map(Duration::from_secs), None, b"");
            assert_eq!(answer.outcome, expected, "{status}");
        }
    }

    #[test]
    fn metrics_have_a_bounded_number_of_words() {
        let mut labels = std::collections::BTreeSet::new();
        for status in 100..=999 {
            for body in [format!("stranger {status}"), format!(r#"{{"message":"stranger {status}"}}"#), String::new()] {
                let answer = read(StatusCode::from_u16(status).unwrap(), None, None, body.as_bytes());
                // As it is kept, and as the reason of a push that ends later without another answer.
                let later = Answer { status: None, ..answer.clone() };
                labels.extend([label(&answer), label(&later)].into_iter().flatten());
            }
        }
        assert!(!labels.iter().any(|label| label.contains("stranger")), "{labels:?}");
        assert!(labels.len() <= 9, "{labels:?}");
        let refused = read(StatusCode::FORBIDDEN, None, None, b"bad key 17");
        assert_eq!((refused.reason.as_deref(), label(&refused)), (Some("bad key 17"), Some("vapid_refused")));
        for own in OWN {
            assert_eq!(label(&Answer::without_status(Outcome::Dead, own)), Some(own));
        }
        assert_eq!(label(&Answer::accepted(201, None)), None);
    }

    #[test]
    fn the_services_own_word_is_kept_and_markup_is_not() {
        let reason = |body: &str| read(StatusCode::UNAUTHORIZED, None, None, body.as_bytes()).reason.unwrap();
        assert_eq!(reason(r#"{"code":401,"errno":109,"message":"Invalid authentication"}"#), "Invalid authentication");
        assert_eq!(reason("UnauthorizedRegistration\nmore"), "UnauthorizedRegistration");
        assert_eq!(reason("<html><title>401</title>"), "vapid_refused");
        assert_eq!(reason(&"x".repeat(5000)).len(), MAX_REASON);
    }
}
