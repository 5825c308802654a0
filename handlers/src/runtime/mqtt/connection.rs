//! Where the broker is, how to log in, and what a connection asks for.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AckMode, AsyncClient, Broker, ConnectReturnCode, ConnectionError, DisconnectReasonCode, EventLoop,
    IncomingPacketSizeLimit, MqttOptions, StateError, TlsConfiguration, Transport,
};
use rustls::ClientConfig;
use tidings_shared::broker_address::BrokerAddress;

use super::session::BlankSession;

/// How to reach the broker and log in.
#[derive(Clone)]
pub struct BrokerOptions {
    /// Where it is.
    pub address: BrokerAddress,
    /// For `mqtts://`: which certificates are trusted, and which one is shown.
    pub tls: Option<Arc<ClientConfig>>,
    /// Handler keys; when one is refused the next is tried, so that keys can rotate. None: a client certificate is shown.
    pub keys: Vec<String>,
    /// The MQTT client id: the same after every restart, and no other process may use it.
    pub client_id: String,
    /// How long the broker keeps the session (and the messages that wait in it) while nobody is connected.
    pub session_expiry: Duration,
    /// How many messages may be unacknowledged at once.
    pub receive_maximum: u16,
    /// The largest packet that is accepted, in bytes.
    pub largest_packet: u32,
}

impl BrokerOptions {
    /// A connection that has not been made yet. `key` says which of the keys to use.
    pub(super) fn connect(&self, key: usize) -> (AsyncClient, EventLoop) {
        let session_expiry_s = u32::try_from(self.session_expiry.as_secs()).unwrap_or(u32::MAX);
        let mut options = MqttOptions::new(&self.client_id, Broker::tcp(&self.address.host, self.address.port));
        if self.address.tls
            && let Some(tls) = &self.tls
        {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls.clone())));
        }
        match self.keys.get(key % self.keys.len().max(1)) {
            Some(key) => options.set_credentials("handler", key.clone()),
            // The client certificate says the rest.
            None => options.set_username("handler"),
        };
        options
            .set_clean_start(false)
            .set_session_expiry_interval(Some(session_expiry_s))
            .set_session_store(BlankSession { session_expiry_s })
            .set_ack_mode(AckMode::Manual)
            .set_receive_maximum(Some(self.receive_maximum.max(1)))
            .set_max_packet_size(Some(self.largest_packet))
            .set_incoming_packet_size_limit(IncomingPacketSizeLimit::Bytes(self.largest_packet))
            .set_keep_alive(30)
            .set_connect_timeout(Duration::from_secs(10));
        AsyncClient::builder(options).unbounded().build()
    }

    /// What ended a connection, for people.
    pub(super) fn explain(&self, error: &ConnectionError) -> String {
        let address = &self.address;
        match error {
            ConnectionError::ConnectionRefused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            ) => {
                format!("the broker at {address} refuses the handler key; compare keys.handler here with the broker's")
            }
            ConnectionError::ConnectionRefused(code) => {
                format!("the broker at {address} refuses the connection: {code:?}")
            }
            ConnectionError::MqttState(StateError::ServerDisconnect {
                reason_code: DisconnectReasonCode::SessionTakenOver,
                ..
            }) => format!(
                "another process has connected to {address} with the same client id {}; give each its own handlers.instance",
                self.client_id
            ),
            ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
                match reason_string {
                    Some(why) => format!("the broker at {address} ended the connection: {reason_code:?}, {why}"),
                    None => format!("the broker at {address} ended the connection: {reason_code:?}"),
                }
            }
            ConnectionError::MqttState(StateError::ConnectionAborted) => format!(
                "the broker at {address} closed the connection without a word; if that repeats, another process may use \
                 the client id {} (give each its own handlers.instance)",
                self.client_id
            ),
            ConnectionError::Timeout(_) => format!("the broker at {address} does not answer within 10 seconds"),
            ConnectionError::Io(error) => format!("no connection to the broker at {address}: {error}"),
            error => format!("the connection to the broker at {address} ended: {error}"),
        }
    }
}

/// Whether another key may be accepted.
pub(super) fn key_refused(error: &ConnectionError) -> bool {
    matches!(
        error,
        ConnectionError::ConnectionRefused(ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_a_host_and_maybe_a_port() {
        for (text, expected) in [
            ("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883"),
            ("mqtt://broker:2000/", "mqtt://broker:2000"),
            ("mqtts://broker.example", "mqtts://broker.example:8883"),
            ("mqtt://[::1]:7", "mqtt://[::1]:7"),
            ("mqtts://[::1]", "mqtts://[::1]:8883"),
        ] {
            assert_eq!(BrokerAddress::parse(text).unwrap().to_string(), expected);
        }
        for text in
            ["", "broker", "http://broker", "mqtt://", "mqtt://h:x", "mqtt://h:70000", "mqtt://u@h", "mqtt://[::1]x"]
        {
            assert!(BrokerAddress::parse(text).is_err(), "{text}");
        }
    }
}
