//! Why a connection ends, as a code for us and in words for the client.

use rmqtt_codec::v5::{Disconnect, DisconnectReasonCode};

use crate::gate::outbox::Closing;
use crate::gate::wire::Fault;

/// Why a connection ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closed, or the stream failed.
    Gone,
    /// The engine said so, and has told the client.
    Engine(DisconnectReasonCode),
    /// The token was revoked; the engine has told the client.
    Revoked,
    /// A fresh token was refused, and the client must be let go.
    Refused(Box<Refused>),
    /// The client broke the protocol.
    Fault(Fault),
    /// Nothing came for one and a half times the keep-alive.
    KeepAlive,
    /// The token has expired.
    Expired,
    /// The client does not take what we send.
    Stuck,
    /// The client has sent more than it may for too long.
    TooFast,
    /// The engine has stopped.
    Stopped,
}

/// Why re-authentication failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    reason: DisconnectReasonCode,
    code: &'static str,
    why: String,
}

impl From<Closing> for End {
    fn from(why: Closing) -> Self {
        match why {
            Closing::Reason(reason) => Self::Engine(reason),
            Closing::Revoked => Self::Revoked,
        }
    }
}

impl End {
    pub(super) fn refused(reason: DisconnectReasonCode, code: &'static str, why: &str) -> Self {
        Self::Refused(Box::new(Refused { reason, code, why: why.to_owned() }))
    }

    /// The documented code for logs and metrics.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Engine(DisconnectReasonCode::NormalDisconnection) => "disconnect",
            Self::Engine(DisconnectReasonCode::DisconnectWithWillMessage) => "disconnect_with_will",
            Self::Engine(DisconnectReasonCode::SessionTakenOver) => "session_taken_over",
            Self::Engine(DisconnectReasonCode::ServerShuttingDown) => "server_shutting_down",
            Self::Engine(DisconnectReasonCode::NotAuthorized) => "not_authorized",
            Self::Engine(DisconnectReasonCode::ProtocolError) => "protocol_error",
            Self::Engine(DisconnectReasonCode::ReceiveMaximumExceeded) => "receive_maximum_exceeded",
            Self::Engine(DisconnectReasonCode::QuotaExceeded) => "quota_exceeded",
            Self::Engine(DisconnectReasonCode::AdministrativeAction) => "administrative_action",
            Self::Engine(_) => "ended_by_server",
            Self::Revoked => "token_revoked",
            Self::Refused(refused) => refused.code,
            Self::Fault(fault) => fault.name(),
            Self::KeepAlive => "keep_alive_timeout",
            Self::Expired => "token_expired",
            Self::Stuck => "write_deadline",
            Self::TooFast => "message_rate",
            Self::Stopped => "server_shutting_down",
        }
    }

    /// What an MQTT 5 client is told.
    pub(super) fn disconnect(&self) -> Option<Disconnect> {
        let (reason, why) = match self {
            Self::Gone | Self::Stuck | Self::Engine(_) | Self::Revoked => return None,
            Self::Refused(refused) => (refused.reason, refused.why.as_str()),
            Self::Fault(fault) => (fault.disconnect_reason(), fault.what),
            Self::KeepAlive => {
                (DisconnectReasonCode::KeepAliveTimeout, "nothing came for one and a half times the keep alive")
            }
            Self::Expired => (DisconnectReasonCode::NotAuthorized, "the token has expired"),
            Self::TooFast => (
                DisconnectReasonCode::MessageRateTooHigh,
                "more messages or bytes in a second than are allowed here, for too long",
            ),
            Self::Stopped => (DisconnectReasonCode::ServerShuttingDown, "the server is stopping"),
        };
        Some(Disconnect { reason_string: Some(why.into()), ..Disconnect::new(reason) })
    }
}
