//! What the MQTT client remembers of its session over a restart: nothing, because it owes the broker nothing.

use std::future::{Future, ready};
use std::pin::Pin;

use rumqttc::{PersistedAckMode, PersistedSession, SessionStore, SessionStoreError, SessionStoreKey};

/// A session without anything in flight. The client takes up a session that the broker has kept, and subscribes on it,
/// only when it knows what it had in flight itself; here only QoS 1 is received and nothing is published.
#[derive(Debug)]
pub(super) struct BlankSession {
    pub(super) expiry_s: u32,
}

type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

impl SessionStore for BlankSession {
    fn load<'a>(&'a self, key: &'a SessionStoreKey) -> Stored<'a, Option<PersistedSession>> {
        Box::pin(ready(Ok(Some(PersistedSession {
            format_version: 1,
            client_id: key.client_id().to_owned(),
            clean_start: false,
            session_expiry_interval: Some(self.expiry_s),
            outgoing_inflight_upper_limit: None,
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        }))))
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, _: &'a PersistedSession) -> Stored<'a, ()> {
        Box::pin(ready(Ok(())))
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> Stored<'a, ()> {
        Box::pin(ready(Ok(())))
    }
}
