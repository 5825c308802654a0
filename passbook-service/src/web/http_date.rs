//! HTTP dates (RFC 9110, 5.6.7): whole seconds, always GMT.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const IMF: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// Seconds since 1970 as a header value.
pub(super) fn text(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(IMF).ok()).unwrap_or_default()
}

/// A header value as seconds since 1970.
pub(super) fn parse(text: &str) -> Option<i64> {
    time::PrimitiveDateTime::parse(text.trim(), IMF).ok().map(|time| time.assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_back() {
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for wrong in ["", "yesterday", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
