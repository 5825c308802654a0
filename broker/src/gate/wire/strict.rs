//! The rules of MQTT 3.1.1 and 5 that the codec does not enforce, checked on the bytes of a whole packet before the
//! codec sees them. Each rule has its reason code here; the table in the tests names the requirement it protects.
//!
//! Two packets are legal but refused by the codec; they are amended in place to what they mean:
//! a message expiry interval of 0 (becomes 1 s), and in MQTT 5 an empty client id without clean start (the identifier
//! that the server assigns has no session, so clean start is what it means).

use super::Version;
use super::fault::Fault;
use super::properties::{self, Place};
use super::reader::Reader;

/// Packet types: the upper four bits of the first byte.
pub(super) mod kind {
    pub(crate) const CONNECT: u8 = 1;
    pub(crate) const CONNACK: u8 = 2;
    pub(crate) const PUBLISH: u8 = 3;
    pub(crate) const PUBACK: u8 = 4;
    pub(crate) const PUBREC: u8 = 5;
    pub(crate) const PUBREL: u8 = 6;
    pub(crate) const PUBCOMP: u8 = 7;
    pub(crate) const SUBSCRIBE: u8 = 8;
    pub(crate) const SUBACK: u8 = 9;
    pub(crate) const UNSUBSCRIBE: u8 = 10;
    pub(crate) const UNSUBACK: u8 = 11;
    pub(crate) const PINGREQ: u8 = 12;
    pub(crate) const PINGRESP: u8 = 13;
    pub(crate) const DISCONNECT: u8 = 14;
    pub(crate) const AUTH: u8 = 15;
}

/// Checks the first byte of a packet from a client: its type and its reserved flags (MQTT-2.1.3-1).
pub(super) fn first_byte(first: u8, version: Version) -> Result<(), Fault> {
    // MQTT 3.1 sets DUP on repeated PUBREL, SUBSCRIBE and UNSUBSCRIBE.
    let repeatable = version == Version::V31 && first >> 4 != kind::PUBLISH;
    let flags = first & if repeatable { 0x07 } else { 0x0F };
    let expected = match first >> 4 {
        kind::PUBLISH => {
            if flags & 0b0110 == 0b0110 {
                return Err(Fault::malformed("PUBLISH with QoS 3"));
            }
            if flags & 0b1110 == 0b1000 {
                return Err(Fault::malformed("PUBLISH with QoS 0 and DUP"));
            }
            return Ok(());
        }
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => 0b0010,
        kind::CONNACK | kind::SUBACK | kind::UNSUBACK | kind::PINGRESP => {
            return Err(Fault::protocol("a packet type that only a server may send"));
        }
        kind::AUTH if version != Version::V5 => {
            return Err(Fault::malformed("packet type 15 is reserved"));
        }
        0 => return Err(Fault::malformed("packet type 0 is reserved")),
        _ => 0,
    };
    if flags == expected { Ok(()) } else { Err(Fault::malformed("the reserved flags of the fixed header are wrong")) }
}

/// Checks a whole packet other than CONNECT. `body` is what follows the fixed header.
pub(super) fn packet(first: u8, body: &mut [u8], version: Version) -> Result<(), Fault> {
    first_byte(first, version)?;
    let five = version == Version::V5;
    match first >> 4 {
        kind::PUBLISH => publish(first, body, five),
        kind::PUBACK | kind::PUBREC | kind::PUBREL | kind::PUBCOMP => acknowledgement(body, five),
        kind::SUBSCRIBE => subscribe(body, five),
        kind::UNSUBSCRIBE => unsubscribe(body, five),
        kind::PINGREQ => Reader::new(body).finish(),
        kind::DISCONNECT => disconnect(body, five),
        kind::AUTH => auth(body),
        _ => Err(Fault::protocol("a second CONNECT")),
    }
}

/// Checks a topic name that a client publishes to.
fn topic_name(topic: &str) -> Result<(), Fault> {
    if topic.contains(['+', '#']) {
        return Err(Fault::topic_name("the topic name contains a wildcard"));
    }
    Ok(())
}

fn packet_id(reader: &mut Reader<'_>) -> Result<(), Fault> {
    if reader.two_bytes()? == 0 {
        return Err(Fault::protocol("packet identifier 0"));
    }
    Ok(())
}

fn publish(first: u8, body: &mut [u8], five: bool) -> Result<(), Fault> {
    let mut reader = Reader::new(body);
    let topic = reader.text()?;
    topic_name(topic)?;
    if first & 0b0110 != 0 {
        packet_id(&mut reader)?;
    }
    if !five {
        if topic.is_empty() {
            return Err(Fault::topic_name("the topic name is empty"));
        }
        return Ok(());
    }
    let empty = topic.is_empty();
    let seen = properties::check(&mut reader, Place::Publish)?;
    if empty && !seen.topic_alias {
        return Err(Fault::protocol("the topic name is empty and there is no topic alias"));
    }
    amend_expiry(body, seen.zero_expiry_at);
    Ok(())
}

/// 0 seconds becomes 1 second: the codec has no zero, and a message that expires at once would never be delivered.
fn amend_expiry(body: &mut [u8], at: Option<usize>) {
    if let Some(last) = at.and_then(|at| body.get_mut(at + 3)) {
        *last = 1;
    }
}

fn acknowledgement(body: &[u8], five: bool) -> Result<(), Fault> {
    let mut reader = Reader::new(body);
    packet_id(&mut reader)?;
    if five && !reader.is_empty() {
        reader.byte()?;
        if !reader.is_empty() {
            properties::check(&mut reader, Place::Acknowledgement)?;
        }
    }
    reader.finish()
}

fn subscribe(body: &[u8], five: bool) -> Result<(), Fault> {
    let mut reader = Reader::new(body);
    packet_id(&mut reader)?;
    if five {
        properties::check(&mut reader, Place::Subscribe)?;
    }
    if reader.is_empty() {
        return Err(Fault::protocol("SUBSCRIBE without a topic filter"));
    }
    while !reader.is_empty() {
        let filter = reader.text()?;
        let options = reader.byte()?;
        if options & if five { 0xC0 } else { 0xFC } != 0 {
            return Err(Fault::malformed("the reserved bits of the subscription options are set"));
        }
        if options & 0x03 == 3 {
            return Err(Fault::protocol("SUBSCRIBE with QoS 3"));
        }
        if options & 0x30 == 0x30 {
            return Err(Fault::protocol("retain handling 3"));
        }
        if options & 0x04 != 0 && filter.starts_with("$share/") {
            return Err(Fault::protocol("no local on a shared subscription"));
        }
    }
    Ok(())
}

fn unsubscribe(body: &[u8], five: bool) -> Result<(), Fault> {
    let mut reader = Reader::new(body);
    packet_id(&mut reader)?;
    if five {
        properties::check(&mut reader, Place::Unsubscribe)?;
    }
    if reader.is_empty() {
        return Err(Fault::protocol("UNSUBSCRIBE without a topic filter"));
    }
    while !reader.is_empty() {
        reader.text()?;
    }
    Ok(())
}

fn disconnect(body: &[u8], five: bool) -> Result<(), Fault> {
    let mut reader = Reader::new(body);
    if five && !reader.is_empty() {
        // The codes that a client may send (MQTT 5 §3.14.2.1).
        if !matches!(reader.byte()?, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99) {
            return Err(Fault::protocol("DISCONNECT with a reason code that a client may not send"));
        }
        if !reader.is_empty() {
            properties::check(&mut reader, Place::Disconnect)?;
        }
    }
    reader.finish()
}

fn auth(body: &[u8]) -> Result<(), Fault> {
    let mut reader = Reader::new(body);
    if !reader.is_empty() {
        reader.byte()?;
        if !reader.is_empty() {
            properties::check(&mut reader, Place::Auth)?;
        }
    }
    reader.finish()
}

/// Connect flags (MQTT 5 §3.1.2.3).
const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

/// Checks a whole CONNECT. `body` starts with the protocol name, which [`super::connect_version`] has read already.
pub(super) fn connect(body: &mut [u8], version: Version) -> Result<(), Fault> {
    let five = version == Version::V5;
    let mut reader = Reader::new(body);
    reader.binary()?;
    reader.byte()?;
    let flags_at = reader.position();
    let flags = reader.byte()?;
    reader.two_bytes()?; // keep alive: every value is legal
    connect_flags(flags, five)?;
    let mut zero_expiry_at = None;
    if five {
        let seen = properties::check(&mut reader, Place::Connect)?;
        if seen.authentication_data && !seen.authentication_method {
            return Err(Fault::protocol("authentication data without an authentication method"));
        }
    }
    let client_id_is_empty = reader.text()?.is_empty();
    if flags & WILL != 0 {
        if five {
            zero_expiry_at = properties::check(&mut reader, Place::Will)?.zero_expiry_at;
        }
        let topic = reader.text()?;
        topic_name(topic)?;
        if topic.is_empty() {
            return Err(Fault::topic_name("the will topic is empty"));
        }
        reader.binary()?;
    }
    if flags & USER_NAME != 0 {
        reader.text()?;
    }
    if flags & PASSWORD != 0 {
        reader.binary()?;
    }
    reader.finish()?;
    amend_expiry(body, zero_expiry_at);
    if client_id_is_empty && flags & CLEAN_START == 0 {
        if !five {
            // MQTT-3.1.3-8 of 3.1.1.
            return Err(Fault::client_id("an empty client id needs clean session 1"));
        }
        body[flags_at] |= CLEAN_START;
    }
    Ok(())
}

fn connect_flags(flags: u8, five: bool) -> Result<(), Fault> {
    if flags & RESERVED != 0 {
        return Err(Fault::malformed("the reserved connect flag is set"));
    }
    let will_qos = (flags >> 3) & 0x03;
    if will_qos == 3 {
        return Err(Fault::malformed("will QoS 3"));
    }
    if flags & WILL == 0 && (will_qos != 0 || flags & 0x20 != 0) {
        return Err(Fault::malformed("will QoS or will retain without a will"));
    }
    if !five && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(Fault::malformed("a password without a user name"));
    }
    Ok(())
}
