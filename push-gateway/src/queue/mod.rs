//! The durable queue: what is to be sent, and what came of it.
//!
//! A target goes `queued → sending → accepted | retrying | dead | expired | unknown`. Claiming gives a lease; the
//! push of a worker that dies comes back when its lease ends. Each app at each provider is a lane of its own: a
//! stalled or paused one holds up nobody else.

use std::sync::Arc;

use tidings_shared::push_api::{Environment, Provider, Push};

use crate::devices::Registered;

pub(crate) mod janitor;
pub(crate) mod lane;
mod recorder;
mod settle;
pub(crate) mod store;
#[cfg(test)]
mod tests;

pub(crate) use recorder::Recorder;
pub(crate) use settle::RetryPolicy;

/// The name of a lane: `PROVIDER:APP`.
pub(crate) fn lane_name(provider: Provider, app: &str) -> String {
    format!("{provider}:{app}")
}

/// A notification that is about to be stored.
#[derive(Clone, Debug)]
pub(crate) struct NewNotification {
    pub(crate) id: String,
    pub(crate) push: Arc<Push>,
    pub(crate) collapse_id: Option<String>,
    pub(crate) created_at: i64,
    /// 0: one attempt only.
    pub(crate) expires_at: i64,
}

/// One addressee of a new notification.
#[derive(Clone, Debug)]
pub(crate) struct NewTarget {
    pub(crate) id: String,
    pub(crate) provider: Provider,
    pub(crate) app: String,
    pub(crate) environment: Environment,
    pub(crate) to: Address,
}

/// Where a target's token comes from.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// A registered device: its token is read when the push is claimed.
    Device { id: String, name: String },
    /// A token that the sender brought.
    Token { token: String, registered_at: Option<i64> },
}

impl NewTarget {
    /// A target for a registered device.
    pub(crate) fn of_device(id: String, device: &Registered) -> Self {
        Self {
            id,
            provider: device.registration.provider,
            app: device.registration.app.clone(),
            environment: device.registration.environment,
            to: Address::Device { id: device.id.clone(), name: device.registration.device.clone() },
        }
    }
}

/// A claimed target: everything that is needed to send it, and to record what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) id: String,
    /// Names the claim: only its holder may record a result.
    pub(crate) lease: String,
    pub(crate) push: Arc<Push>,
    pub(crate) collapse_id: Option<String>,
    pub(crate) environment: Environment,
    /// The other environment has been tried (it is [`Claimed::environment`] now).
    pub(crate) tried_other: bool,
    /// This attempt included.
    pub(crate) attempts: i64,
    pub(crate) first_attempt_at: i64,
    pub(crate) expires_at: i64,
    /// An earlier attempt ended without an answer.
    pub(crate) maybe_taken: bool,
    /// What the last attempt was told, when there was one.
    pub(crate) last_reason: Option<String>,
    pub(crate) recipient: Recipient,
}

/// Who a claimed push goes to.
#[derive(Clone, Debug)]
pub(crate) enum Recipient {
    /// A registered device with its present token.
    Device { id: String, token: String, generation: i64, registered_at: i64 },
    /// The device has been unregistered since.
    Gone,
    /// A token that the sender brought.
    Token { token: String, registered_at: Option<i64> },
}
