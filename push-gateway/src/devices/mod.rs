//! The registered devices: which push token reaches which device of which user.

use std::collections::BTreeSet;

use tidings_shared::identity::UserId;
use tidings_shared::push_api::{Device, Environment, Provider};

use crate::provider::Recipient;
use crate::provider::webpush::{Subscription, SubscriptionError};

pub(crate) mod describe;
pub(crate) mod pruning;
pub(crate) mod store;

#[cfg(test)]
mod tests;

/// The longest name of a device, in bytes.
const MAX_DEVICE: usize = 128;
/// The longest client id that is kept, in bytes.
const MAX_CLIENT: usize = 1024;

/// What a device says of itself, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registration {
    pub(crate) user: UserId,
    pub(crate) device: String,
    pub(crate) client: Option<String>,
    pub(crate) provider: Provider,
    pub(crate) app: String,
    pub(crate) environment: Environment,
    pub(crate) token: String,
    pub(crate) described: Description,
}

/// What a device says of itself besides its token. In a registration `None` leaves what is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) locale: Option<String>,
    pub(crate) time_zone: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) tags: Option<BTreeSet<String>>,
}

/// A registration as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) id: String,
    /// Counts the changes of the token.
    pub(crate) generation: i64,
    pub(crate) registered_at: i64,
    pub(crate) wake_at: Option<i64>,
    /// When the device last came back to the broker.
    pub(crate) returned_at: Option<i64>,
    /// Since when its token is thought to be gone.
    pub(crate) quarantined_at: Option<i64>,
    pub(crate) registration: Registration,
}

impl From<Registered> for Device {
    fn from(row: Registered) -> Self {
        let Registration { user, device, client, provider, app, environment, token: _, described } = row.registration;
        Self {
            id: row.id,
            device,
            user,
            provider,
            app,
            environment,
            client,
            locale: described.locale,
            time_zone: described.time_zone,
            version: described.version,
            tags: described.tags.into_iter().flatten().collect(),
            registered_at_ms: row.registered_at,
            seen_at_ms: row.returned_at.unwrap_or(row.registered_at).max(row.registered_at),
            generation: row.generation,
            quarantined_at_ms: row.quarantined_at,
            wake_outstanding: row.wake_at.is_some(),
        }
    }
}

/// What is wrong with a name or a token, for the one who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("a device's name has 1 to {MAX_DEVICE} bytes without control characters; this one has {0} bytes")]
    Device(usize),
    #[error(
        "`client` is the MQTT client id of the device, 1 to {MAX_CLIENT} bytes without control characters; this one has {0} bytes"
    )]
    Client(usize),
    #[error("an APNs token is 32 to 256 hexadecimal digits; this one has {0} characters")]
    ApnsToken(usize),
    #[error(
        "an FCM registration token is 1 to 4096 of the characters a-z A-Z 0-9 : _ - ., or `fid:` and an installation id; this one has {0} bytes"
    )]
    FcmToken(usize),
    #[error("{0}")]
    Subscription(#[from] SubscriptionError),
}

pub(crate) fn check_device(name: &str) -> Result<(), Invalid> {
    if fits(name, MAX_DEVICE) { Ok(()) } else { Err(Invalid::Device(name.len())) }
}

pub(crate) fn check_client(client: &str) -> Result<(), Invalid> {
    if fits(client, MAX_CLIENT) { Ok(()) } else { Err(Invalid::Client(client.len())) }
}

/// A token that cannot be real is never sent to a provider.
pub(crate) fn check_token(provider: Provider, token: &str) -> Result<(), Invalid> {
    match provider {
        Provider::Apns => {
            let real = (32..=256).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_hexdigit());
            if real { Ok(()) } else { Err(Invalid::ApnsToken(token.chars().count())) }
        }
        Provider::Fcm => {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b":_-.".contains(&byte);
            // What else has a word and a colon is an addressee of another kind, and none that a device may be.
            let kind = matches!(Recipient::read(provider, token), Recipient::Token(_) | Recipient::Installation(_));
            let real = kind && (1..=4096).contains(&token.len()) && token.bytes().all(legal);
            if real { Ok(()) } else { Err(Invalid::FcmToken(token.len())) }
        }
        Provider::WebPush => Ok(Subscription::parse(token).map(|_| ())?),
    }
}

/// The form in which a checked token is stored: the same token is the same text.
pub(crate) fn canonical_token(provider: Provider, token: &str) -> String {
    match provider {
        Provider::Apns => token.to_ascii_lowercase(),
        Provider::Fcm => token.to_owned(),
        Provider::WebPush => {
            Subscription::parse(token).map_or_else(|_| token.to_owned(), |subscription| subscription.canonical())
        }
    }
}

fn fits(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && !text.chars().any(char::is_control)
}
