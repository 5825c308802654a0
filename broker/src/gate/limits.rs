//! What a connection may cost before and after it has logged in.

use std::time::Duration;

use super::backoff::BackoffLimits;
use super::bucket::Rate;
use super::proxy::Network;
use super::throttle::Rates;

/// The limits of the gate. Settings under `broker.limits.*` say each of them, unless another is named.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the accepted socket to a verified CONNECT, PROXY header, TLS handshake and WebSocket upgrade included.
    pub connect_deadline: Duration,
    /// The largest first packet in bytes, fixed header included: a token must fit, a message need not.
    pub first_packet: usize,
    /// Connections that have not logged in yet, all together. More are closed at once.
    pub unauthenticated: usize,
    /// Connections that have not logged in yet from one address (IPv6: from one /64). More are closed at once.
    pub unauthenticated_per_address: usize,
    /// New connections from one address (IPv6: from one /64).
    pub connects_per_address: Rate,
    /// TLS handshakes under way, all together. More wait for a place, within their deadline.
    pub tls_handshakes: usize,
    /// TLS handshakes and log-ins that are computed at the same time. More wait for their turn.
    pub at_once: usize,
    /// Open connections of the HTTP listener. More are closed at once.
    pub http_connections: usize,
    /// When failed log-ins are held back.
    pub backoff: BackoffLimits,
    /// What devices may publish.
    pub device: Rates,
    /// What handlers may publish.
    pub handler: Rates,
    /// For how long a connection that sends more than it may is held back until it is closed.
    pub patience: Duration,
    /// The largest packet in bytes after the log-in, fixed header included (told as Maximum Packet Size).
    pub packet: usize,
    /// The longest keep-alive. A client that asks for more, or for none, is told this one (MQTT 5) or left alone
    /// (3.1.1, which cannot be told). `None`: as the client asks.
    pub keep_alive: Option<Duration>,
    /// How long a client may leave what we send in its socket.
    pub write_deadline: Duration,
    /// Bytes of QoS 0 messages that wait for one slow connection; more are dropped and counted.
    pub outbox: usize,
    /// `broker.proxy_protocol.trusted`: who must say, and is believed, whose connection it passes on.
    pub proxies: Vec<Network>,
    /// `broker.stop.server_reference`: where MQTT 5 clients are sent when the broker stops.
    pub server_reference: Option<String>,
}

impl Default for Limits {
    fn default() -> Self {
        let burst = Duration::from_secs(5);
        Self {
            connect_deadline: Duration::from_secs(10),
            first_packet: 64 * 1024,
            unauthenticated: 32_768,
            unauthenticated_per_address: 16_384,
            connects_per_address: Rate { per_second: 5_000, burst },
            tls_handshakes: 1_024,
            at_once: 8,
            http_connections: 16_384,
            backoff: BackoffLimits::default(),
            device: Rates {
                messages_per_connection: Rate { per_second: 10_000, burst },
                bytes_per_connection: Rate { per_second: 16 << 20, burst },
                messages_per_user: Rate { per_second: 50_000, burst },
                bytes_per_user: Rate { per_second: 64 << 20, burst },
            },
            handler: Rates {
                messages_per_connection: Rate { per_second: 0, burst },
                bytes_per_connection: Rate { per_second: 0, burst },
                ..Rates::OFF
            },
            patience: Duration::from_secs(30),
            packet: 1024 * 1024,
            keep_alive: None,
            write_deadline: Duration::from_secs(30),
            outbox: 1024 * 1024,
            proxies: Vec::new(),
            server_reference: None,
        }
    }
}
