//! Where the broker is and how to log in to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AckMode, AsyncClient, Broker, ConnectReturnCode, ConnectionError, EventLoop, MqttOptions, TlsConfiguration,
    Transport,
};
use rustls::ClientConfig;
use tidings_shared::broker_address::{BrokerAddress, InvalidBroker};

use super::blank_session::BlankSession;

/// Events that may be unacknowledged at once.
pub(super) const RECEIVE_MAXIMUM: u16 = 256;
/// How long the broker keeps the events while this service is away.
const SESSION_EXPIRY_S: u32 = 7 * 86_400;

/// How to reach the broker and log in as a handler.
#[derive(Clone)]
pub struct BrokerLogin {
    address: BrokerAddress,
    tls: Option<Arc<ClientConfig>>,
    keys: Vec<String>,
    client_id: String,
}

impl fmt::Debug for BrokerLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerLogin").field("address", &self.address).finish_non_exhaustive()
    }
}

impl BrokerLogin {
    /// `keys`: when one is refused the next is tried, so that keys can rotate. `tls` is for `mqtts://`.
    ///
    /// # Errors
    /// [`InvalidBroker`] says what is allowed.
    pub fn new(
        url: &str,
        tls: Option<ClientConfig>,
        keys: Vec<String>,
        client_id: &str,
    ) -> Result<Self, InvalidBroker> {
        Ok(Self { address: BrokerAddress::parse(url)?, tls: tls.map(Arc::new), keys, client_id: client_id.to_owned() })
    }

    pub(super) fn connect(&self, key: usize) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(&self.client_id, Broker::tcp(&self.address.host, self.address.port));
        if self.address.tls
            && let Some(tls) = &self.tls
        {
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(tls))));
        }
        if let Some(key) = self.keys.get(key % self.keys.len().max(1)) {
            options.set_credentials("handler", key.clone());
        }
        options
            .set_clean_start(false)
            .set_session_expiry_interval(Some(SESSION_EXPIRY_S))
            .set_session_store(BlankSession { expiry_s: SESSION_EXPIRY_S })
            .set_ack_mode(AckMode::Manual)
            .set_receive_maximum(Some(RECEIVE_MAXIMUM))
            .set_keep_alive(30)
            .set_connect_timeout(Duration::from_secs(10));
        AsyncClient::builder(options).unbounded().build()
    }

    /// What ended a connection, for people.
    pub(super) fn explain(&self, error: &ConnectionError) -> String {
        let address = &self.address;
        if key_refused(error) {
            return if self.keys.is_empty() {
                format!("the broker at {address} wants a handler key; set keys.handler")
            } else {
                format!("the broker at {address} refuses the handler key; compare keys.handler here with the broker's")
            };
        }
        match error {
            ConnectionError::ConnectionRefused(code) => {
                format!("the broker at {address} refuses the connection: {code:?}")
            }
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
