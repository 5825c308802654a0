//! MQTT 3.1 and 3.1.1 in the words of MQTT 5, and back.

use rmqtt_codec::v3;
use rmqtt_codec::v5::{
    self, ConnectAckReason, PublishAck, PublishAck2, PublishAckReason, QoS, RetainHandling, SubscriptionOptions,
};

use super::fault::Fault;

/// A session that never expires: what clean session 0 means in MQTT 5 (§3.1.2.11.2).
const NEVER: u32 = u32::MAX;

/// A packet from a 3.1.1 client as MQTT 5 would have said it.
pub(super) fn from_v3(packet: v3::Packet) -> Result<v5::Packet, Fault> {
    Ok(match packet {
        v3::Packet::Connect(connect) => v5::Packet::Connect(Box::new(from_connect(*connect))),
        v3::Packet::Publish(mut publish) => {
            publish.properties = Some(v5::PublishProperties::default());
            v5::Packet::Publish(publish)
        }
        v3::Packet::PublishAck { packet_id } => v5::Packet::PublishAck(PublishAck { packet_id, ..Default::default() }),
        v3::Packet::PublishReceived { packet_id } => {
            v5::Packet::PublishReceived(PublishAck { packet_id, ..Default::default() })
        }
        v3::Packet::PublishRelease { packet_id } => {
            v5::Packet::PublishRelease(PublishAck2 { packet_id, ..Default::default() })
        }
        v3::Packet::PublishComplete { packet_id } => {
            v5::Packet::PublishComplete(PublishAck2 { packet_id, ..Default::default() })
        }
        v3::Packet::Subscribe { packet_id, topic_filters } => v5::Packet::Subscribe(v5::Subscribe {
            packet_id,
            id: None,
            user_properties: Vec::new(),
            topic_filters: topic_filters.into_iter().map(|(filter, qos)| (filter, options(qos))).collect(),
        }),
        v3::Packet::Unsubscribe { packet_id, topic_filters } => {
            v5::Packet::Unsubscribe(v5::Unsubscribe { packet_id, user_properties: Vec::new(), topic_filters })
        }
        v3::Packet::PingRequest => v5::Packet::PingRequest,
        v3::Packet::Disconnect => v5::Packet::Disconnect(v5::Disconnect::default()),
        v3::Packet::ConnectAck(_)
        | v3::Packet::SubscribeAck { .. }
        | v3::Packet::UnsubscribeAck { .. }
        | v3::Packet::PingResponse => {
            return Err(Fault::protocol("a packet type that only a server may send"));
        }
    })
}

fn options(qos: QoS) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::AtSubscribe,
    }
}

fn from_connect(connect: v3::Connect) -> v5::Connect {
    v5::Connect {
        clean_start: connect.clean_session,
        keep_alive: connect.keep_alive,
        session_expiry_interval_secs: if connect.clean_session { 0 } else { NEVER },
        client_id: connect.client_id,
        last_will: connect.last_will.map(|will| v5::LastWill {
            qos: will.qos,
            retain: will.retain,
            topic: will.topic,
            message: will.message,
            will_delay_interval_sec: None,
            correlation_data: None,
            message_expiry_interval: None,
            content_type: None,
            user_properties: Vec::new(),
            is_utf8_payload: None,
            response_topic: None,
        }),
        username: connect.username,
        password: connect.password,
        ..Default::default()
    }
}

/// What an MQTT 5 packet becomes for an older client.
pub(super) enum Older {
    Packet(v3::Packet),
    /// The older versions have no such packet and need none.
    Nothing,
    /// The older versions say this by closing the connection.
    Close,
}

/// An MQTT 5 packet for a 3.1.1 client.
pub(super) fn to_v3(packet: v5::Packet) -> Older {
    Older::Packet(match packet {
        v5::Packet::ConnectAck(ack) => match connect_return_code(ack.reason_code) {
            Some(return_code) => v3::Packet::ConnectAck(v3::ConnectAck {
                return_code,
                // MQTT-3.2.2-4: a refusal says that no session is present.
                session_present: ack.session_present && return_code == v3::ConnectAckReason::ConnectionAccepted,
            }),
            None => return Older::Close,
        },
        v5::Packet::Publish(mut publish) => {
            publish.properties = None;
            v3::Packet::Publish(publish)
        }
        v5::Packet::PublishAck(ack) if accepted(ack.reason_code) => v3::Packet::PublishAck { packet_id: ack.packet_id },
        v5::Packet::PublishReceived(ack) if accepted(ack.reason_code) => {
            v3::Packet::PublishReceived { packet_id: ack.packet_id }
        }
        // MQTT-3.3.5-2: a refused publish is either acknowledged, which would be a lie, or ends the connection.
        v5::Packet::PublishAck(_) | v5::Packet::PublishReceived(_) => return Older::Close,
        v5::Packet::PublishRelease(ack) => v3::Packet::PublishRelease { packet_id: ack.packet_id },
        v5::Packet::PublishComplete(ack) => v3::Packet::PublishComplete { packet_id: ack.packet_id },
        v5::Packet::SubscribeAck(ack) => {
            v3::Packet::SubscribeAck { packet_id: ack.packet_id, status: ack.status.into_iter().map(granted).collect() }
        }
        v5::Packet::UnsubscribeAck(ack) => v3::Packet::UnsubscribeAck { packet_id: ack.packet_id },
        v5::Packet::PingResponse => v3::Packet::PingResponse,
        v5::Packet::Disconnect(_) => return Older::Close,
        v5::Packet::Connect(_)
        | v5::Packet::Subscribe(_)
        | v5::Packet::Unsubscribe(_)
        | v5::Packet::PingRequest
        | v5::Packet::Auth(_) => return Older::Nothing,
    })
}

fn accepted(reason: PublishAckReason) -> bool {
    matches!(reason, PublishAckReason::Success | PublishAckReason::NoMatchingSubscribers)
}

fn granted(reason: v5::SubscribeAckReason) -> v3::SubscribeReturnCode {
    match reason {
        v5::SubscribeAckReason::GrantedQos0 => v3::SubscribeReturnCode::Success(QoS::AtMostOnce),
        v5::SubscribeAckReason::GrantedQos1 => v3::SubscribeReturnCode::Success(QoS::AtLeastOnce),
        v5::SubscribeAckReason::GrantedQos2 => v3::SubscribeReturnCode::Success(QoS::ExactlyOnce),
        _ => v3::SubscribeReturnCode::Failure,
    }
}

/// The 3.1.1 return code for an MQTT 5 reason; `None` where 3.1.1 closes without an answer (malformed packets).
pub fn connect_return_code(reason: ConnectAckReason) -> Option<v3::ConnectAckReason> {
    Some(match reason {
        ConnectAckReason::Success => v3::ConnectAckReason::ConnectionAccepted,
        ConnectAckReason::UnsupportedProtocolVersion => v3::ConnectAckReason::UnacceptableProtocolVersion,
        ConnectAckReason::ClientIdentifierNotValid => v3::ConnectAckReason::IdentifierRejected,
        ConnectAckReason::BadUserNameOrPassword => v3::ConnectAckReason::BadUserNameOrPassword,
        ConnectAckReason::NotAuthorized | ConnectAckReason::Banned | ConnectAckReason::BadAuthenticationMethod => {
            v3::ConnectAckReason::NotAuthorized
        }
        ConnectAckReason::MalformedPacket | ConnectAckReason::ProtocolError => return None,
        _ => v3::ConnectAckReason::ServiceUnavailable,
    })
}
