//! Google's REST API: paced, with access tokens of a service account. What an answer means for us stands in [`Reply`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use reqwest::Method;
use serde_json::Value;
use tidings_shared::auth::{AccessFailure, AccessTokens};
use tokio::time::Instant;

use super::resource::Resource;

/// The address of Google's service.
pub const DEFAULT_URL: &str = "https://walletobjects.googleapis.com";
/// Longest pause that an answer can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Of a refusal's text this much is kept.
const LONGEST_REASON: usize = 300;

/// What an answer means.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Taken; the resource as Google has it now.
    Done(Value),
    /// 404: Google has no such resource (for an insert: not the class that it names).
    Missing(String),
    /// 409: Google has it already.
    Exists,
    /// Google will never take it, and why.
    Refused(String),
    /// Later, perhaps, and why; after this time if Google says one.
    Later {
        /// The pause that Google asks for.
        after: Option<Duration>,
        /// Why.
        why: String,
        /// Google may have taken it all the same: no answer came.
        unknown: bool,
        /// A limit is reached, Google says.
        limit: bool,
    },
}

/// The REST API.
pub struct Client {
    http: reqwest::Client,
    access: Arc<AccessTokens>,
    base: String,
    gap: Duration,
    next: Mutex<Option<Instant>>,
}

impl Client {
    /// A client of the service at `url` that makes at most so many requests a second.
    #[must_use]
    pub fn new(http: reqwest::Client, access: Arc<AccessTokens>, url: &str, per_second: u32) -> Self {
        let base = format!("{url}/walletobjects/v1");
        Self { http, access, base, gap: Duration::from_secs(1) / per_second.max(1), next: Mutex::default() }
    }

    /// Makes a class.
    pub async fn insert_class(&self, resource: Resource, class: &Value) -> Reply {
        self.call(Method::POST, &resource.class_path(), Some(class)).await
    }

    /// Changes a class.
    pub async fn patch_class(&self, resource: Resource, id: &str, class: &Value) -> Reply {
        self.call(Method::PATCH, &format!("{}/{id}", resource.class_path()), Some(class)).await
    }

    /// Makes an object.
    pub async fn insert_object(&self, resource: Resource, object: &Value) -> Reply {
        self.call(Method::POST, &resource.object_path(), Some(object)).await
    }

    /// Changes an object: the parts that are given; null takes one away.
    pub async fn patch_object(&self, resource: Resource, id: &str, parts: &Value) -> Reply {
        self.call(Method::PATCH, &format!("{}/{id}", resource.object_path()), Some(parts)).await
    }

    /// Adds a message to an object.
    pub async fn add_message(&self, resource: Resource, id: &str, message: &Value) -> Reply {
        let body = serde_json::json!({ "message": message });
        self.call(Method::POST, &format!("{}/{id}/addMessage", resource.object_path()), Some(&body)).await
    }

    /// An object as Google has it.
    pub async fn object(&self, resource: Resource, id: &str) -> Reply {
        self.call(Method::GET, &format!("{}/{id}", resource.object_path()), None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let (first, refused) = self.attempt(method.clone(), path, body).await;
        // An access token can be taken back before its end: another one, once.
        if refused { self.attempt(method, path, body).await.0 } else { first }
    }

    /// The reply, and whether Google did not take the access token.
    async fn attempt(&self, method: Method, path: &str, body: Option<&Value>) -> (Reply, bool) {
        self.wait_for_turn().await;
        let later = |after, why: String, unknown| Reply::Later { after, why, unknown, limit: false };
        let token = match self.access.token().await {
            Ok(token) => token,
            Err(AccessFailure::Refused(reason)) => {
                let why = format!(
                    "Google's token endpoint refuses the service account ({reason}): see wallet.google.service_account_file"
                );
                return (later(None, why, false), false);
            }
            Err(AccessFailure::Temporary(reason)) => {
                return (later(None, format!("no access token ({reason})"), false), false);
            }
        };
        let mut request = self.http.request(method, format!("{}/{path}", self.base)).bearer_auth(&token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let what = match (error.is_connect(), error.is_timeout()) {
                    (true, _) => "no connection to Google Wallet",
                    (_, true) => "Google Wallet did not answer in time",
                    _ => "the connection to Google Wallet broke",
                };
                return (later(None, what.to_owned(), !error.is_connect()), false);
            }
        };
        let status = answer.status();
        let after = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE));
        let text = answer.text().await.unwrap_or_default();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return (Reply::Done(value), false);
        }
        let why = reason(status, &value);
        let reply = match status {
            StatusCode::UNAUTHORIZED => {
                self.access.refused(&token);
                return (later(after, why, false), true);
            }
            StatusCode::NOT_FOUND => Reply::Missing(why),
            StatusCode::CONFLICT => Reply::Exists,
            // The account is no user of the issuer, or the API is not enabled: somebody is going to mend that.
            StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                let limit = status == StatusCode::TOO_MANY_REQUESTS || is_limit(&value);
                Reply::Later { after, why, unknown: false, limit }
            }
            status if status.is_client_error() => Reply::Refused(why),
            _ => later(after, why, false),
        };
        (reply, false)
    }

    /// At most so many requests a second.
    async fn wait_for_turn(&self) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = next.map_or(now, |next| next.max(now));
            *next = Some(turn + self.gap);
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

/// The reasons of the details of a `google.rpc.Status`.
fn reasons(body: &Value) -> Vec<&str> {
    let details = body.pointer("/error/errors").and_then(Value::as_array).into_iter().flatten();
    details.filter_map(|error| error["reason"].as_str()).collect()
}

/// Whether a limit is the reason: `quotaExceeded`, `rateLimitExceeded`, `userRateLimitExceeded`, …; Google says so with
/// 403 as well as with 429.
fn is_limit(body: &Value) -> bool {
    body.pointer("/error/status").and_then(Value::as_str) == Some("RESOURCE_EXHAUSTED")
        || reasons(body).iter().any(|reason| {
            let reason = reason.to_ascii_lowercase();
            reason.contains("quota") || reason.contains("limit")
        })
}

/// `error.message` of `google.rpc.Status`, and the reasons of its details.
fn reason(status: StatusCode, body: &Value) -> String {
    let message = body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    let reasons = reasons(body);
    let text = format!("Google Wallet answered {} {}: {message}", status.as_u16(), reasons.join(", "));
    text.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::is_limit;

    #[test]
    fn a_limit_is_told_from_a_missing_right() {
        let body = |status: &str, reason: &str| json!({"error": {"status": status, "errors": [{"reason": reason}]}});
        assert!(is_limit(&body("PERMISSION_DENIED", "userRateLimitExceeded")));
        assert!(is_limit(&body("PERMISSION_DENIED", "QuotaExceeded")));
        assert!(is_limit(&body("RESOURCE_EXHAUSTED", "")));
        assert!(!is_limit(&body("PERMISSION_DENIED", "permissionDenied")));
    }
}
