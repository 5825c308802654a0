//! Bytes to packets and back, for MQTT 3.1, 3.1.1 and 5.
//!
//! `rmqtt-codec` is the codec; it stands behind two rooms that make it strict and bounded. `frame` cuts the byte stream
//! into whole packets under a size limit, without reserving memory for what has not arrived. `strict` checks the rules
//! of the specification that the codec does not. Everything above the wire speaks the vocabulary of MQTT 5
//! ([`v5::Packet`]); `translate` turns the two older versions into it and back.

mod fault;
mod frame;
mod properties;
mod reader;
mod strict;
#[cfg(test)]
mod tests;
mod translate;

use bytes::BytesMut;
use rmqtt_codec::{v3, v5};
use tokio_util::codec::{Decoder, Encoder};

pub use fault::Fault;
pub use frame::{Frame, append, next_frame, peek_connect_version};
pub use translate::connect_return_code;

/// The versions of MQTT that the gate speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1 (`MQIsdp`, level 3), kept for old clients; treated as 3.1.1.
    V31,
    /// MQTT 3.1.1 (level 4).
    V311,
    /// MQTT 5 (level 5).
    V5,
}

impl Version {
    /// The name for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        }
    }
}

/// Why a CONNECT's protocol name and level are not spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionFault {
    /// The bytes are not a CONNECT of any MQTT: close without an answer.
    NotMqtt,
    /// An older protocol level: answer with a 3.1.1 CONNACK, return code 1.
    TooOld,
    /// A newer protocol level: answer with an MQTT 5 CONNACK, reason code 0x84.
    TooNew,
}

/// Reads the protocol name and level from the body of a CONNECT (MQTT 5 §3.1.2.1, §3.1.2.2).
pub fn connect_version(body: &[u8]) -> Result<Version, VersionFault> {
    let mut reader = reader::Reader::new(body);
    let name = reader.binary().map_err(|_| VersionFault::NotMqtt)?;
    let level = reader.byte().map_err(|_| VersionFault::NotMqtt)?;
    match (name, level) {
        (b"MQIsdp", 3) => Ok(Version::V31),
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT", 6..) => Err(VersionFault::TooNew),
        (b"MQTT" | b"MQIsdp", _) => Err(VersionFault::TooOld),
        _ => Err(VersionFault::NotMqtt),
    }
}

/// True when `first` can be the first byte of a connection: CONNECT with its reserved flags clear.
pub fn opens_connect(first: u8) -> bool {
    first == strict::kind::CONNECT << 4
}

/// Decodes the first packet of a connection, which [`connect_version`] says is a CONNECT of `version`.
///
/// A CONNECT of an older version comes back in MQTT 5's words: clean session 0 is a session that never expires.
pub fn decode_connect(mut frame: Frame, version: Version) -> Result<Box<v5::Connect>, Fault> {
    strict::connect(frame.body_mut(), version)?;
    let packet = match version {
        Version::V5 => decode_v5(frame.bytes)?,
        Version::V31 | Version::V311 => translate::from_v3(decode_v3(frame.bytes)?)?,
    };
    match packet {
        v5::Packet::Connect(connect) => Ok(connect),
        _ => Err(Fault::protocol("the first packet is not CONNECT")),
    }
}

/// Decodes a packet of an established connection into MQTT 5's words. A second CONNECT is a fault.
pub fn decode(mut frame: Frame, version: Version) -> Result<v5::Packet, Fault> {
    let first = frame.first();
    strict::packet(first, frame.body_mut(), version)?;
    match version {
        Version::V5 => decode_v5(frame.bytes),
        Version::V31 | Version::V311 => translate::from_v3(decode_v3(frame.bytes)?),
    }
}

/// True when the frame is a PINGREQ, which the gate answers by itself.
pub fn is_ping(frame: &Frame) -> bool {
    frame.first() >> 4 == strict::kind::PINGREQ
}

/// The whole of PINGRESP, the same in every version.
pub const PING_RESPONSE: [u8; 2] = [strict::kind::PINGRESP << 4, 0];

// After the checks of `strict` an error of the codec means a rule that both know; its words stay internal.
const REFUSED_BY_CODEC: Fault = Fault::malformed("the packet cannot be decoded");

fn decode_v5(mut bytes: BytesMut) -> Result<v5::Packet, Fault> {
    match v5::Codec::default().decode(&mut bytes) {
        Ok(Some((packet, _))) => Ok(packet),
        Ok(None) | Err(_) => Err(REFUSED_BY_CODEC),
    }
}

fn decode_v3(mut bytes: BytesMut) -> Result<v3::Packet, Fault> {
    match v3::Codec::default().decode(&mut bytes) {
        Ok(Some((packet, _))) => Ok(packet),
        Ok(None) | Err(_) => Err(REFUSED_BY_CODEC),
    }
}

/// What became of a packet on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoded {
    /// Appended to the buffer.
    Written,
    /// Nothing to send: this version has no such packet, or a PUBLISH is larger than the client accepts.
    Skipped,
    /// This version cannot say it: the connection ends after what is already in the buffer.
    Close,
}

/// What an encoder has to know about the client.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// The version that the client speaks.
    pub version: Version,
    /// The largest packet that the client accepts, fixed header included (MQTT 5 §3.1.2.11.4). 0: any.
    pub maximum_packet: u32,
    /// Whether the client wants reason strings and user properties on acknowledgements (MQTT 5 §3.1.2.11.7).
    pub problem_information: bool,
}

/// Appends `packet` to `out` in the client's own version.
///
/// A packet larger than the client accepts is never sent (MQTT-3.1.2-24): an acknowledgement loses its reason string
/// and user properties first, a PUBLISH is skipped.
pub fn encode(packet: v5::Packet, dialect: Dialect, out: &mut BytesMut) -> Encoded {
    if let Some(plain) = plain_acknowledgement(&packet) {
        out.extend_from_slice(&plain);
        return Encoded::Written;
    }
    let start = out.len();
    let outcome = match dialect.version {
        Version::V5 => encode_v5(packet, dialect, out),
        Version::V31 | Version::V311 => match translate::to_v3(packet) {
            translate::Older::Packet(packet) => match v3::Codec::default().encode(packet, out) {
                Ok(()) => Encoded::Written,
                Err(_) => Encoded::Skipped,
            },
            translate::Older::Nothing => Encoded::Skipped,
            translate::Older::Close => Encoded::Close,
        },
    };
    if outcome != Encoded::Written {
        out.truncate(start);
    }
    outcome
}

fn encode_v5(packet: v5::Packet, dialect: Dialect, out: &mut BytesMut) -> Encoded {
    let start = out.len();
    let limit = if dialect.maximum_packet == 0 { usize::MAX } else { dialect.maximum_packet as usize };
    // The codec's own limit is not used: it subtracts without looking and ends in a panic for small limits.
    let mut write = |packet| {
        out.truncate(start);
        matches!(v5::Codec::default().encode(packet, out), Ok(()) if out.len() - start <= limit)
    };
    if matches!(packet, v5::Packet::Publish(_)) {
        return if write(packet) { Encoded::Written } else { Encoded::Skipped };
    }
    let mut bare = packet.clone();
    strip(&mut bare);
    let always_whole = matches!(packet, v5::Packet::ConnectAck(_) | v5::Packet::Disconnect(_));
    let wanted = dialect.problem_information || always_whole;
    if (wanted && write(packet)) || write(bare) { Encoded::Written } else { Encoded::Close }
}

/// An acknowledgement that says success and nothing else: four bytes in every version (MQTT 5 §3.4.2.1).
fn plain_acknowledgement(packet: &v5::Packet) -> Option<[u8; 4]> {
    let (first, id) = match packet {
        v5::Packet::PublishAck(ack) if is_plain(ack) => (0x40, ack.packet_id),
        v5::Packet::PublishReceived(ack) if is_plain(ack) => (0x50, ack.packet_id),
        v5::Packet::PublishRelease(ack) if is_plain2(ack) => (0x62, ack.packet_id),
        v5::Packet::PublishComplete(ack) if is_plain2(ack) => (0x70, ack.packet_id),
        _ => return None,
    };
    let [high, low] = id.get().to_be_bytes();
    Some([first, 2, high, low])
}

fn is_plain(ack: &v5::PublishAck) -> bool {
    ack.reason_code == v5::PublishAckReason::Success && ack.reason_string.is_none() && ack.properties.is_empty()
}

fn is_plain2(ack: &v5::PublishAck2) -> bool {
    ack.reason_code == v5::PublishAck2Reason::Success && ack.reason_string.is_none() && ack.properties.is_empty()
}

/// Removes the reason string and the user properties.
fn strip(packet: &mut v5::Packet) {
    let (reason, properties) = match packet {
        v5::Packet::ConnectAck(ack) => (&mut ack.reason_string, &mut ack.user_properties),
        v5::Packet::PublishAck(ack) | v5::Packet::PublishReceived(ack) => (&mut ack.reason_string, &mut ack.properties),
        v5::Packet::PublishRelease(ack) | v5::Packet::PublishComplete(ack) => {
            (&mut ack.reason_string, &mut ack.properties)
        }
        v5::Packet::SubscribeAck(ack) => (&mut ack.reason_string, &mut ack.properties),
        v5::Packet::UnsubscribeAck(ack) => (&mut ack.reason_string, &mut ack.properties),
        v5::Packet::Disconnect(disconnect) => (&mut disconnect.reason_string, &mut disconnect.user_properties),
        v5::Packet::Auth(auth) => (&mut auth.reason_string, &mut auth.user_properties),
        _ => return,
    };
    *reason = None;
    properties.clear();
}
