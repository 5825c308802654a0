//! Topic subscriptions through the Instance ID service ("Manage relationship maps for multiple app instances").

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Fcm, check_topic, read_body};
use crate::provider::Refusal;

/// Google's service for topic subscriptions.
pub const DEFAULT_TOPICS_URL: &str = "https://iid.googleapis.com";
/// The most tokens in one request.
const BATCH: usize = 1000;

/// What is done with the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They get what is sent to the topic.
    Subscribe,
    /// They do not any more.
    Unsubscribe,
}

/// Why no token was subscribed or unsubscribed; what was done before stays done, and doing it again does no harm.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// It cannot be a topic's name.
    #[error(transparent)]
    Invalid(#[from] Refusal),
    /// Google refuses the service account, or the request as a whole.
    #[error("the topic service answers {status} {reason}")]
    Refused {
        /// Google's HTTP status.
        status: u16,
        /// Google's word.
        reason: String,
    },
    /// No answer, or one that says to try again.
    #[error("the topic service gave no answer ({0}); try again")]
    Unanswered(String),
}

#[derive(Serialize)]
struct Body<'a> {
    to: String,
    registration_tokens: &'a [String],
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reply {
    results: Vec<TokenResult>,
    error: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenResult {
    error: Option<String>,
}

impl Fcm {
    /// Subscribes or unsubscribes registration tokens. The answer has one item for each, in their order: `None` when it
    /// was done, else Google's word (`NOT_FOUND`, `INVALID_ARGUMENT`, `TOO_MANY_TOPICS`, `INTERNAL`).
    ///
    /// # Errors
    /// [`TopicError`].
    pub async fn change_topic(
        &self,
        change: Change,
        topic: &str,
        tokens: &[String],
    ) -> Result<Vec<Option<String>>, TopicError> {
        check_topic(topic)?;
        let mut results = Vec::with_capacity(tokens.len());
        for batch in tokens.chunks(BATCH) {
            results.extend(self.change_batch(change, topic, batch).await?);
        }
        Ok(results)
    }

    async fn change_batch(
        &self,
        change: Change,
        topic: &str,
        tokens: &[String],
    ) -> Result<Vec<Option<String>>, TopicError> {
        let call = match change {
            Change::Subscribe => "batchAdd",
            Change::Unsubscribe => "batchRemove",
        };
        let url = format!("{}/iid/v1:{call}", self.topics_url);
        let body = Body { to: format!("/topics/{topic}"), registration_tokens: tokens };
        let mut renewed = false;
        loop {
            let access = self
                .access
                .token()
                .await
                .map_err(|failure| TopicError::Unanswered(super::no_access(failure).reason.unwrap_or_default()))?;
            let request = self.http.post(&url).bearer_auth(&access).header("access_token_auth", "true").json(&body);
            let response = request.send().await.map_err(|error| {
                tracing::debug!(error = %super::ErrorChain(&error), "no answer from the topic service");
                TopicError::Unanswered(if error.is_timeout() { "timeout" } else { "connection_failed" }.to_owned())
            })?;
            let status = response.status();
            let text = read_body(response).await;
            if status == StatusCode::UNAUTHORIZED && !renewed {
                renewed = true;
                self.access.refused(&access);
                continue;
            }
            return read(status, &text, tokens.len());
        }
    }
}

fn read(status: StatusCode, text: &[u8], asked: usize) -> Result<Vec<Option<String>>, TopicError> {
    let reply: Reply = serde_json::from_slice(text).unwrap_or_default();
    if status.is_success() && reply.results.len() == asked {
        return Ok(reply.results.into_iter().map(|result| result.error).collect());
    }
    let reason = match reply.error {
        Some(serde_json::Value::String(reason)) => reason,
        Some(other) => other["status"].as_str().unwrap_or("(no reason)").to_owned(),
        None => "(no reason)".to_owned(),
    };
    if status.is_success() || super::is_temporary(status) {
        return Err(TopicError::Unanswered(format!("{} {reason}", status.as_u16())));
    }
    Err(TopicError::Refused { status: status.as_u16(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_has_its_result() {
        let read = |status, text: &str, asked| read(StatusCode::from_u16(status).unwrap(), text.as_bytes(), asked);
        let mixed = read(200, r#"{"results":[{},{"error":"NOT_FOUND"}]}"#, 2).unwrap();
        assert_eq!(mixed, [None, Some("NOT_FOUND".to_owned())]);
        let missing = read(200, r#"{"results":[{}]}"#, 2).unwrap_err().to_string();
        assert!(missing.contains("try again"), "{missing}");
        let refused = read(400, r#"{"error":"InvalidTopicName"}"#, 1).unwrap_err().to_string();
        assert!(refused.contains("400 InvalidTopicName"), "{refused}");
        let denied = read(403, r#"{"error":{"code":403,"status":"PERMISSION_DENIED"}}"#, 1).unwrap_err().to_string();
        assert!(denied.contains("403 PERMISSION_DENIED"), "{denied}");
        assert!(matches!(read(502, "<html>", 1), Err(TopicError::Unanswered(_))));
    }
}
