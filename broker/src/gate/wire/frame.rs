//! Cuts the byte stream into whole packets (MQTT 5 §2.1), under a limit that is known as soon as the header is.

use bytes::{Buf, BytesMut};

use super::fault::Fault;
use super::{Version, strict};

/// Spare bytes behind a frame: the codec asks for room to read the next header, which would allocate for nothing.
const SPARE: usize = 8;

/// One whole packet, fixed header included.
#[derive(Debug)]
pub struct Frame {
    pub(super) bytes: BytesMut,
    header: usize,
}

impl Frame {
    /// The first byte: packet type and flags.
    pub fn first(&self) -> u8 {
        self.bytes.first().copied().unwrap_or_default()
    }

    /// The size of the packet in bytes, fixed header included.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// What follows the fixed header.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.header..).unwrap_or_default()
    }

    pub(super) fn body_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.header..).unwrap_or_default()
    }
}

/// Takes the next whole packet from the front of `inbound`; `None` when more bytes are needed.
///
/// `limit` is the largest packet, fixed header included; a larger one is refused from its header, before its body is
/// collected. `version` is `None` until CONNECT has said it; then only CONNECT is let through.
/// When nothing is left in `inbound` it holds no memory afterwards.
pub fn next_frame(inbound: &mut BytesMut, limit: usize, version: Option<Version>) -> Result<Option<Frame>, Fault> {
    let Some(&first) = inbound.first() else {
        return Ok(None);
    };
    match version {
        Some(version) => strict::first_byte(first, version)?,
        None if super::opens_connect(first) => {}
        None => return Err(Fault::protocol("the first packet is not CONNECT")),
    }
    let Some((header, body)) = remaining_length(inbound.get(1..).unwrap_or_default())? else {
        return Ok(None);
    };
    let length = header + body;
    if length > limit {
        return Err(Fault::too_large("the packet is larger than this server accepts"));
    }
    if inbound.len() < length {
        return Ok(None);
    }
    let mut bytes = if inbound.len() == length {
        std::mem::take(inbound)
    } else if length * 2 > inbound.len() {
        inbound.split_to(length)
    } else {
        // A small packet gets memory of its own: a message that is kept must not keep its neighbours' bytes.
        let mut own = BytesMut::with_capacity(length + SPARE);
        own.extend_from_slice(inbound.get(..length).unwrap_or_default());
        inbound.advance(length);
        own
    };
    if version == Some(Version::V31) && first >> 4 != strict::kind::PUBLISH {
        // The codec speaks 3.1.1, which has no DUP here.
        bytes[0] = first & !0x08;
    }
    Ok(Some(Frame { bytes, header }))
}

/// The version of a CONNECT that has not arrived in full, so that its refusal can be told; `None` when it has not said.
pub fn peek_connect_version(inbound: &[u8]) -> Option<Version> {
    let first = *inbound.first()?;
    let (header, _) = remaining_length(inbound.get(1..)?).ok()??;
    super::connect_version(inbound.get(header..)?).ok().filter(|_| super::opens_connect(first))
}

/// Adds received bytes to `inbound`, with room so that decoding does not allocate again.
pub fn append(inbound: &mut BytesMut, received: &[u8]) {
    inbound.reserve(received.len() + SPARE);
    inbound.extend_from_slice(received);
}

/// The length of the fixed header and of the body; `None` when the length has not arrived in full.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Fault> {
    let mut value = 0usize;
    for (place, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            if *byte == 0 && place > 0 {
                return Err(Fault::malformed("the remaining length is longer than it needs to be"));
            }
            return Ok(Some((place + 2, value)));
        }
    }
    if bytes.len() >= 4 {
        return Err(Fault::malformed("the remaining length is longer than four bytes"));
    }
    Ok(None)
}
