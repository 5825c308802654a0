//! A bounds-checked reader over the bytes of one packet: the data types of MQTT 5 §1.5, nothing else.

use super::fault::Fault;

/// Reads the data representations of MQTT from a byte slice, front to back.
///
/// Every read either consumes what it promises or returns a [`Fault`]; nothing panics, whatever the bytes are.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes have been consumed: the offset of the next read in the slice given to `new`.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(count).ok_or(ENDS_EARLY)?;
        let taken = self.bytes.get(self.at..end).ok_or(ENDS_EARLY)?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn two_bytes(&mut self) -> Result<u16, Fault> {
        let taken = self.take(2)?;
        Ok(u16::from_be_bytes([taken[0], taken[1]]))
    }

    pub(super) fn four_bytes(&mut self) -> Result<u32, Fault> {
        let taken = self.take(4)?;
        Ok(u32::from_be_bytes([taken[0], taken[1], taken[2], taken[3]]))
    }

    /// A variable byte integer: at most four bytes, and no longer than needed (MQTT-1.5.5-1).
    pub(super) fn variable(&mut self) -> Result<u32, Fault> {
        let mut value = 0u32;
        for place in 0..4 {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                if byte == 0 && place > 0 {
                    return Err(Fault::malformed("a variable byte integer is longer than it needs to be"));
                }
                return Ok(value);
            }
        }
        Err(Fault::malformed("a variable byte integer is longer than four bytes"))
    }

    pub(super) fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.two_bytes()?;
        self.take(usize::from(length))
    }

    /// A UTF-8 string: well formed (MQTT-1.5.4-1) and without U+0000 (MQTT-1.5.4-2).
    pub(super) fn text(&mut self) -> Result<&'a str, Fault> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| Fault::malformed("a string is not UTF-8"))?;
        if text.as_bytes().contains(&0) {
            return Err(Fault::malformed("a string contains the character U+0000"));
        }
        Ok(text)
    }

    /// Fails unless everything has been read.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        if self.is_empty() { Ok(()) } else { Err(Fault::malformed("the packet is longer than its contents")) }
    }
}

const ENDS_EARLY: Fault = Fault::malformed("the packet ends before its contents do");
