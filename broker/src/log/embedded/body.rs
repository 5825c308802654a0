//! A message as it lies in a segment: first what the index needs, then the rest. Field order is the format.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_shared::message_id::MessageId;

use super::super::message::{Key, Message, MessageProperties, Offset, Sender};

/// What the index needs of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) offset: Offset,
    pub(super) previous: Option<Offset>,
    pub(super) floor: Offset,
    pub(super) time_ms: i64,
    pub(super) expires_at_ms: Option<i64>,
    pub(super) key: Key,
}

#[derive(Serialize)]
struct RestOf<'a> {
    id: &'a MessageId,
    topic: &'a str,
    payload: &'a Bytes,
    qos: u8,
    retain: bool,
    sender: &'a Option<Sender>,
    granted: bool,
    properties: &'a MessageProperties,
}

#[derive(Deserialize)]
struct Rest {
    id: MessageId,
    topic: Arc<str>,
    payload: Bytes,
    qos: u8,
    retain: bool,
    sender: Option<Sender>,
    granted: bool,
    properties: MessageProperties,
}

/// Appends a message's body.
pub(super) fn write(out: &mut Vec<u8>, head: &Head, message: &Message) -> Result<(), postcard::Error> {
    postcard::to_io(head, &mut *out)?;
    let rest = RestOf {
        id: &message.id,
        topic: &message.topic,
        payload: &message.payload,
        qos: message.qos,
        retain: message.retain,
        sender: &message.sender,
        granted: message.granted,
        properties: &message.properties,
    };
    postcard::to_io(&rest, &mut *out)?;
    // Behind everything else, and only where there is one: segments of older versions are read as they are.
    if message.publisher != 0 {
        postcard::to_io(&message.publisher, out)?;
    }
    Ok(())
}

/// Reads what the index needs, and leaves the rest.
pub(super) fn read_head(body: &[u8]) -> Result<(Head, &[u8]), postcard::Error> {
    postcard::take_from_bytes(body)
}

/// Reads the rest.
pub(super) fn read_rest(head: Head, rest: &[u8]) -> Result<(Offset, Message), postcard::Error> {
    let (rest, behind): (Rest, &[u8]) = postcard::take_from_bytes(rest)?;
    let publisher = if behind.is_empty() { 0 } else { postcard::from_bytes(behind)? };
    let message = Message {
        id: rest.id,
        topic: rest.topic,
        payload: rest.payload,
        qos: rest.qos,
        retain: rest.retain,
        key: head.key,
        sender: rest.sender,
        publisher,
        granted: rest.granted,
        time_ms: head.time_ms,
        expires_at_ms: head.expires_at_ms,
        properties: rest.properties,
    };
    Ok((head.offset, message))
}

/// An upper bound of a message's length in a segment, without writing it.
pub(super) fn length_bound(message: &Message) -> usize {
    let properties = &message.properties;
    let text = |text: &Option<String>| text.as_ref().map_or(0, |text| text.len() + 10);
    let user: usize = properties.user_properties.iter().map(|(name, value)| name.len() + value.len() + 20).sum();
    let key = match &message.key {
        Key::User(user) => user.as_str().len(),
        Key::Command(topic) => topic.len(),
    };
    let sender = message.sender.as_ref().map_or(0, |sender| sender.user.as_str().len() + sender.client.len());
    let correlation = properties.correlation_data.as_ref().map_or(0, Bytes::len);
    256 + message.topic.len()
        + message.payload.len()
        + key
        + sender
        + text(&properties.content_type)
        + text(&properties.response_topic)
        + correlation
        + user
}
