//! Firebase Cloud Messaging, HTTP v1. One [`Fcm`] is one Firebase project with its service account.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tidings_shared::auth::{AccessFailure, AccessTokens};
use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Provider, Push};

use super::{Answer, Message, Outcome, Refusal, Retry, WakeStyle};

mod answer;
mod message;
mod pacer;
mod recipient;
pub mod topics;

/// The message that Google would get, less who it is for and when it ends; the size that its limit counts, and that limit.
pub(crate) fn preview(
    push: &tidings_shared::push_api::Push,
    wake: &super::WakeStyle,
) -> (serde_json::Value, usize, usize) {
    (message::preview(push, wake), message::content_size(push, wake), MAX_PAYLOAD)
}

#[cfg(test)]
mod tests;

pub use pacer::Pacer;
pub use recipient::{check_recipient, check_topic};

use super::handover;
use super::payload::MAX_PAYLOAD;
use super::retry_after::retry_after;

/// The address of Google's service.
pub const DEFAULT_URL: &str = "https://fcm.googleapis.com";

/// What its access tokens allow.
pub const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

/// A push waits this long for its place in the project's pace; for a longer time it goes back to the queue.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Messages a minute that Google allows a project.
pub const DEFAULT_PER_MINUTE: u64 = 600_000;
/// A topic that nobody subscribes to: [`Fcm::probe`] only has a message to it validated.
const PROBE_TOPIC: &str = "topic:tidings.check";

/// More of an answer than this is not read.
const MAX_ANSWER: usize = 64 * 1024;

/// One project at FCM.
#[derive(Debug)]
pub struct Fcm {
    send_url: String,
    topics_url: String,
    pacer: Arc<Pacer>,
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
        let topics_url = if url == DEFAULT_URL { topics::DEFAULT_TOPICS_URL } else { url };
        let topics_url = topics_url.trim_end_matches('/').to_owned();
        let pacer = Arc::new(Pacer::new(DEFAULT_PER_MINUTE, Duration::ZERO));
        Self { send_url, topics_url, pacer, http, access, wake, clock }
    }

    /// The same project at the pace of `pacer`, which all apps of the project share.
    #[must_use]
    pub fn with_pacer(mut self, pacer: Arc<Pacer>) -> Self {
        self.pacer = pacer;
        self
    }

    /// The same project with another address of the topic service.
    #[must_use]
    pub fn with_topics_url(mut self, url: &str) -> Self {
        url.trim_end_matches('/').clone_into(&mut self.topics_url);
        self
    }

    /// Refuses what FCM would refuse for its form, before it is stored.
    ///
    /// # Errors
    /// [`Refusal`] says what is wrong and what is allowed.
    pub fn check(&self, push: &Push, collapse_id: Option<&str>) -> Result<(), Refusal> {
        super::payload::check(Provider::Fcm, push, collapse_id)?;
        super::payload::check_size(Provider::Fcm, message::content_size(push, &self.wake), MAX_PAYLOAD)
    }

    /// Sends one push and says what came of it. Fetches a new access token once when Google refuses the one
    /// it has. Dropping the future cancels the request; FCM may have taken the push all the same.
    pub async fn send(&self, message: &Message) -> Answer {
        if let Some(later) = self.pacer.keep_away(&message.push, &message.id, self.clock.now_ms()) {
            return Answer::without_status(paced(later), "quarter_hour");
        }
        while let Err(wait) = self.pacer.admit(self.clock.now_ms()) {
            if wait > LONGEST_WAIT {
                return Answer::without_status(paced(wait), "project_quota");
            }
            handover::waiting();
            tokio::time::sleep(wait).await;
        }
        self.exchange(message, false).await
    }

    /// FCM's verdict on a push that it does not deliver (`validate_only`).
    pub async fn validate(&self, message: &Message) -> Answer {
        self.exchange(message, true).await
    }

    /// Asks whether the service account may send: a message to a topic is validated and not delivered.
    pub async fn probe(&self) -> Answer {
        let message = Message {
            id: String::new(),
            token: PROBE_TOPIC.to_owned(),
            environment: tidings_shared::push_api::Environment::Production,
            registered_at_ms: None,
            push: Arc::new(Push::Wake {}),
            collapse_id: None,
            expires_at_ms: 0,
        };
        self.exchange(&message, true).await
    }

    async fn exchange(&self, message: &Message, validate_only: bool) -> Answer {
        let first = self.attempt(message, validate_only).await;
        if first.outcome != Outcome::SignAnew {
            return first;
        }
        let second = self.attempt(message, validate_only).await;
        if second.outcome == Outcome::SignAnew { Answer { outcome: Outcome::Pause, ..second } } else { second }
    }

    async fn attempt(&self, message: &Message, validate_only: bool) -> Answer {
        handover::waiting();
        let token = match self.access.token().await {
            Ok(token) => token,
            Err(failure) => return no_access(failure),
        };
        handover::begins();
        let body = message::body(message, &self.wake, self.clock.now_ms(), validate_only);
        let sent = self.http.post(&self.send_url).bearer_auth(&token).json(&body).send().await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return unanswered(&error),
        };
        let status = response.status();
        let retry_after = retry_after(response.headers(), &self.clock);
        // Without its body an answer is judged by its status.
        let text = read_body(response).await;
        let answer = answer::read(status, retry_after, &text);
        if answer.outcome == Outcome::SignAnew {
            self.access.refused(&token);
        }
        answer
    }
}

/// What a push gets while there is no access token.
fn no_access(failure: AccessFailure) -> Answer {
    match failure {
        AccessFailure::Refused(reason) => Answer::without_status(Outcome::Pause, reason),
        AccessFailure::Temporary(reason) => Answer::without_status(Retry::unreached(), reason),
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

/// Not handed over, for our own reasons: says nothing about the push.
fn paced(wait: Duration) -> Outcome {
    Outcome::Retry(Retry { after: Some(wait), unreached: true, isolated: true, ..Retry::default() })
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
