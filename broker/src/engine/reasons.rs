//! Why something was refused or ended, in words for the client (MQTT 5 reason strings).

use rmqtt_codec::v5::{DisconnectReasonCode, PublishAckReason, SubscribeAckReason};

/// A refused publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: PublishAckReason,
    pub(crate) why: String,
}

impl Refusal {
    pub(crate) fn new(reason: PublishAckReason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into() }
    }
}

impl From<PublishAckReason> for Refusal {
    fn from(reason: PublishAckReason) -> Self {
        let why = match reason {
            PublishAckReason::QuotaExceeded => "the broker cannot store more messages at the moment",
            PublishAckReason::PayloadFormatInvalid => "the payload is not the UTF-8 that it says it is",
            PublishAckReason::TopicNameInvalid => "this is not a valid topic name",
            _ => "the message could not be stored",
        };
        Self::new(reason, why)
    }
}

/// A refused subscription; the filter is shortened, as it may be very long.
pub(crate) fn subscription(filter: &str, why: &str) -> String {
    const SHOWN: usize = 80;
    let shown: String = filter.chars().take(SHOWN).collect();
    let dots = if shown.len() < filter.len() { "…" } else { "" };
    format!("{shown}{dots}: {why}")
}

/// Why a filter was refused, where the rules of topics have nothing to say.
pub(crate) fn filter(reason: SubscribeAckReason) -> &'static str {
    match reason {
        SubscribeAckReason::QuotaExceeded => {
            "the session has as many subscriptions as broker.limits.subscriptions allows"
        }
        SubscribeAckReason::TopicFilterInvalid => "the filter has too many levels",
        _ => "the connection is ending",
    }
}

/// Why the broker ends a connection.
pub(crate) fn ended(reason: DisconnectReasonCode) -> Option<&'static str> {
    Some(match reason {
        DisconnectReasonCode::ProtocolError => "this packet is not allowed here",
        DisconnectReasonCode::NotAuthorized => "the right to be connected has ended",
        DisconnectReasonCode::ServerShuttingDown => "the broker is stopping",
        DisconnectReasonCode::SessionTakenOver => "the same client has connected again",
        DisconnectReasonCode::TopicNameInvalid => "this is not a valid topic name",
        DisconnectReasonCode::ReceiveMaximumExceeded => {
            "more unacknowledged publishes than the receive maximum in CONNACK"
        }
        DisconnectReasonCode::TopicAliasInvalid => "a topic alias of 0, or beyond the maximum in CONNACK",
        DisconnectReasonCode::QuotaExceeded => "the broker cannot store more messages at the moment",
        _ => return None,
    })
}
