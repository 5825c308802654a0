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

/// A client of `user` has connected or is gone. Sent at QoS 0 to whoever subscribes at that moment; a client whose
/// connection is taken over by a new one of its own has not gone. A broker that stops or crashes sends none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceChanged {
    /// Whose device.
    pub user: UserId,
    /// Its MQTT client id.
    pub client: String,
    /// What has become of it.
    pub state: PresenceState,
    /// Whether any device of the user is connected now.
    pub user_online: bool,
    /// When, ms since 1970.
    pub time: i64,
}

/// Whether a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PresenceState {
    /// It has connected.
    Online,
    /// Its connection has ended.
    Offline,
}
