//! What was wrong with bytes that a client sent, in the words and codes of MQTT 5.

use rmqtt_codec::v5::{ConnectAckReason, DisconnectReasonCode};

/// A violation of the protocol by the peer. It always ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The reason code (MQTT 5 §2.4).
    pub code: u8,
    /// What was wrong, for the reason string and the log. Never contains what the client sent.
    pub what: &'static str,
}

impl Fault {
    /// A packet that cannot be parsed: 0x81.
    pub const fn malformed(what: &'static str) -> Self {
        Self { code: 0x81, what }
    }

    /// A packet that can be parsed but is not allowed here or now: 0x82.
    pub const fn protocol(what: &'static str) -> Self {
        Self { code: 0x82, what }
    }

    /// A client identifier that cannot be used: 0x85, and return code 2 in 3.1.1.
    pub const fn client_id(what: &'static str) -> Self {
        Self { code: 0x85, what }
    }

    /// A topic name that is no topic name: 0x90.
    pub const fn topic_name(what: &'static str) -> Self {
        Self { code: 0x90, what }
    }

    /// A topic alias of 0, or above what the server allows: 0x94.
    pub const fn topic_alias(what: &'static str) -> Self {
        Self { code: 0x94, what }
    }

    /// A packet above the size limit: 0x95.
    pub const fn too_large(what: &'static str) -> Self {
        Self { code: 0x95, what }
    }

    /// The name of the code, for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.code {
            0x81 => "malformed_packet",
            0x85 => "client_id",
            0x90 => "topic_name",
            0x94 => "topic_alias",
            0x95 => "packet_too_large",
            _ => "protocol_error",
        }
    }

    /// The code for DISCONNECT (§3.14.2.1).
    pub fn disconnect_reason(self) -> DisconnectReasonCode {
        DisconnectReasonCode::try_from(self.code).unwrap_or(DisconnectReasonCode::ProtocolError)
    }

    /// The code for CONNACK, when the fault is in the first packet (§3.2.2.2).
    pub fn connect_reason(self) -> ConnectAckReason {
        ConnectAckReason::try_from(self.code).unwrap_or(ConnectAckReason::ProtocolError)
    }
}
