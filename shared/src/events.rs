//! What the broker tells other services over MQTT (topics: [`crate::topic::names`]), as JSON.

use serde::{Deserialize, Serialize};

use crate::identity::UserId;
use crate::message_id::MessageId;

/// A stored message of `user` was acknowledged by none of their devices within the grace period.
/// Published once until a device of the user has returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserUnacked {
    /// Whose devices should be woken.
    pub user: UserId,
    /// The message that waits.
    pub message_id: MessageId,
    /// When it was stored, ms since 1970.
    pub stored_at_ms: i64,
    /// Its cursor in text form.
    pub cursor: String,
}

/// A device that may have been woken is back: it connected, or it fetched over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReturned {
    /// Whose device.
    pub user: UserId,
    /// Its MQTT client id, or the `client` it named on the HTTP door; empty when it named none.
    pub client: String,
    /// When it came back, ms since 1970.
    pub at_ms: i64,
}
