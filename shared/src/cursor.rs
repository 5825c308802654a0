//! The place of a reader in the message log, as text on every door: the MQTT 5 user property `cursor`,
//! the long-poll `ETag` and the SSE `Last-Event-ID`.

use std::fmt;
use std::str::FromStr;

/// `EPOCH-OFFSET`: the epoch (16 hex digits) names one life of a log, the offset (decimal) a message in it.
///
/// A cursor of another epoch cannot be resumed: the reader gets what is kept and `recovered: false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Which log: random, made when the log was created.
    pub epoch: u64,
    /// The last message that was read; 0 is before the first.
    pub offset: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.offset)
    }
}

/// A text that is not a cursor.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a cursor: expected 16 hexadecimal digits, a hyphen and a decimal number")]
pub struct InvalidCursor(String);

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let invalid = || InvalidCursor(text.chars().take(64).collect());
        let (epoch, offset) = text.split_once('-').ok_or_else(invalid)?;
        if epoch.len() != 16 || !epoch.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        if offset.is_empty() || !offset.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        Ok(Self {
            epoch: u64::from_str_radix(epoch, 16).map_err(|_| invalid())?,
            offset: offset.parse().map_err(|_| invalid())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_round_trips(epoch: u64, offset: u64) {
            let cursor = Cursor { epoch, offset };
            prop_assert_eq!(cursor.to_string().parse::<Cursor>(), Ok(cursor));
        }

        #[test]
        fn any_text_is_answered_without_panic(text: String) {
            let _ = text.parse::<Cursor>();
        }
    }

    #[test]
    fn near_misses_are_refused() {
        for text in [
            "",
            "-",
            "0-1",
            "0000000000000001-",
            "0000000000000001-+1",
            "000000000000000g-1",
            "0000000000000001-99999999999999999999999",
        ] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
