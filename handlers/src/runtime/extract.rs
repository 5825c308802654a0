//! Extractors: what an argument of a handler function can be.

use std::convert::Infallible;
use std::future::Future;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tidings_shared::message_id::MessageId;

use super::error::HandlerError;
use super::message::{Captures, Properties, Sender};
use super::publisher::Publisher;
use super::request::Request;
use super::transaction::Slot;

/// One call of a handler: what extractors take their values from.
pub struct Context {
    request: Request,
    publisher: Publisher,
    transaction: Slot,
}

impl Context {
    pub(super) fn new(request: Request) -> Self {
        Self { request, publisher: Publisher::default(), transaction: Slot::default() }
    }

    /// The request.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Where the handler's publishes wait.
    #[must_use]
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    pub(super) fn transaction(&self) -> &Slot {
        &self.transaction
    }
}

/// A type that can be an argument of a handler: made from the message and the router's state.
///
/// An error ends the call. Take [`HandlerError::permanent`] for a message that can never be right.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler",
    note = "extractors are Json<T>, Bytes, Text, Sender, State<T>, Publisher, Transaction, Topic, Captures, MessageId, Properties, Attempt, Request and Option<Sender>; implement FromMessage for one of your own"
)]
pub trait FromMessage<S>: Sized {
    /// Makes the value.
    ///
    /// # Errors
    /// Says whether it helps to try the message again.
    fn from_message(context: &Context, state: &S) -> impl Future<Output = Result<Self, HandlerError>> + Send;
}

/// A part of the router's state that a handler can ask for by its type, as [`State`].
pub trait FromRef<S> {
    /// Takes the part out of the whole.
    fn from_ref(state: &S) -> Self;
}

impl<S: Clone> FromRef<S> for S {
    fn from_ref(state: &S) -> Self {
        state.clone()
    }
}

/// The payload as JSON of a type. Anything else is a permanent error: no retry, a dead letter that says what was wrong.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

/// The payload as UTF-8 text. Anything else is a permanent error.
#[derive(Clone, Debug)]
pub struct Text(pub String);

/// The state of the router, or a part of it (see [`FromRef`]).
#[derive(Clone, Copy, Debug)]
pub struct State<S>(pub S);

/// The topic that the message was published to.
#[derive(Clone, Debug)]
pub struct Topic(pub String);

/// Which attempt this is, from 1.
#[derive(Clone, Copy, Debug)]
pub struct Attempt(pub u32);

impl<S: Sync, T: DeserializeOwned> FromMessage<S> for Json<T> {
    async fn from_message(context: &Context, _: &S) -> Result<Self, HandlerError> {
        let message = context.request.message();
        serde_json::from_slice(&message.payload).map(Json).map_err(|error| {
            HandlerError::permanent(format!(
                "the payload on {} is not the JSON that is expected there: {error}",
                message.topic
            ))
        })
    }
}

impl<S: Sync> FromMessage<S> for Text {
    async fn from_message(context: &Context, _: &S) -> Result<Self, HandlerError> {
        let message = context.request.message();
        String::from_utf8(message.payload.to_vec()).map(Text).map_err(|error| {
            HandlerError::permanent(format!("the payload on {} is not UTF-8 text: {error}", message.topic))
        })
    }
}

impl<S: Sync> FromMessage<S> for Sender {
    async fn from_message(context: &Context, _: &S) -> Result<Self, HandlerError> {
        context.request.message().sender().ok_or_else(|| {
            HandlerError::permanent(
                "the message has no sender: no device published it, or the broker did not stamp the user property `user`",
            )
        })
    }
}

impl<S: Sync> FromMessage<S> for Option<Sender> {
    async fn from_message(context: &Context, _: &S) -> Result<Self, HandlerError> {
        Ok(context.request.message().sender())
    }
}

impl<S: Sync, T: FromRef<S>> FromMessage<S> for State<T> {
    async fn from_message(_: &Context, state: &S) -> Result<Self, HandlerError> {
        Ok(State(T::from_ref(state)))
    }
}

macro_rules! cannot_fail {
    ($($type:ty, $context:ident => $value:expr;)*) => {$(
        impl<S: Sync> FromMessage<S> for $type {
            async fn from_message($context: &Context, _: &S) -> Result<Self, HandlerError> {
                Ok::<_, Infallible>($value).map_err(|never| match never {})
            }
        }
    )*};
}

cannot_fail! {
    Bytes, context => context.request.message().payload.clone();
    Topic, context => Topic(context.request.topic().to_owned());
    Captures, context => context.request.captures().clone();
    MessageId, context => context.request.id().clone();
    Properties, context => context.request.message().properties.clone();
    Attempt, context => Attempt(context.request.attempt());
    Publisher, context => context.publisher.clone();
    Request, context => context.request.clone();
}
