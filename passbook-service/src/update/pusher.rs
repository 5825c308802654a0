//! Hands due pushes to the push-gateway, with retry; the gateway speaks to Apple.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use http::StatusCode;
use tidings_shared::auth::ServiceKeys;
use tidings_shared::clock::Clock;
use tidings_shared::health::Dependency;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::push_api::{Environment, Provider, Push, SendNotification, To, TokenTarget};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::metrics::{Metrics, Outcome};
use crate::package::hex;
use crate::store::{DuePush, PushResult, Store};

/// How many requests are under way at once.
const CONCURRENCY: i64 = 16;
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
            match self.store.claim_pushes(now, now + LEASE_MS, CONCURRENCY).await {
                Ok(pushes) if !pushes.is_empty() => {
                    let mut sending = JoinSet::new();
                    for push in pushes {
                        let pusher = self.clone();
                        sending.spawn(async move { pusher.handle(push).await });
                    }
                    let grace = async {
                        shutdown.wait().await;
                        tokio::time::sleep(GRACE).await;
                    };
                    tokio::select! {
                        () = async { while sending.join_next().await.is_some() {} } => {}
                        // What is cut off here is sent again, with the same key, once its lease has ended.
                        () = grace => sending.shutdown().await,
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

    async fn handle(&self, push: DuePush) {
        let result = match self.store.is_wanted(&push).await {
            Ok(true) if !is_push_token(&push.push_token) => {
                PushResult::Dropped("the push token cannot be one: 32 to 256 hexadecimal digits are".to_owned())
            }
            Ok(true) => self.send(&push).await,
            Ok(false) => PushResult::Dropped(
                "the device has seen the change, has no pass of this type any more, or is in quarantine".to_owned(),
            ),
            // The lease ends by itself.
            Err(error) => return tracing::warn!(%error, "a push waits for the database"),
        };
        let outcome = match &result {
            PushResult::Sent(_) => Outcome::Sent,
            PushResult::Dropped(_) => Outcome::Dropped,
            PushResult::Later(..) => Outcome::Retried,
        };
        self.metrics.push(outcome);
        if let Err(error) = self.store.settle_push(&push, &result, self.clock.now_ms(), self.interval_ms).await {
            tracing::warn!(%error, "a push's result cannot be stored; it is sent again with the same idempotency key");
        }
    }

    async fn send(&self, push: &DuePush) -> PushResult {
        let to = To::Token(TokenTarget {
            provider: Provider::Apns,
            app: push.pass_type.clone(),
            token: push.push_token.clone(),
            environment: Environment::Production,
            registered_at_ms: Some(push.token_at),
        });
        let body = SendNotification::new(to, Push::Pass {});
        let mut request = self
            .client
            .post(format!("{}/v1/notifications", self.gateway_url))
            .header("Idempotency-Key", idempotency_key(push))
            .json(&body);
        if let Some(key) = self.keys.current() {
            request = request.bearer_auth(key);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let why = format!("{} does not answer ({})", self.gateway_url, short(&error));
                return self.later(push, None, why);
            }
        };
        let status = answer.status();
        let retry_after =
            answer.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<i64>().ok());
        if status.is_success() {
            self.note_refusal(None);
            // Its name is how "this token is gone" finds the device.
            let named = answer.json::<tidings_shared::push_api::Notification>().await.ok();
            return PushResult::Sent(named.map(|notification| notification.id));
        }
        let text = answer.text().await.unwrap_or_default();
        let code = serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .and_then(|body| body.pointer("/error/code")?.as_str().map(str::to_owned))
            .unwrap_or_default();
        let why = format!("the push-gateway answered {status} {code}");
        match status {
            // The key was used for this very push before.
            StatusCode::CONFLICT => PushResult::Sent(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let why = format!("{why}: the first of keys.service must be one of the push-gateway's");
                self.note_refusal(Some(why.clone()));
                self.later(push, retry_after, why)
            }
            // Its configuration lacks this pass type: somebody is going to mend that.
            _ if CONFIGURATION.contains(&code.as_str()) => {
                let why =
                    format!("{why}: it needs an app with the name of the pass type, push.apps.\"{}\"", push.pass_type);
                self.note_refusal(Some(why.clone()));
                self.later(push, retry_after, why)
            }
            status
                if status.is_client_error()
                    && status != StatusCode::TOO_MANY_REQUESTS
                    && push.attempts + 1 >= WRONG_ATTEMPTS =>
            {
                tracing::error!(pass_type = push.pass_type, "{why}; the push is given up");
                PushResult::Dropped(why)
            }
            _ => {
                if status.is_server_error() {
                    self.note_refusal(Some(why.clone()));
                }
                self.later(push, retry_after, why)
            }
        }
    }

    fn later(&self, push: &DuePush, retry_after_s: Option<i64>, why: String) -> PushResult {
        if push.attempts == 0 {
            tracing::warn!(pass_type = push.pass_type, "{why}; the push is tried again");
        }
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

/// The same push gets the same key, whoever sends it and however often.
fn idempotency_key(push: &DuePush) -> String {
    let parts = serde_json::json!([push.device, push.pass_type, push.tag, push.push_token]).to_string();
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
        };
        let key = idempotency_key(&push);
        assert_eq!(key, idempotency_key(&DuePush { attempts: 5, ..push.clone() }));
        assert_ne!(key, idempotency_key(&DuePush { tag: 2, ..push.clone() }));
        assert_ne!(key, idempotency_key(&DuePush { push_token: "u".into(), ..push.clone() }));
        assert_ne!(key, idempotency_key(&DuePush { device: "e".into(), ..push }));
    }
}
