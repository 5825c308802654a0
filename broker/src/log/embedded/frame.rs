//! Frames: how a file holds a sequence of byte strings so that a reader knows which of them are whole.
//!
//! `salt (4) | length (4) | crc32c of salt, length and body (4) | body`, numbers little-endian. The salt makes it
//! possible to find the next whole frame behind damage, and impossible for a payload to contain one.
//!
//! Behind the last frame there may be zeros: room that was reserved and is not used yet.

/// Bytes of a frame besides its body.
pub(super) const OVERHEAD: usize = 12;

/// Writes one frame whose body `fill` appends.
pub(super) fn write<E>(
    out: &mut Vec<u8>,
    salt: u32,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(&[0; OVERHEAD]);
    if let Err(error) = fill(out) {
        out.truncate(start);
        return Err(error);
    }
    let length = u32::try_from(out.len() - start - OVERHEAD).unwrap_or(u32::MAX);
    let check = checksum(salt, length, &out[start + OVERHEAD..]);
    out[start..start + 4].copy_from_slice(&salt.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    out[start + 8..start + 12].copy_from_slice(&check.to_le_bytes());
    Ok(())
}

/// The body of the frame that begins at the first byte, when it is whole.
pub(super) fn body(bytes: &[u8], salt: u32) -> Option<&[u8]> {
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    if word(0)? != salt {
        return None;
    }
    let length = word(4)?;
    let body = bytes.get(OVERHEAD..OVERHEAD.checked_add(usize::try_from(length).ok()?)?)?;
    (checksum(salt, length, body) == word(8)?).then_some(body)
}

/// How long the frame that begins at the first byte says it is, with its own bytes.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    usize::try_from(length).ok()?.checked_add(OVERHEAD)
}

/// The salt with which a whole frame begins at the first byte, whatever it is.
pub(super) fn salt(bytes: &[u8]) -> Option<u32> {
    let salt = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    body(bytes, salt).map(|_| salt)
}

fn checksum(salt: u32, length: u32, body: &[u8]) -> u32 {
    let check = crc32c::crc32c(&salt.to_le_bytes());
    let check = crc32c::crc32c_append(check, &length.to_le_bytes());
    crc32c::crc32c_append(check, body)
}

/// What a file holds, piece by piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A whole frame from byte `at` to byte `end`.
    Frame { at: usize, end: usize, body: &'a [u8] },
    /// Bytes that are no frame; as the last piece, the tail of the file (without the zeros behind it).
    Damage { at: usize, end: usize },
}

/// Reads pieces from `at` on.
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    salt: u32,
    at: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8], salt: u32, at: usize) -> Self {
        Self { bytes, salt, at }
    }

    fn next_frame(&self) -> usize {
        let mark = self.salt.to_le_bytes();
        let mut at = self.at + 1;
        while let Some(found) = self.bytes.get(at..).and_then(|rest| rest.windows(4).position(|window| window == mark))
        {
            at += found;
            if body(&self.bytes[at..], self.salt).is_some() {
                return at;
            }
            at += 1;
        }
        self.used()
    }

    /// Where the zeros begin that reach to the end, or where this scan is when that is later.
    fn used(&self) -> usize {
        self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).max(self.at)
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let at = self.at;
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        if let Some(body) = body(rest, self.salt) {
            self.at = at + OVERHEAD + body.len();
            return Some(Piece::Frame { at, end: self.at, body });
        }
        if self.used() == at {
            return None;
        }
        self.at = self.next_frame();
        Some(Piece::Damage { at, end: self.at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(bodies: &[Vec<u8>], salt: u32) -> Vec<u8> {
        let mut out = Vec::new();
        for body in bodies {
            write::<()>(&mut out, salt, |out| {
                out.extend_from_slice(body);
                Ok(())
            })
            .unwrap();
        }
        out
    }

    proptest! {
        #[test]
        fn what_is_written_is_scanned(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10), salt: u32) {
            let bytes = frames(&bodies, salt);
            let found: Vec<Vec<u8>> = Scan::new(&bytes, salt, 0)
                .map(|piece| match piece {
                    Piece::Frame { body, .. } => body.to_vec(),
                    Piece::Damage { .. } => panic!("undamaged"),
                })
                .collect();
            prop_assert_eq!(found, bodies);
        }

        #[test]
        fn damage_costs_the_frame_it_hits_and_no_other(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..10), salt: u32, at: prop::sample::Index, flip in 1_u8..) {
            let mut bytes = frames(&bodies, salt);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let found = Scan::new(&bytes, salt, 0).filter(|piece| matches!(piece, Piece::Frame { .. })).count();
            prop_assert_eq!(found, bodies.len() - 1);
        }

        #[test]
        fn any_bytes_are_scanned_to_their_end(bytes: Vec<u8>, salt: u32) {
            let mut reached = 0;
            for piece in Scan::new(&bytes, salt, 0) {
                let (Piece::Frame { at, end, .. } | Piece::Damage { at, end }) = piece;
                prop_assert_eq!(at, reached);
                reached = end;
            }
            prop_assert!(bytes[reached..].iter().all(|byte| *byte == 0));
        }

        #[test]
        fn room_behind_the_last_frame_is_no_damage(bodies in prop::collection::vec(prop::collection::vec(0_u8..2, 0..50), 0..10), salt: u32, room in 0_usize..100, torn in 0_usize..30) {
            let whole = frames(&bodies, salt);
            let mut bytes = whole.clone();
            bytes.resize(whole.len() + room, 0);
            let pieces: Vec<_> = Scan::new(&bytes, salt, 0).collect();
            prop_assert_eq!(pieces.len(), bodies.len());
            // A write that was cut off in the middle, and the room behind it.
            let mut bytes = whole.clone();
            let next = frames(&[vec![7; 30]], salt);
            bytes.extend_from_slice(&next[..torn]);
            bytes.resize(bytes.len() + room, 0);
            let pieces: Vec<_> = Scan::new(&bytes, salt, 0).collect();
            prop_assert_eq!(pieces.iter().filter(|piece| matches!(piece, Piece::Frame { .. })).count(), bodies.len());
            prop_assert!(pieces.len() <= bodies.len() + 1);
        }
    }
}
