//! Apple Push Notification service: requests, answers, and the HTTP/2 connections to it.
//! One [`Apns`] is one app's credentials; it speaks to Apple's production and sandbox hosts, or to whatever
//! addresses the configuration names.

use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Request};
use tidings_shared::push_api::{Environment, Provider, Push};

use super::{Answer, Message, Outcome, Refusal, WakeStyle};

mod answer;
mod connection;
mod endpoint;
mod fault;
mod goaway;
mod request;
mod signer;
mod transport;

#[cfg(test)]
mod tests;

pub use endpoint::Endpoint;
pub use signer::{Signer, SignerError};
pub use transport::{Limits, Transport};

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
    topic: HeaderValue,
    authentication: Authentication,
    production: Option<Transport>,
    sandbox: Option<Transport>,
    wake: WakeStyle,
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
        Self { topic, authentication, production, sandbox, wake }
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
        super::payload::check_size(Provider::Apns, request::payload(push, &self.wake).len())
    }

    /// Sends one push and says what came of it. Signs anew once when Apple says that the token has expired.
    /// Dropping the future resets the stream; Apple may have taken the push all the same.
    pub async fn send(&self, message: &Message) -> Answer {
        let Some(transport) = self.transport(message.environment) else {
            return Answer::without_status(Outcome::OtherEnvironment, "environment_not_configured");
        };
        let body = Bytes::from(request::payload(&message.push, &self.wake));
        if let Err(refusal) = super::payload::check_size(Provider::Apns, body.len()) {
            tracing::warn!(target = %message.id, %refusal, "a push that Apple would refuse");
            return Answer::without_status(Outcome::Dead, "PayloadTooLarge");
        }
        let first = self.attempt(transport, message, &body).await;
        match first.outcome {
            Outcome::SignAnew => {
                let second = self.attempt(transport, message, &body).await;
                // A token that is fresh and still refused: the clock or the key is wrong.
                if second.outcome == Outcome::SignAnew { Answer { outcome: Outcome::Pause, ..second } } else { second }
            }
            _ => first,
        }
    }

    async fn attempt(&self, transport: &Transport, message: &Message, body: &Bytes) -> Answer {
        let signed = match &self.authentication {
            Authentication::Certificate => None,
            Authentication::Token(signer) => match signer.token() {
                Ok(token) => Some((signer, token)),
                Err(error) => {
                    tracing::error!(%error, "the APNs provider token could not be signed");
                    return Answer::without_status(Outcome::Pause, "signing_failed");
                }
            },
        };
        let authorization = signed.as_ref().map(|(_, token)| token.clone());
        let request = match self.request(transport, message, authorization) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(target = %message.id, %error, "a push that is no valid request");
                return Answer::without_status(Outcome::Dead, "invalid_request");
            }
        };
        let answer = match transport.send(request, body.clone()).await {
            Ok(response) => {
                let answer = answer::read(&response);
                if answer.outcome == Outcome::Accepted {
                    response.connection.proven();
                }
                if answer::reconnects(answer.reason.as_deref()) {
                    response.connection.retire();
                }
                answer
            }
            Err(error) => answer::unanswered(&error),
        };
        if answer.outcome == Outcome::SignAnew {
            return match signed {
                Some((signer, token)) if signer.refused(&token) => answer,
                _ => Answer { outcome: Outcome::Pause, ..answer },
            };
        }
        answer
    }

    fn request(
        &self,
        transport: &Transport,
        message: &Message,
        authorization: Option<HeaderValue>,
    ) -> Result<Request<()>, http::Error> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(transport.endpoint().device_uri(&message.token))
            .version(http::Version::HTTP_2)
            .body(())?;
        let headers: &mut HeaderMap = request.headers_mut();
        if let Some(token) = authorization {
            headers.insert(AUTHORIZATION, token);
        }
        request::headers(headers, message, &self.topic, &self.wake)?;
        Ok(request)
    }

    fn transport(&self, environment: Environment) -> Option<&Transport> {
        match environment {
            Environment::Production => self.production.as_ref(),
            Environment::Sandbox => self.sandbox.as_ref(),
        }
    }
}
