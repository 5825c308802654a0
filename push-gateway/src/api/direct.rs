//! Addressees that are no registered devices: tokens that the sender brings, and what the providers themselves know.

use tidings_shared::http::ApiError;
use tidings_shared::push_api::{Environment, Provider, To};

use super::refusal;
use crate::devices::{canonical_token, check_token};
use crate::provider::Recipient;

/// Where a push goes that is for no registered device.
pub(super) struct Direct {
    pub(super) provider: Provider,
    pub(super) app: String,
    pub(super) environment: Environment,
    /// In the form of [`Recipient`].
    pub(super) token: String,
    pub(super) registered_at_ms: Option<i64>,
}

/// `None`: it is for registered devices.
pub(super) fn read(to: &To) -> Result<Option<Direct>, ApiError> {
    let of = |provider, app: &str, recipient: Recipient<'_>, environment| {
        Ok(Some(Direct { provider, app: app.to_owned(), environment, token: recipient.text(), registered_at_ms: None }))
    };
    match to {
        To::Token(to) => {
            check_token(to.provider, &to.token).map_err(|error| refusal::invalid(&error))?;
            Ok(Some(Direct {
                provider: to.provider,
                app: to.app.clone(),
                environment: to.environment,
                token: canonical_token(to.provider, &to.token),
                registered_at_ms: to.registered_at_ms,
            }))
        }
        To::Topic(to) => of(Provider::Fcm, &to.app, Recipient::Topic(&to.name), Environment::Production),
        To::Condition(to) => of(Provider::Fcm, &to.app, Recipient::Condition(&to.expression), Environment::Production),
        To::Installation(to) => of(Provider::Fcm, &to.app, Recipient::Installation(&to.id), Environment::Production),
        To::Channel(to) => of(Provider::Apns, &to.app, Recipient::Channel(&to.id), to.environment),
        _ => Ok(None),
    }
}
