//! The durable queue: what is to be sent, and what came of it.
//!
//! A target goes `queued → sending → accepted | retrying | dead | expired | unknown`. Claiming gives a lease; the
//! push of a worker that dies comes back when its lease ends. Each app at each provider is a lane of its own: a
//! stalled or paused one holds up nobody else.
//!
//! The way of a push: `load` says whether there is room, `intake` stores it with whatever else comes at the same
//! time, a `lane` claims it by priority and hands it to the send path, `settle` decides what the answer means, and
//! `recorder` writes that down, again with whatever else comes at the same time.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tidings_shared::push_api::{Environment, Priority, Provider, Push, TokenTarget};

use crate::devices::Registered;

pub(crate) mod intake;
pub(crate) mod janitor;
pub(crate) mod lane;
pub(crate) mod limits;
pub(crate) mod load;
mod recorder;
pub(crate) mod settle;
mod slots;
pub(crate) mod store;
#[cfg(test)]
mod tests;
mod work;

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
    pub(crate) priority: Priority,
    /// With a template: the push in each of its languages; `push` has the default one.
    pub(crate) localized: Option<Arc<str>>,
}

/// One addressee of a new notification.
#[derive(Clone, Debug)]
pub(crate) struct NewTarget {
    pub(crate) id: String,
    pub(crate) provider: Provider,
    pub(crate) app: String,
    pub(crate) environment: Environment,
    pub(crate) to: Address,
    /// When it may be sent; when the notification was made if `None`.
    pub(crate) due_at: Option<i64>,
    /// The notification's when `None`.
    pub(crate) expires_at: Option<i64>,
    /// Device and collapse id: it takes the place of what waits under the same one.
    pub(crate) collapse_key: Option<String>,
    /// Device and key of its news, which the device is to get once.
    pub(crate) dedup_key: Option<String>,
    /// It is stored as over, for this reason, and never sent.
    pub(crate) ended: Option<&'static str>,
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
        Self::new(
            id,
            device.registration.provider,
            &device.registration.app,
            device.registration.environment,
            Address::Device { id: device.id.clone(), name: device.registration.device.clone() },
        )
    }

    /// A target for a token that the sender brought.
    pub(crate) fn of_token(id: String, to: &TokenTarget) -> Self {
        let address = Address::Token { token: to.token.clone(), registered_at: to.registered_at_ms };
        Self::new(id, to.provider, &to.app, to.environment, address)
    }

    fn new(id: String, provider: Provider, app: &str, environment: Environment, to: Address) -> Self {
        Self {
            id,
            provider,
            app: app.to_owned(),
            environment,
            to,
            due_at: None,
            expires_at: None,
            collapse_key: None,
            dedup_key: None,
            ended: None,
        }
    }

    /// Its lane.
    pub(crate) fn lane(&self) -> String {
        lane_name(self.provider, &self.app)
    }

    /// The name of `word` at this device, of a fixed length whatever the token's.
    pub(crate) fn key(&self, word: &str) -> String {
        let (kind, address) = match &self.to {
            Address::Device { id, .. } => ("device", id.as_str()),
            Address::Token { token, .. } => ("token", token.as_str()),
        };
        let mut hash = Sha256::new();
        for part in [kind, self.provider.as_str(), &self.app, address, word] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
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
    pub(crate) priority: Priority,
    /// Its notification was cancelled after it had been tried.
    pub(crate) cancelled: bool,
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
