//! The property table of MQTT 5 §2.2.2.2, as far as a client may send properties, and its checker.
//!
//! The codec accepts properties more freely than the specification: it does not look for U+0000, lets a client send
//! subscription identifiers in PUBLISH, and answers several rules with one error. This table is checked first.

use super::fault::Fault;
use super::reader::Reader;

/// Where a property list stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Connect,
    Will,
    Publish,
    Acknowledgement,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Auth,
}

/// What a property list held that the caller has to act on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) topic_alias: bool,
    pub(super) authentication_method: bool,
    pub(super) authentication_data: bool,
    /// Offset, within the packet, of a message expiry interval of zero.
    pub(super) zero_expiry_at: Option<usize>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// One byte that is 0 or 1.
    Flag,
    TwoBytes,
    FourBytes,
    Variable,
    Text,
    Topic,
    Binary,
    Pair,
}

/// The rule for one property identifier: its data type and where a client may send it.
fn rule(identifier: u32) -> Option<(Kind, &'static [Place])> {
    use Place::{Acknowledgement, Auth, Connect, Disconnect, Publish, Subscribe, Unsubscribe, Will};
    const MESSAGE: &[Place] = &[Publish, Will];
    Some(match identifier {
        0x01 => (Kind::Flag, MESSAGE),
        0x02 => (Kind::FourBytes, MESSAGE),
        0x03 => (Kind::Text, MESSAGE),
        0x08 => (Kind::Topic, MESSAGE),
        0x09 => (Kind::Binary, MESSAGE),
        0x0B => (Kind::Variable, &[Subscribe]),
        0x11 => (Kind::FourBytes, &[Connect, Disconnect]),
        0x15 => (Kind::Text, &[Connect, Auth]),
        0x16 => (Kind::Binary, &[Connect, Auth]),
        0x17 | 0x19 => (Kind::Flag, &[Connect]),
        0x18 => (Kind::FourBytes, &[Will]),
        0x1F => (Kind::Text, &[Acknowledgement, Disconnect, Auth]),
        0x21 | 0x22 => (Kind::TwoBytes, &[Connect]),
        0x23 => (Kind::TwoBytes, &[Publish]),
        0x26 => (Kind::Pair, &[Connect, Will, Publish, Acknowledgement, Subscribe, Unsubscribe, Disconnect, Auth]),
        0x27 => (Kind::FourBytes, &[Connect]),
        _ => return None,
    })
}

/// Reads and checks one property list, its length included.
pub(super) fn check(reader: &mut Reader<'_>, place: Place) -> Result<Seen, Fault> {
    let length = reader.variable()? as usize;
    let start = reader.position();
    let mut list = Reader::new(reader.take(length)?);
    let mut seen = Seen::default();
    let mut met = 0u64;
    while !list.is_empty() {
        let identifier = list.variable()?;
        let Some((kind, places)) = rule(identifier) else {
            return Err(match identifier {
                0x12 | 0x13 | 0x1A | 0x1C | 0x24 | 0x25 | 0x28..=0x2A => {
                    Fault::protocol("a property that only a server may send")
                }
                _ => Fault::malformed("an unknown property identifier"),
            });
        };
        if !places.contains(&place) {
            return Err(if identifier == 0x0B && place == Place::Publish {
                Fault::protocol("a client's PUBLISH carries a subscription identifier")
            } else {
                Fault::malformed("a property that this packet type cannot carry")
            });
        }
        // Only the user property may stand more than once; identifiers in the table are below 64.
        if identifier != 0x26 && met & (1 << identifier) != 0 {
            return Err(Fault::protocol("a property that may stand once stands twice"));
        }
        met |= 1 << identifier;
        value(&mut list, identifier, kind, start, &mut seen)?;
    }
    Ok(seen)
}

fn value(list: &mut Reader<'_>, identifier: u32, kind: Kind, start: usize, seen: &mut Seen) -> Result<(), Fault> {
    match kind {
        Kind::Flag => {
            if list.byte()? > 1 {
                return Err(Fault::protocol("a property that may be 0 or 1 has another value"));
            }
        }
        Kind::TwoBytes => {
            let value = list.two_bytes()?;
            if identifier == 0x23 {
                seen.topic_alias = true;
                if value == 0 {
                    return Err(Fault::topic_alias("topic alias 0"));
                }
            }
            if identifier == 0x21 && value == 0 {
                return Err(Fault::protocol("receive maximum 0"));
            }
        }
        Kind::FourBytes => {
            let at = start + list.position();
            let value = list.four_bytes()?;
            if identifier == 0x27 && value == 0 {
                return Err(Fault::protocol("maximum packet size 0"));
            }
            if identifier == 0x02 && value == 0 {
                seen.zero_expiry_at = Some(at);
            }
        }
        Kind::Variable => {
            if list.variable()? == 0 {
                return Err(Fault::protocol("subscription identifier 0"));
            }
        }
        Kind::Text => {
            list.text()?;
            seen.authentication_method |= identifier == 0x15;
        }
        Kind::Topic => {
            let topic = list.text()?;
            if topic.is_empty() || topic.contains(['+', '#']) {
                return Err(Fault::topic_name("the response topic is empty or contains a wildcard"));
            }
        }
        Kind::Binary => {
            list.binary()?;
            seen.authentication_data |= identifier == 0x16;
        }
        Kind::Pair => {
            list.text()?;
            list.text()?;
        }
    }
    Ok(())
}
