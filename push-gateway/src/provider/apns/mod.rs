//! Apple Push Notification service: requests, answers, broadcast channels, and the HTTP/2 connections to it.
//! One [`Apns`] is one app's credentials; it speaks to Apple's production and sandbox hosts, or to whatever
//! addresses the configuration names.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request};
use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Environment, Provider, Push};

use super::{Answer, Message, Outcome, Recipient, Refusal, WakeStyle};

mod answer;
pub mod channels;
mod connection;
mod endpoint;
mod fault;
mod goaway;
mod payload;
mod push_type;
mod request;
mod rules;
mod signer;
mod transport;

/// The payload that Apple would get, its size, and how large it may be.
pub(crate) fn preview(
    push: &tidings_shared::push_api::Push,
    wake: &super::WakeStyle,
    now_s: i64,
) -> (serde_json::Value, usize, usize) {
    let payload = payload::payload(push, wake, now_s);
    (super::preview::value(&payload), payload.len(), push_type::max_payload(push_type::of(push, wake)))
}

#[cfg(test)]
mod tests;

pub use endpoint::Endpoint;
pub use signer::{Signer, SignerError};
pub use transport::{Limits, Transport};

use fault::TransportError;
use payload::LastPayload;
use push_type::Topics;
use transport::Response;

/// How Apple knows that it is us.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// A provider token, signed with a `.p8` key. Apps of one key share one signer: Apple refuses tokens
    /// that change too often, counted per key.
    Token(Arc<Signer>),
    /// The client certificate of the TLS connection.
    Certificate,
}

/// One app at Apple.
#[derive(Debug)]
pub struct Apns {
    bundle: String,
    topics: Topics,
    authentication: Authentication,
    production: Addresses,
    sandbox: Addresses,
    wake: WakeStyle,
    clock: Clock,
    last_payload: LastPayload,
}

/// Where one environment is reached.
#[derive(Debug, Default)]
struct Addresses {
    push: Option<Transport>,
    /// The management of broadcast channels, which has a host of its own.
    channels: Option<Transport>,
}

impl Apns {
    /// `topic` is the bundle id, or the pass type identifier. An environment without a transport is never tried.
    #[must_use]
    pub fn new(
        topic: HeaderValue,
        authentication: Authentication,
        production: Option<Transport>,
        sandbox: Option<Transport>,
        wake: WakeStyle,
    ) -> Self {
        Self {
            bundle: topic.to_str().unwrap_or_default().to_owned(),
            topics: Topics::new(&topic),
            authentication,
            production: Addresses { push: production, channels: None },
            sandbox: Addresses { push: sandbox, channels: None },
            wake,
            clock: Clock::system(),
            last_payload: LastPayload::default(),
        }
    }

    /// The same app, with the addresses of the broadcast channels' management.
    #[must_use]
    pub fn with_channels(mut self, production: Option<Transport>, sandbox: Option<Transport>) -> Self {
        self.production.channels = production;
        self.sandbox.channels = sandbox;
        self
    }

    /// The same app with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Whether there is an address for this environment.
    #[must_use]
    pub fn serves(&self, environment: Environment) -> bool {
        self.transport(environment).is_some()
    }

    /// Refuses what Apple would refuse for its form, before it is stored.
    ///
    /// # Errors
    /// [`Refusal`] says what is wrong and what is allowed.
    pub fn check(&self, push: &Push, collapse_id: Option<&str>) -> Result<(), Refusal> {
        super::payload::check(Provider::Apns, push, collapse_id)?;
        rules::check(push, &self.authentication)?;
        let payload = payload::payload(push, &self.wake, self.clock.now_s());
        // A broadcast may have more; which it is, is known when the addressee is.
        let push_type = push_type::of(push, &self.wake);
        let allowed = match push_type {
            tidings_shared::push_api::ApnsPushType::LiveActivity => push_type::MAX_LONG_PAYLOAD,
            other => push_type::max_payload(other),
        };
        super::payload::check_size(Provider::Apns, payload.len(), allowed)
    }

    /// Refuses an addressee that Apple would refuse, or that this push cannot go to.
    ///
    /// # Errors
    /// [`Refusal`] says what is wrong and what is allowed.
    pub fn check_recipient(&self, recipient: &str, push: &Push) -> Result<(), Refusal> {
        let recipient = Recipient::read(Provider::Apns, recipient);
        rules::recipient(recipient, push)?;
        let payload = payload::payload(push, &self.wake, self.clock.now_s());
        super::payload::check_size(Provider::Apns, payload.len(), self.max_payload(recipient, push))
    }

    fn max_payload(&self, recipient: Recipient<'_>, push: &Push) -> usize {
        match recipient {
            Recipient::Channel(_) => push_type::MAX_LONG_PAYLOAD,
            _ => push_type::max_payload(push_type::of(push, &self.wake)),
        }
    }

    /// Sends one push and says what came of it. Signs anew once when Apple says that the token has expired.
    /// Dropping the future resets the stream; Apple may have taken the push all the same.
    pub async fn send(&self, message: &Message) -> Answer {
        let Some(transport) = self.transport(message.environment) else {
            return Answer::without_status(Outcome::OtherEnvironment, "environment_not_configured");
        };
        let push_type = push_type::of(&message.push, &self.wake);
        let body = self.last_payload.of(&message.push, &self.wake, at_s(message));
        let allowed = self.max_payload(request::recipient(message), &message.push);
        if let Err(refusal) = super::payload::check_size(Provider::Apns, body.len(), allowed) {
            tracing::warn!(target = %message.id, %refusal, "a push that Apple would refuse");
            return Answer::without_status(Outcome::Dead, "PayloadTooLarge");
        }
        let request = |authorization| {
            let endpoint = transport.endpoint();
            request::push(endpoint, &self.bundle, &self.topics, message, push_type, authorization)
        };
        let answer = match self.exchange(transport, &request, &body).await {
            Ok((_, answer)) => answer,
            Err(failure) => failure.into_answer(),
        };
        // A channel is of one environment, and known to whoever made it.
        match (answer.outcome, request::recipient(message)) {
            (Outcome::OtherEnvironment, Recipient::Channel(_)) => Answer { outcome: Outcome::Dead, ..answer },
            _ => answer,
        }
    }

    /// Asks whether the credentials are accepted: a push to a token that nobody has is refused as `BadDeviceToken` when
    /// they are.
    pub async fn probe(&self, environment: Environment) -> Answer {
        let message = Message {
            id: uuid::Uuid::new_v4().to_string(),
            token: "0".repeat(64),
            environment,
            registered_at_ms: None,
            push: Arc::new(Push::Wake {}),
            collapse_id: None,
            expires_at_ms: 0,
        };
        self.send(&message).await
    }

    /// One request with its answer, and a second one when Apple calls the provider token expired.
    async fn exchange(
        &self,
        transport: &Transport,
        request: &(dyn Fn(Option<HeaderValue>) -> Result<Request<()>, http::Error> + Sync),
        body: &Bytes,
    ) -> Result<(Response, Answer), Failure> {
        let (response, first) = self.attempt(transport, request, body).await?;
        if first.outcome != Outcome::SignAnew {
            return Ok((response, first));
        }
        let (response, second) = self.attempt(transport, request, body).await?;
        // A token that is fresh and still refused: the clock or the key is wrong.
        let outcome = if second.outcome == Outcome::SignAnew { Outcome::Pause } else { second.outcome };
        Ok((response, Answer { outcome, ..second }))
    }

    async fn attempt(
        &self,
        transport: &Transport,
        request: &(dyn Fn(Option<HeaderValue>) -> Result<Request<()>, http::Error> + Sync),
        body: &Bytes,
    ) -> Result<(Response, Answer), Failure> {
        let signed = match &self.authentication {
            Authentication::Certificate => None,
            Authentication::Token(signer) => Some((signer, signer.token().map_err(Failure::Signing)?)),
        };
        let make = || request(signed.as_ref().map(|(_, token)| token.clone()));
        let response = transport.send(make, body).await.map_err(Failure::Transport)?;
        let mut answer = answer::read(&response, &self.clock);
        if answer.outcome == Outcome::Accepted {
            response.connection.proven();
        }
        if answer::reconnects(answer.reason.as_deref()) {
            response.connection.retire();
        }
        if answer.outcome == Outcome::SignAnew {
            let again = signed.is_some_and(|(signer, token)| signer.refused(&token));
            answer.outcome = if again { Outcome::SignAnew } else { Outcome::Pause };
        }
        Ok((response, answer))
    }

    fn transport(&self, environment: Environment) -> Option<&Transport> {
        self.addresses(environment).push.as_ref()
    }

    fn addresses(&self, environment: Environment) -> &Addresses {
        match environment {
            Environment::Production => &self.production,
            Environment::Sandbox => &self.sandbox,
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    Signing(SignerError),
    Transport(TransportError),
}

impl Failure {
    fn into_answer(self) -> Answer {
        match self {
            Self::Signing(error) => {
                tracing::error!(%error, "the APNs provider token could not be signed");
                Answer::without_status(Outcome::Pause, "signing_failed")
            }
            Self::Transport(error) => answer::unanswered(&error),
        }
    }
}

/// When the push was made, in seconds since 1970: its id says so (UUIDv7), and it is the same on every attempt.
fn at_s(message: &Message) -> i64 {
    if !matches!(*message.push, Push::LiveActivity(_)) {
        return 0;
    }
    let made = uuid::Uuid::parse_str(&message.id).ok().and_then(|id| id.get_timestamp());
    made.and_then(|made| i64::try_from(made.to_unix().0).ok()).unwrap_or(0)
}
