//! The push-gateway, for many pushes at once.

use std::time::Duration;

use aws_lc_rs::digest;
use http::StatusCode;
use tidings_shared::auth::ServiceKeys;
use tidings_shared::push_api::{
    BatchAnswer, Environment, Priority, Provider, Push, SendBatch, SendNotification, To, TokenTarget,
};

use crate::package::hex;
use crate::store::Candidate;
use crate::update::LONGEST_COLLAPSE_ID;

/// Codes that speak of the gateway's configuration, not of the push: somebody is going to mend that.
const CONFIGURATION: [&str; 3] = ["app_unknown", "no_app_configured", "environment_unavailable"];
/// How long to wait when the gateway does not say.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest wait that is taken from the gateway at once.
const LONGEST: Duration = Duration::from_secs(60);

/// Where the gateway is. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    /// HTTP client.
    pub client: reqwest::Client,
    /// Its address.
    pub url: String,
    /// The first one is presented.
    pub keys: ServiceKeys,
}

/// What came of one push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The gateway has it, under this name.
    Taken(Option<String>),
    /// It will never take it, and why.
    Refused(String),
    /// Not now, and why.
    Later(String),
    /// Its configuration lacks the pass type, and what to do.
    Unserved(String),
}

/// The whole request has to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) why: String,
    pub(super) pause: Duration,
}

/// What came of a request.
pub(super) struct Answers {
    /// In the order of the pushes.
    pub(super) each: Vec<Answer>,
    /// How long those wait that are to come later.
    pub(super) pause: Duration,
}

impl Gateway {
    /// Hands over pushes. Each has a key of the campaign's sweep and its device: however often it comes, it is sent once.
    pub(super) async fn push(&self, campaign: &str, sweep: i64, pushes: &[Candidate]) -> Result<Answers, Wait> {
        let notifications = pushes.iter().map(|push| item(campaign, sweep, push)).collect();
        let mut request =
            self.client.post(format!("{}/v1/notifications/batch", self.url)).json(&SendBatch { notifications });
        if let Some(key) = self.keys.current() {
            request = request.bearer_auth(key);
        }
        let wait = |why: String| Wait { why, pause: PAUSE };
        let answer =
            request.send().await.map_err(|error| wait(format!("{} does not answer ({})", self.url, short(&error))))?;
        let status = answer.status();
        let told = answer.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let pause = told.map_or(PAUSE, Duration::from_secs).clamp(Duration::from_millis(500), LONGEST);
        let bytes =
            answer.bytes().await.map_err(|error| wait(format!("{} broke off ({})", self.url, short(&error))))?;
        if !status.is_success() {
            let mut why = format!("the push-gateway answered {status} {}", code(&bytes));
            if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                why.push_str(": the first of keys.service must be one of the push-gateway's");
            }
            return Err(Wait { why, pause });
        }
        let read: BatchAnswer = serde_json::from_slice(&bytes)
            .map_err(|error| wait(format!("the push-gateway's answer cannot be read: {error}")))?;
        if read.results.len() != pushes.len() {
            return Err(wait(format!("the push-gateway answered {} of {} pushes", read.results.len(), pushes.len())));
        }
        let each = read.results.into_iter().zip(pushes).map(|(result, push)| judge(result, push)).collect();
        Ok(Answers { each, pause })
    }
}

fn judge(result: tidings_shared::push_api::BatchResult, push: &Candidate) -> Answer {
    let code = result.error.as_ref().and_then(|error| error["code"].as_str()).unwrap_or_default();
    let why = format!("the push-gateway answered {} {code}", result.status);
    match result.status {
        200..=299 => Answer::Taken(result.notification.map(|notification| notification.id)),
        // The key was used for this very push before, with the token that the device had then.
        409 => Answer::Taken(None),
        _ if CONFIGURATION.contains(&code) => Answer::Unserved(format!(
            "{why}: it needs an app with the name of the pass type, push.apps.\"{}\"",
            push.at.pass_type
        )),
        401 | 403 | 408 | 429 | 500..=599 => Answer::Later(why),
        _ => Answer::Refused(why),
    }
}

fn item(campaign: &str, sweep: i64, push: &Candidate) -> serde_json::Value {
    let to = To::Token(TokenTarget {
        provider: Provider::Apns,
        app: push.at.pass_type.clone(),
        token: push.push_token.clone(),
        environment: Environment::Production,
        registered_at_ms: Some(push.token_at),
    });
    let mut notification = SendNotification::new(to, Push::Pass {});
    // A change that somebody waits for goes before it.
    notification.priority = Priority::Bulk;
    // A sleeping phone needs one of several, that of a change among them.
    notification.collapse_id = Some(push.at.pass_type.clone()).filter(|id| id.len() <= LONGEST_COLLAPSE_ID);
    let mut item = serde_json::to_value(notification).unwrap_or_default();
    item["idempotency_key"] = key(campaign, sweep, push).into();
    item
}

fn key(campaign: &str, sweep: i64, push: &Candidate) -> String {
    let parts = serde_json::json!([push.at.device, push.at.pass_type]).to_string();
    let hash = hex(digest::digest(&digest::SHA256, parts.as_bytes()).as_ref());
    format!("campaign-{campaign}-{sweep}-{}", &hash[..40])
}

fn code(bytes: &[u8]) -> String {
    let body: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    body.and_then(|body| Some(body.pointer("/error/code")?.as_str()?.to_owned())).unwrap_or_default()
}

/// An error without the address, which may hold what a log must not.
fn short(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "time-out"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    }
}
