//! Web Push: browsers and UnifiedPush phones. Whoever registers brings the address of a push service of its own choice
//! (RFC 8030), a key to encrypt for (RFC 8291), and trusts our VAPID key (RFC 8292).
//!
//! The address comes from outside, so it is judged before anything is sent there: see [`Policy`]. And the service behind
//! it may be anybody's: its answers concern this one subscription, never the app.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue};
use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Provider, Push};
use tokio::sync::Semaphore;

use super::{Answer, Message, Outcome, Refusal, Retry, WakeStyle};

mod answer;
mod encryption;
mod http_client;
mod message;
mod policy;
mod subscription;
mod vapid;

/// What the browser would get, its size before it is encrypted, and how large it may be.
pub(crate) fn preview(
    push: &tidings_shared::push_api::Push,
    wake: &super::WakeStyle,
) -> (serde_json::Value, usize, usize) {
    let payload = message::payload(push, wake);
    (super::preview::value(payload.as_ref()), payload.len(), MAX_PLAINTEXT)
}

#[cfg(test)]
mod tests;

pub(crate) use answer::label;
pub use encryption::{EncryptionError, MAX_PLAINTEXT};
pub use http_client::client;
pub use policy::{Endpoint, EndpointRefusal, Policy, PolicyError};
pub use subscription::{Subscription, SubscriptionError};
pub use vapid::{Vapid, VapidError};

const TTL: HeaderName = HeaderName::from_static("ttl");
const URGENCY: HeaderName = HeaderName::from_static("urgency");
const TOPIC: HeaderName = HeaderName::from_static("topic");

/// More of an answer than this is not read.
const MAX_ANSWER: usize = 4 * 1024;

/// One app's identity towards push services.
#[derive(Debug)]
pub struct WebPush {
    vapid: Vapid,
    policy: Arc<Policy>,
    http: reqwest::Client,
    wake: WakeStyle,
    clock: Clock,
    /// Requests at once to one origin: a push service that stalls must not hold up the others.
    per_origin: usize,
    origins: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl WebPush {
    /// `http` is a client made by [`client`], with the same policy.
    #[must_use]
    pub fn new(
        vapid: Vapid,
        policy: Arc<Policy>,
        http: reqwest::Client,
        per_origin: usize,
        wake: WakeStyle,
        clock: Clock,
    ) -> Self {
        Self { vapid, policy, http, wake, clock, per_origin, origins: Mutex::default() }
    }

    /// The key that browsers subscribe with (`applicationServerKey`), in Base64 for URLs.
    #[must_use]
    pub fn public_key(&self) -> &str {
        self.vapid.public_key()
    }

    /// Refuses what no push service takes, before it is stored.
    ///
    /// # Errors
    /// [`Refusal`] says what is wrong and what is allowed.
    pub fn check(&self, push: &Push, collapse_id: Option<&str>) -> Result<(), Refusal> {
        super::payload::check(Provider::WebPush, push, collapse_id)?;
        super::payload::check_size(Provider::WebPush, message::payload(push, &self.wake).len(), MAX_PLAINTEXT)
    }

    /// Refuses a subscription that is none, or whose address is not allowed. The name is looked up only when a push is
    /// sent: what it stands for may change.
    ///
    /// # Errors
    /// [`Refusal`] says what is wrong and what is allowed.
    pub fn check_recipient(&self, recipient: &str) -> Result<(), Refusal> {
        let subscription =
            Subscription::parse(recipient).map_err(|error| Refusal::field("token", "no subscription", error.rule()))?;
        match self.policy.endpoint(&subscription.endpoint) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(Refusal::Endpoint(refusal)),
        }
    }

    /// Sends one push and says what came of it. Dropping the future cancels the request; the push service may have
    /// taken the push all the same.
    pub async fn send(&self, message: &Message) -> Answer {
        let answer = self.attempt(message).await;
        match answer.outcome {
            // Anybody may name a push service that fails: it must not stop the pushes to all others.
            Outcome::Retry(retry) => Answer { outcome: Outcome::Retry(Retry { isolated: true, ..retry }), ..answer },
            _ => answer,
        }
    }

    async fn attempt(&self, message: &Message) -> Answer {
        let request = match self.request(message) {
            Ok(request) => request,
            Err(answer) => return answer,
        };
        let places = self.places(&request.origin);
        // A service that is slow gets no more than its share; what is above it comes again.
        let Ok(_place) = places.try_acquire() else {
            let wait = Retry { after: Some(Duration::from_secs(1)), unreached: true, ..Retry::default() };
            return Answer::without_status(Outcome::Retry(wait), "origin_busy");
        };
        let sent = self.http.post(request.url).headers(request.headers).body(request.body).send().await;
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return answer::unanswered(error),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while !status.is_success()
            && body.len() < MAX_ANSWER
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - body.len())]);
        }
        let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
        answer::read(status, super::retry_after::retry_after(&headers, &self.clock), location, &body)
    }

    fn request(&self, message: &Message) -> Result<Prepared, Answer> {
        let dead = |reason: &'static str| Answer::without_status(Outcome::Dead, reason);
        let subscription = Subscription::parse(&message.token).map_err(|error| {
            tracing::warn!(target = %message.id, %error, "a Web Push subscription cannot be read");
            dead("subscription_invalid")
        })?;
        let endpoint = self.policy.endpoint(&subscription.endpoint).map_err(|refusal| {
            tracing::warn!(target = %message.id, %refusal, "a push service's address is refused");
            dead("endpoint_refused")
        })?;
        let now_ms = self.clock.now_ms();
        let payload = message::payload(&message.push, &self.wake);
        let body = encryption::encrypt(&payload, &subscription.p256dh, &subscription.auth).map_err(|error| {
            tracing::warn!(target = %message.id, %error, "a push cannot be encrypted for its subscription");
            dead("encryption_failed")
        })?;
        let authorization = self.vapid.authorization(&endpoint.origin, now_ms / 1000).map_err(|error| {
            tracing::error!(%error, "the VAPID token could not be signed");
            Answer::without_status(Outcome::Pause, "signing_failed")
        })?;
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(TTL, HeaderValue::from(message::ttl_s(message.expires_at_ms, now_ms)));
        headers.insert(URGENCY, HeaderValue::from_static(message::urgency(&message.push)));
        if let Some(id) = &message.collapse_id
            && let Ok(topic) = HeaderValue::try_from(message::topic(id))
        {
            headers.insert(TOPIC, topic);
        }
        Ok(Prepared { url: endpoint.url, origin: endpoint.origin, headers, body })
    }

    fn places(&self, origin: &str) -> Arc<Semaphore> {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = origins.get(origin).and_then(Weak::upgrade) {
            return places;
        }
        origins.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.per_origin));
        origins.insert(origin.to_owned(), Arc::downgrade(&places));
        places
    }
}

struct Prepared {
    url: url::Url,
    origin: String,
    headers: HeaderMap,
    body: Vec<u8>,
}
