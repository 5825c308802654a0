//! Refusals that a device sees, on `<user>_contact_error`.

use serde::Serialize;
use tidings_shared::identity::UserId;
use tidings_shared::topic::names;

use super::party::{self, NamesNobody};
use crate::runtime::{HandlerError, Outgoing, Request};

/// Why something about contacts is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    PayloadInvalid(String),
    Oneself,
    RequestMissing,
    Limit(&'static str),
}

#[derive(Serialize)]
struct Body<'a> {
    error: Detail<'a>,
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a UserId>,
    message_id: &'a str,
}

#[derive(Serialize)]
struct Detail<'a> {
    code: &'a str,
    message: &'a str,
}

impl Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::PayloadInvalid(_) => "payload_invalid",
            Self::Oneself => "contact_self",
            Self::RequestMissing => "contact_request_missing",
            Self::Limit(_) => "contact_limit",
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::PayloadInvalid(why) => why,
            Self::Oneself => "nobody can be their own contact",
            Self::RequestMissing => "this user has not asked to become your contact",
            Self::Limit(what) => what,
        }
    }

    /// The message that tells `sender`.
    pub(super) fn tell(
        &self,
        sender: &UserId,
        other: Option<&UserId>,
        request: &Request,
    ) -> Result<Outgoing, HandlerError> {
        let error = Detail { code: self.code(), message: self.message() };
        let body = Body { error, topic: request.topic(), user: other, message_id: request.id().as_str() };
        let mut answer = Outgoing::to_user(sender, names::CONTACT_ERROR, &body)?;
        answer.correlation_data = request.message().properties.correlation_data.clone();
        Ok(answer)
    }
}

/// The other user that the request's payload names. When it names nobody, the sender is told and the message is kept
/// as a dead letter: the app sends something that it should not.
pub(super) fn other_user(request: &Request, sender: &UserId) -> Result<UserId, HandlerError> {
    party::named_in(&request.message().payload, sender).map_err(|why: NamesNobody| {
        let refusal = Refusal::PayloadInvalid(why.to_string());
        match refusal.tell(sender, None, request) {
            Ok(answer) => HandlerError::permanent(why).tell(answer),
            Err(error) => error,
        }
    })
}
