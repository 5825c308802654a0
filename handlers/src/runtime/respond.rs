//! What a handler function may return.

use serde::Serialize;
use tidings_shared::topic;

use super::error::HandlerError;
use super::publisher::Outgoing;
use super::request::Request;

/// An answer to whoever sent the message.
///
/// It goes to `<user>_<name>`. When the message names a response topic (MQTT 5) that belongs to the sender, it goes
/// there instead; a response topic of anybody else is ignored, so that nobody can make a handler write to a stranger.
/// Correlation data is given back.
#[derive(Debug)]
pub struct Reply {
    name: String,
    payload: Result<Payload, serde_json::Error>,
}

#[derive(Debug)]
struct Payload {
    bytes: Vec<u8>,
    content_type: Option<&'static str>,
}

impl Reply {
    /// JSON to `<user>_<name>`.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(name: impl Into<String>, value: &T) -> Self {
        let payload = serde_json::to_vec(value).map(|bytes| Payload { bytes, content_type: Some("application/json") });
        Self { name: name.into(), payload }
    }

    /// Bytes to `<user>_<name>`.
    #[must_use]
    pub fn bytes(name: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), payload: Ok(Payload { bytes: payload.into(), content_type: None }) }
    }
}

/// A type that a handler function can return.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "return (), Reply, Option<Reply>, Vec<Reply>, Outgoing, or a Result of these with an error that converts into HandlerError"
)]
pub trait IntoPublishes {
    /// What is published for the answer.
    ///
    /// # Errors
    /// When the handler failed, or what it answered cannot be published.
    fn into_publishes(self, request: &Request) -> Result<Vec<Outgoing>, HandlerError>;
}

impl IntoPublishes for () {
    fn into_publishes(self, _: &Request) -> Result<Vec<Outgoing>, HandlerError> {
        Ok(Vec::new())
    }
}

impl IntoPublishes for Reply {
    fn into_publishes(self, request: &Request) -> Result<Vec<Outgoing>, HandlerError> {
        let Some(sender) = request.message().sender() else {
            return Err(HandlerError::permanent("there is nobody to reply to: no device sent the message"));
        };
        let properties = &request.message().properties;
        let wanted = properties.response_topic.clone();
        let own = wanted.filter(|topic| topic::owner_of(topic).as_ref() == Some(&sender.user));
        let payload = self.payload?;
        let mut reply =
            Outgoing::new(own.unwrap_or_else(|| topic::user_topic(&sender.user, &self.name)), payload.bytes)?;
        reply.content_type = payload.content_type.map(str::to_owned);
        reply.correlation_data = properties.correlation_data.clone();
        Ok(vec![reply])
    }
}

impl IntoPublishes for Outgoing {
    fn into_publishes(self, _: &Request) -> Result<Vec<Outgoing>, HandlerError> {
        Ok(vec![self])
    }
}

impl<T: IntoPublishes> IntoPublishes for Option<T> {
    fn into_publishes(self, request: &Request) -> Result<Vec<Outgoing>, HandlerError> {
        self.map_or_else(|| Ok(Vec::new()), |answer| answer.into_publishes(request))
    }
}

impl<T: IntoPublishes> IntoPublishes for Vec<T> {
    fn into_publishes(self, request: &Request) -> Result<Vec<Outgoing>, HandlerError> {
        let mut publishes = Vec::new();
        for answer in self {
            publishes.extend(answer.into_publishes(request)?);
        }
        Ok(publishes)
    }
}

impl<T: IntoPublishes, E: Into<HandlerError>> IntoPublishes for Result<T, E> {
    fn into_publishes(self, request: &Request) -> Result<Vec<Outgoing>, HandlerError> {
        self.map_err(Into::into)?.into_publishes(request)
    }
}
