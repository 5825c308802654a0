//! What a connection may cost before and after it has logged in.

use std::time::Duration;

/// The limits of the gate. Settings under `broker.limits.*` say each of them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the accepted socket to a verified CONNECT, TLS handshake and WebSocket upgrade included.
    pub connect_deadline: Duration,
    /// The largest first packet in bytes, fixed header included: a token must fit, a message need not.
    pub first_packet: usize,
    /// Connections that have not logged in yet, all together. More are closed at once.
    pub unauthenticated: usize,
    /// Connections that have not logged in yet from one address (IPv6: from one /64). More are closed at once.
    pub unauthenticated_per_address: usize,
    /// The largest packet in bytes after the log-in, fixed header included (told as Maximum Packet Size).
    pub packet: usize,
    /// The longest keep-alive. A client that asks for more, or for none, is told this one (MQTT 5) or left alone
    /// (3.1.1, which cannot be told). `None`: as the client asks.
    pub keep_alive: Option<Duration>,
    /// How long a client may leave what we send in its socket.
    pub write_deadline: Duration,
    /// Bytes of QoS 0 messages that wait for one slow connection; more are dropped and counted.
    pub outbox: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_deadline: Duration::from_secs(10),
            first_packet: 64 * 1024,
            unauthenticated: 4096,
            unauthenticated_per_address: 1024,
            packet: 1024 * 1024,
            keep_alive: None,
            write_deadline: Duration::from_secs(30),
            outbox: 1024 * 1024,
        }
    }
}
