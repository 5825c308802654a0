//! Firebase Cloud Messaging, HTTP v1. One [`Fcm`] is one Firebase project with its service account.

use std::sync::Arc;

use http::StatusCode;
use http::header::RETRY_AFTER;
use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Provider, Push};

use super::{Answer, Message, Outcome, Refusal, Retry, WakeStyle};

mod access;
mod answer;
mod message;

#[cfg(test)]
mod tests;

pub use access::{AccessTokens, ServiceAccount, ServiceAccountError};

/// The address of Google's service.
pub const DEFAULT_URL: &str = "https://fcm.googleapis.com";

/// The form of dates that RFC 9110 wants senders to write.
const HTTP_DATE: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// More of an answer than this is not read.
const MAX_ANSWER: usize = 64 * 1024;

/// One project at FCM.
#[derive(Debug)]
pub struct Fcm {
    send_url: String,
    http: reqwest::Client,
    access: Arc<AccessTokens>,
    wake: WakeStyle,
    clock: Clock,
}

impl Fcm {
    /// `url` is the service's base URL, [`DEFAULT_URL`] outside of tests and simulations. `http` brings its own
    /// timeouts and roots.
    #[must_use]
    pub fn new(
        url: &str,
        project: &str,
        http: reqwest::Client,
        access: Arc<AccessTokens>,
        wake: WakeStyle,
        clock: Clock,
    ) -> Self {
        let send_url = format!("{}/v1/projects/{project}/messages:send", url.trim_end_matches('/'));
        Self { send_url, http, access, wake, clock }
    }

    /// Refuses what FCM would refuse for its form, before it is stored.
    ///
    /// # Errors
    /// [`Refusal`] says what is wrong and what is allowed.
    pub fn check(&self, push: &Push, collapse_id: Option<&str>) -> Result<(), Refusal> {
        super::payload::check(Provider::Fcm, push, collapse_id)?;
        super::payload::check_size(Provider::Fcm, message::content_size(push, &self.wake))
    }

    /// Sends one push and says what came of it. Fetches a new access token once when Google refuses the one
    /// it has. Dropping the future cancels the request; FCM may have taken the push all the same.
    pub async fn send(&self, message: &Message) -> Answer {
        let first = self.attempt(message).await;
        if first.outcome != Outcome::SignAnew {
            return first;
        }
        let second = self.attempt(message).await;
        if second.outcome == Outcome::SignAnew { Answer { outcome: Outcome::Pause, ..second } } else { second }
    }

    async fn attempt(&self, message: &Message) -> Answer {
        let token = match self.access.token().await {
            Ok(token) => token,
            Err(failure) => return failure.into_answer(),
        };
        let body = message::body(message, &self.wake, self.clock.now_ms());
        let sent = self.http.post(&self.send_url).bearer_auth(&token).json(&body).send().await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return unanswered(&error),
        };
        let status = response.status();
        let retry_after = retry_after(response.headers().get(RETRY_AFTER), &self.clock);
        // Without its body an answer is judged by its status.
        let text = read_body(response).await;
        let answer = answer::read(status, retry_after, &text);
        if answer.outcome == Outcome::SignAnew {
            self.access.refused(&token);
        }
        answer
    }
}

fn unanswered(error: &reqwest::Error) -> Answer {
    tracing::debug!(error = %ErrorChain(error), "no answer from FCM");
    if error.is_connect() {
        return Answer::without_status(Retry::unreached(), "connect_failed");
    }
    if error.is_builder() {
        return Answer::without_status(Outcome::Dead, "invalid_request");
    }
    let reason = if error.is_timeout() { "timeout" } else { "connection_cut" };
    Answer::without_status(Retry::unanswered(), reason)
}

async fn read_body(mut response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        if body.len() + chunk.len() > MAX_ANSWER {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    body
}

/// Seconds, or an HTTP date (RFC 9110, 10.2.3).
fn retry_after(value: Option<&http::HeaderValue>, clock: &Clock) -> Option<std::time::Duration> {
    let text = value?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(std::time::Duration::from_secs(seconds));
    }
    let date = time::PrimitiveDateTime::parse(text, HTTP_DATE).ok()?;
    let seconds = date.assume_utc().unix_timestamp() - clock.now_s();
    Some(std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Whether a status of an HTTP call to Google is worth another try.
fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT
}

/// An error with its causes, for the log: `reqwest` shows only the outermost.
struct ErrorChain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod retry_after_tests {
    use super::*;
    use http::HeaderValue;
    use std::time::Duration;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let clock = Clock::manual(784_111_777_000);
        let read = |text: &'static str| retry_after(Some(&HeaderValue::from_static(text)), &clock);
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }
}
