//! A stored message as the PUBLISH packet that one client gets.

use std::num::{NonZeroU16, NonZeroU32};

use rmqtt_codec::types::Publish;
use rmqtt_codec::v5::{PublishProperties, QoS, UserProperty};
use tidings_shared::cursor::Cursor;
use tidings_shared::properties;

use super::io::Protocol;
use crate::log::Message;

/// How one client gets a message.
pub(crate) struct Form {
    pub(crate) protocol: Protocol,
    pub(crate) qos: QoS,
    pub(crate) pid: Option<NonZeroU16>,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) ids: Vec<NonZeroU32>,
    pub(crate) cursor: Option<Cursor>,
    /// Retention has dropped something before it that the client should have had.
    pub(crate) hole: bool,
    pub(crate) now_ms: i64,
}

pub(crate) fn publish(message: &Message, form: Form) -> Publish {
    Publish {
        dup: form.dup,
        retain: form.retain,
        qos: form.qos,
        topic: (&*message.topic).into(),
        packet_id: form.pid,
        payload: message.payload.clone(),
        properties: match form.protocol {
            Protocol::V3 => None,
            Protocol::V5 => Some(properties(message, form)),
        },
    }
}

fn properties(message: &Message, form: Form) -> PublishProperties {
    let carried = &message.properties;
    PublishProperties {
        topic_alias: None,
        correlation_data: carried.correlation_data.clone(),
        message_expiry_interval: message.expires_at_ms.map(|expires| {
            // What is left of it, rounded up: it has not expired yet (MQTT 5, 3.3.2.3.3).
            let left_s = (expires - form.now_ms).max(1).saturating_add(999) / 1000;
            u32::try_from(left_s).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX)
        }),
        content_type: carried.content_type.as_deref().map(Into::into),
        user_properties: user_properties(message, form.cursor, form.hole),
        is_utf8_payload: carried.payload_is_utf8,
        response_topic: carried.response_topic.as_deref().map(Into::into),
        subscription_ids: form.ids,
    }
}

fn user_properties(message: &Message, cursor: Option<Cursor>, hole: bool) -> Vec<UserProperty> {
    let carried = &message.properties.user_properties;
    let mut all: Vec<UserProperty> = Vec::with_capacity(carried.len() + properties::STAMPED.len());
    all.extend(carried.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())));
    let mut stamp = |name: &'static str, value: String| all.push((name.into(), value.into()));
    if let Some(sender) = &message.sender {
        stamp(properties::USER, sender.user.as_str().to_owned());
        stamp(properties::CLIENT, sender.client.clone());
    }
    stamp(properties::MESSAGE_ID, message.id.as_str().to_owned());
    stamp(properties::TIME, message.time_ms.to_string());
    if let Some(cursor) = cursor {
        stamp(properties::CURSOR, cursor.to_string());
    }
    if hole {
        stamp(properties::RECOVERED, "false".to_owned());
    }
    all
}

/// Stamps that help a client and that it can do without. Never who sent a message: without that, a device's message would
/// look like a handler's.
const DISPENSABLE: [&str; 3] = [properties::MESSAGE_ID, properties::TIME, properties::CURSOR];

/// The packet as a client takes it that accepts `maximum` bytes: one that is too large loses the dispensable stamps, which
/// its publisher did not send. `None` when it is too large without them (MQTT-3.1.2-24).
pub(crate) fn fit(mut publish: Publish, protocol: Protocol, maximum: usize) -> Option<Publish> {
    if wire_size(&publish, protocol) > maximum {
        let properties = publish.properties.as_mut()?;
        properties.user_properties.retain(|(name, _)| !DISPENSABLE.contains(&&**name));
    }
    (wire_size(&publish, protocol) <= maximum).then_some(publish)
}

/// The length of the packet on the wire: what the client's maximum packet size is compared with (MQTT 5, 3.1.2.11.4).
fn wire_size(publish: &Publish, protocol: Protocol) -> usize {
    let packet_id = if publish.qos == QoS::AtMostOnce { 0 } else { 2 };
    let mut body = 2 + publish.topic.len() + packet_id + publish.payload.len();
    if protocol == Protocol::V5 {
        let length = publish.properties.as_ref().map_or(0, properties_size);
        body += variable_length(length) + length;
    }
    1 + variable_length(body) + body
}

fn properties_size(properties: &PublishProperties) -> usize {
    let text = |length: usize| 1 + 2 + length;
    properties.topic_alias.map_or(0, |_| 3)
        + properties.correlation_data.as_ref().map_or(0, |data| text(data.len()))
        + properties.message_expiry_interval.map_or(0, |_| 5)
        + properties.content_type.as_ref().map_or(0, |content| text(content.len()))
        + if properties.is_utf8_payload { 2 } else { 0 }
        + properties.response_topic.as_ref().map_or(0, |topic| text(topic.len()))
        + properties.subscription_ids.iter().map(|id| 1 + variable_length(id.get() as usize)).sum::<usize>()
        + properties.user_properties.iter().map(|(name, value)| 1 + 2 + name.len() + 2 + value.len()).sum::<usize>()
}

fn variable_length(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;
    use rmqtt_codec::v5::{Codec, Packet};
    use tidings_shared::message_id::MessageId;
    use tokio_util::codec::Encoder;

    use crate::log::{Key, MessageProperties, Sender};
    use tidings_shared::identity::UserId;

    fn message(sender: Option<Sender>, user_properties: Vec<(String, String)>) -> Message {
        Message {
            id: MessageId::from_parts(1, [1; 10]),
            topic: "68946_hello".into(),
            payload: Bytes::from_static(&[b'.'; 32]),
            qos: 0,
            retain: false,
            key: Key::Command("68946_hello".into()),
            sender,
            publisher: 0,
            granted: true,
            time_ms: 5,
            expires_at_ms: None,
            properties: MessageProperties { user_properties, ..MessageProperties::default() },
        }
    }

    fn form() -> Form {
        Form {
            protocol: Protocol::V5,
            qos: QoS::AtMostOnce,
            pid: None,
            dup: false,
            retain: false,
            ids: Vec::new(),
            cursor: Some(Cursor { epoch: 1, offset: 2 }),
            hole: false,
            now_ms: 0,
        }
    }

    fn names(publish: &Publish) -> Vec<&str> {
        publish.properties.as_ref().unwrap().user_properties.iter().map(|(name, _)| &**name).collect()
    }

    #[test]
    fn a_client_of_small_packets_gets_the_message_without_the_stamps_that_it_can_do_without() {
        let own = vec![("a".to_owned(), "b".to_owned())];
        let whole = publish(&message(None, own.clone()), form());
        assert_eq!(names(&fit(whole.clone(), Protocol::V5, 1000).unwrap()), ["a", "message-id", "time", "cursor"]);
        assert_eq!(names(&fit(whole.clone(), Protocol::V5, 64).unwrap()), ["a"]);
        assert_eq!(fit(whole, Protocol::V5, 50), None);

        let sender = Some(Sender { user: UserId::new("23412").unwrap(), client: "phone".into() });
        let stamped = publish(&message(sender, own), form());
        assert_eq!(names(&fit(stamped.clone(), Protocol::V5, 100).unwrap()), ["a", "user", "client"]);
        assert_eq!(fit(stamped, Protocol::V5, 64), None, "it would look like a handler's");
    }

    proptest! {
        #[test]
        fn the_computed_size_is_the_size_on_the_wire(
            topic in "[a-z/]{1,300}",
            payload in proptest::collection::vec(any::<u8>(), 0..20_000),
            qos in 0u8..3,
            utf8: bool,
            expires in proptest::option::of(1i64..100_000),
            content_type in proptest::option::of("[a-z]{0,20}"),
            correlation in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
            user in proptest::collection::vec(("[a-z]{1,9}", "[a-z]{0,90}"), 0..5),
            ids in proptest::collection::vec(1u32..268_435_455, 0..4),
        ) {
            let message = Message {
                id: MessageId::from_parts(1, [1; 10]),
                topic: topic.as_str().into(),
                payload: Bytes::from(payload),
                qos,
                retain: false,
                key: Key::Command(topic),
                sender: None,
                publisher: 0,
                granted: true,
                time_ms: 5,
                expires_at_ms: expires,
                properties: MessageProperties {
                    content_type,
                    response_topic: None,
                    correlation_data: correlation.map(Bytes::from),
                    payload_is_utf8: utf8,
                    user_properties: user,
                },
            };
            let form = Form {
                protocol: Protocol::V5,
                qos: QoS::try_from(qos).unwrap(),
                pid: (qos > 0).then_some(NonZeroU16::MIN),
                dup: false,
                retain: false,
                ids: ids.into_iter().filter_map(NonZeroU32::new).collect(),
                cursor: Some(Cursor { epoch: 1, offset: 2 }),
                hole: false,
                now_ms: 0,
            };
            let packet = publish(&message, form);
            let computed = wire_size(&packet, Protocol::V5);
            let mut wire = BytesMut::new();
            Codec::new(0, 0).encode(Packet::Publish(Box::new(packet)), &mut wire).unwrap();
            prop_assert_eq!(computed, wire.len());
        }
    }
}
