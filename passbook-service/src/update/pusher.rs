//! Hands due pushes to the push-gateway, with retry; the gateway speaks to Apple.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use http::StatusCode;
use serde_json::Value;
use tidings_shared::auth::ServiceKeys;
use tidings_shared::clock::Clock;
use tidings_shared::health::Dependency;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::push_api::{
    BatchAnswer, BatchResult, Environment, Provider, Push, SendNotification, To, TokenTarget,
};
use tokio::sync::Notify;

use crate::metrics::{Metrics, Outcome};
use crate::package::hex;
use crate::store::{DuePush, PushResult, Store};

/// Most pushes of one request to the gateway, which takes a thousand.
const BATCH: i64 = 500;
/// The longest collapse id that APNs takes, bytes.
pub(crate) const LONGEST_COLLAPSE_ID: usize = 64;
/// A claimed push that nobody settles belongs to the next who asks after this.
const LEASE_MS: i64 = 60_000;
/// How often due pushes are looked for without being told.
const POLL: Duration = Duration::from_secs(1);
/// How long requests under way may take after the shutdown began.
const GRACE: Duration = Duration::from_secs(3);
/// How often the gateway is asked whether it is there; ten times as often while it is not.
const WATCH: Duration = Duration::from_secs(5);
/// Codes of the push-gateway that speak of its configuration, not of the push.
const CONFIGURATION: [&str; 3] = ["app_unknown", "no_app_configured", "environment_unavailable"];
const FIRST_PAUSE_MS: i64 = 1_000;
const LONGEST_PAUSE_MS: i64 = 60_000;
/// A request that the gateway calls wrong is given up after this many attempts: the cause may be its configuration.
const WRONG_ATTEMPTS: i64 = 10;

/// The task that sends pushes. Cheap to clone.
#[derive(Clone)]
pub struct Pusher {
    /// The tables.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// HTTP client.
    pub client: reqwest::Client,
    /// Where the gateway is.
    pub gateway_url: String,
    /// The first one is presented.
    pub keys: ServiceKeys,
    /// Least time between two pushes to a device, ms.
    pub interval_ms: i64,
    /// Says whether the gateway answers.
    pub health: Dependency,
    /// Pushes have become due.
    pub wake: Arc<Notify>,
    /// Why the gateway refuses us, if it does.
    pub refusal: Arc<Mutex<Option<String>>>,
}

impl Pusher {
    /// Works until the shutdown begins.
    pub async fn run(self, shutdown: Shutdown) {
        tokio::join!(self.watch(&shutdown), self.send_all(&shutdown));
    }

    async fn send_all(&self, shutdown: &Shutdown) {
        while !shutdown.is_down() {
            let now = self.clock.now_ms();
            match self.store.claim_pushes(now, now + LEASE_MS, BATCH, self.interval_ms).await {
                Ok(pushes) if !pushes.is_empty() => {
                    let grace = async {
                        shutdown.wait().await;
                        tokio::time::sleep(GRACE).await;
                    };
                    tokio::select! {
                        () = self.handle(pushes) => {}
                        // What is cut off here is sent again, with the same key, once its lease has ended.
                        () = grace => {}
                    }
                    continue;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "due pushes cannot be read; trying again"),
            }
            tokio::select! {
                () = shutdown.wait() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Asks the gateway now and then whether it is there, so that readiness tells the truth, and has what waited for it
    /// sent as soon as it is back.
    async fn watch(&self, shutdown: &Shutdown) {
        let mut was_there = true;
        loop {
            let answer = self.client.get(format!("{}/healthz", self.gateway_url)).timeout(WATCH).send().await;
            let problem = match answer {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("{} answered {}", self.gateway_url, answer.status())),
                Err(error) => Some(format!("{} does not answer ({})", self.gateway_url, short(&error))),
            };
            match problem {
                None if !was_there => match self.store.hurry_pushes(self.clock.now_ms()).await {
                    Ok(()) => self.wake.notify_one(),
                    Err(error) => tracing::debug!(%error, "pushes wait for their own time"),
                },
                _ => {}
            }
            was_there = problem.is_none();
            if let Ok(pending) = self.store.pending_pushes().await {
                self.metrics.pushes_pending.set(pending);
            }
            match problem.or_else(|| self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()) {
                None => self.health.ready(),
                Some(problem) => self.health.missing(problem),
            }
            let pause = if was_there { WATCH } else { WATCH / 10 };
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn handle(&self, pushes: Vec<DuePush>) {
        let (mut wanted, mut settled) = (Vec::new(), Vec::new());
        for push in pushes {
            let reason = if !push.wanted {
                Some("the device has seen the change, has no pass of this type any more, or is in quarantine")
            } else if !is_push_token(&push.push_token) {
                Some("the push token cannot be one: 32 to 256 hexadecimal digits are")
            } else {
                None
            };
            match reason {
                Some(reason) => settled.push((push, PushResult::Dropped(reason.to_owned()))),
                None => wanted.push(push),
            }
        }
        if !wanted.is_empty() {
            let results = self.send(&wanted).await;
            settled.extend(wanted.into_iter().zip(results));
        }
        for (_, result) in &settled {
            self.metrics.push(match result {
                PushResult::Sent(_) => Outcome::Sent,
                PushResult::Dropped(_) => Outcome::Dropped,
                PushResult::Later(..) => Outcome::Retried,
            });
        }
        if let Err(error) = self.store.settle_pushes(&settled, self.clock.now_ms(), self.interval_ms).await {
            tracing::warn!(%error, "results of pushes cannot be stored; they are sent again with the same idempotency keys");
        }
    }

    /// Hands pushes to the gateway in one request; a result for each.
    async fn send(&self, pushes: &[DuePush]) -> Vec<PushResult> {
        let epoch = match self.store.epoch().await {
            Ok(epoch) => epoch,
            Err(error) => {
                let why = format!("the tags' epoch cannot be read: {error}");
                return pushes.iter().map(|push| self.later(push, None, why.clone())).collect();
            }
        };
        let items: Vec<_> = pushes.iter().map(|push| item(push, &epoch)).collect();
        let body = serde_json::json!({ "notifications": items });
        let mut request = self.client.post(format!("{}/v1/notifications/batch", self.gateway_url)).json(&body);
        if let Some(key) = self.keys.current() {
            request = request.bearer_auth(key);
        }
        let all_later = |why: String, retry_after: Option<i64>| {
            self.note_trouble(pushes.len(), &pushes[0], &why);
            pushes.iter().map(|push| self.later(push, retry_after, why.clone())).collect()
        };
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return all_later(format!("{} does not answer ({})", self.gateway_url, short(&error)), None),
        };
        let status = answer.status();
        let retry_after =
            answer.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<i64>().ok());
        let text = answer.text().await.unwrap_or_default();
        if !status.is_success() {
            let code = serde_json::from_str::<Value>(&text).ok();
            let code = code.as_ref().and_then(|body| body.pointer("/error/code")?.as_str()).unwrap_or_default();
            let mut why = format!("the push-gateway answered {status} {code}");
            if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                why = format!("{why}: the first of keys.service must be one of the push-gateway's");
            }
            self.note_refusal(Some(why.clone()));
            return all_later(why, retry_after);
        }
        let results = serde_json::from_str::<BatchAnswer>(&text).map(|answer| answer.results).unwrap_or_default();
        if results.len() != pushes.len() {
            return all_later("the push-gateway's answer does not fit the request".to_owned(), None);
        }
        let mut refusal = None;
        let results =
            pushes.iter().zip(results).map(|(push, result)| self.result(push, &result, retry_after, &mut refusal));
        let results: Vec<_> = results.collect();
        self.note_refusal(refusal);
        results
    }

    /// What the gateway's answer to one push means for it. `refusal`: why the gateway refuses all that are like it.
    fn result(
        &self,
        push: &DuePush,
        result: &BatchResult,
        retry_after: Option<i64>,
        refusal: &mut Option<String>,
    ) -> PushResult {
        let status = StatusCode::from_u16(result.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // The key was used for this very push before.
        if status.is_success() || status == StatusCode::CONFLICT {
            // Its name is how "this token is gone" finds the device.
            return PushResult::Sent(result.notification.as_ref().map(|notification| notification.id.clone()));
        }
        let code = result.error.as_ref().and_then(|error| error["code"].as_str()).unwrap_or_default();
        let why = format!("the push-gateway answered {status} {code}");
        // Its configuration lacks this pass type: somebody is going to mend that.
        if CONFIGURATION.contains(&code) {
            let why =
                format!("{why}: it needs an app with the name of the pass type, push.apps.\"{}\"", push.pass_type);
            self.note_trouble(1, push, &why);
            *refusal = Some(why.clone());
            return self.later(push, retry_after, why);
        }
        let ours = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
        if ours && push.attempts + 1 >= WRONG_ATTEMPTS {
            tracing::error!(pass_type = push.pass_type, "{why}; the push is given up");
            return PushResult::Dropped(why);
        }
        self.note_trouble(1, push, &why);
        if status.is_server_error() {
            *refusal = Some(why.clone());
        }
        self.later(push, retry_after, why)
    }

    /// Told once for each push, at its first failure.
    fn note_trouble(&self, pushes: usize, push: &DuePush, why: &str) {
        if push.attempts == 0 {
            tracing::warn!(pass_type = push.pass_type, pushes, "{why}; tried again");
        }
    }

    fn later(&self, push: &DuePush, retry_after_s: Option<i64>, why: String) -> PushResult {
        let doublings = u32::try_from(push.attempts.clamp(0, 20)).unwrap_or(20);
        let pause = (FIRST_PAUSE_MS << doublings).min(LONGEST_PAUSE_MS);
        let pause = pause.max(retry_after_s.unwrap_or(0).clamp(0, 3600) * 1000);
        PushResult::Later(self.clock.now_ms() + pause, why)
    }

    /// The gateway is there but refuses us: readiness says so until it takes a push.
    fn note_refusal(&self, why: Option<String>) {
        match &why {
            Some(why) => self.health.missing(why.clone()),
            None => self.health.ready(),
        }
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// One of a batch.
fn item(push: &DuePush, epoch: &str) -> Value {
    let to = To::Token(TokenTarget {
        provider: Provider::Apns,
        app: push.pass_type.clone(),
        token: push.push_token.clone(),
        environment: Environment::Production,
        registered_at_ms: Some(push.token_at),
    });
    let mut notification = SendNotification::new(to, Push::Pass {});
    // Of several pushes that a sleeping phone has not had, one is enough.
    notification.collapse_id = Some(push.pass_type.clone()).filter(|id| id.len() <= LONGEST_COLLAPSE_ID);
    let mut item = serde_json::to_value(notification).unwrap_or_default();
    item["idempotency_key"] = idempotency_key(push, epoch).into();
    item
}

/// The same push gets the same key, whoever sends it and however often. After a restored backup tags are given again, under
/// another epoch: that is another push.
fn idempotency_key(push: &DuePush, epoch: &str) -> String {
    let parts = serde_json::json!([epoch, push.device, push.pass_type, push.tag, push.push_token]).to_string();
    let hash = hex(digest::digest(&digest::SHA256, parts.as_bytes()).as_ref());
    format!("wallet-{}", &hash[..40])
}

/// Whether a push token can be real. Some apps register placeholders; Apple must not see them.
pub(crate) fn is_push_token(token: &str) -> bool {
    (32..=256).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_hexdigit())
}

/// An error without the URL, which may hold what a log must not.
fn short(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "time-out".to_owned()
    } else if error.is_connect() {
        "no connection".to_owned()
    } else {
        "the connection broke".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_cannot_be_real_are_never_sent() {
        assert!(is_push_token(&"a1".repeat(16)) && is_push_token(&"0".repeat(256)));
        for token in [
            "",
            "abc",
            "0".repeat(31).as_str(),
            "0".repeat(257).as_str(),
            "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
            &"g".repeat(64),
        ] {
            assert!(!is_push_token(token), "{token}");
        }
    }

    #[test]
    fn the_key_depends_on_everything_that_makes_it_another_push() {
        let push = DuePush {
            device: "d".into(),
            pass_type: "p".into(),
            tag: 1,
            push_token: "t".into(),
            token_at: 0,
            attempts: 0,
            wanted: true,
        };
        let key = idempotency_key(&push, "e");
        assert_eq!(key, idempotency_key(&DuePush { attempts: 5, ..push.clone() }, "e"));
        assert_ne!(key, idempotency_key(&DuePush { tag: 2, ..push.clone() }, "e"));
        assert_ne!(key, idempotency_key(&DuePush { push_token: "u".into(), ..push.clone() }, "e"));
        assert_ne!(key, idempotency_key(&push, "f"), "after a restored backup");
        assert_ne!(key, idempotency_key(&DuePush { device: "e".into(), ..push }, "e"));
    }
}
