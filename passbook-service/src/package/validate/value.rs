//! The written forms of single values: colours and dates.

use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

/// What a date must look like.
pub(super) const DATE_RULE: &str =
    "a date is written 2026-04-30T18:05+02:00 or 2026-04-30T16:05:00Z: day, time and zone (ISO 8601)";

/// `rgb(R, G, B)` with numbers from 0 to 255.
pub(super) fn is_colour(text: &str) -> bool {
    let Some(inside) = text.trim().strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')')) else { return false };
    let parts: Vec<_> = inside.split(',').map(str::trim).collect();
    parts.len() == 3 && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u8>().is_ok())
}

/// A complete date with time and zone.
pub(super) fn is_date(text: &str) -> bool {
    // `time` reads more than Apple does (week dates, missing zones); the shape is checked first.
    let shape: Vec<char> = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let shape: String = shape.into_iter().collect();
    let Some(rest) = shape.strip_prefix("0000-00-00T00:00") else { return false };
    let rest = rest.strip_prefix(":00").unwrap_or(rest);
    let rest = rest.strip_prefix('.').map_or(rest, |rest| rest.trim_start_matches('0'));
    matches!(rest, "Z" | "+00:00" | "-00:00" | "+0000" | "-0000")
        && OffsetDateTime::parse(&with_colon(text), &Iso8601::PARSING).is_ok()
}

/// A zone `+0200` as `+02:00`: Apple reads both, parsers and Google want one style throughout.
pub(crate) fn with_colon(text: &str) -> String {
    let zone = text.len().checked_sub(5).and_then(|at| text.split_at_checked(at));
    match zone {
        Some((time, zone)) if time.contains('T') && zone.is_ascii() && zone.starts_with(['+', '-']) => {
            let (hours, minutes) = zone.split_at(3);
            format!("{time}{hours}:{minutes}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours() {
        for good in ["rgb(0,0,0)", "rgb(255, 10, 110)", " rgb( 1 , 2 , 3 ) "] {
            assert!(is_colour(good), "{good}");
        }
        for bad in [
            "",
            "#ff0000",
            "rgb(256,0,0)",
            "rgb(1,2)",
            "rgb(-1,2,3)",
            "rgb(+1,2,3)",
            "rgb(1,2,3",
            "rgba(1,2,3,4)",
            "rgb(,,)",
        ] {
            assert!(!is_colour(bad), "{bad}");
        }
    }

    #[test]
    fn dates() {
        for good in
            ["2026-04-30T18:05Z", "2026-04-30T18:05+02:00", "2026-04-30T18:05:09-0800", "2026-02-28T23:59:59.123Z"]
        {
            assert!(is_date(good), "{good}");
        }
        for bad in [
            "",
            "2026-04-30",
            "2026-04-30T18:05",
            "30.04.2026",
            "2026-13-30T18:05Z",
            "2026-02-30T18:05Z",
            "2026-04-30 18:05Z",
            "1777572300",
        ] {
            assert!(!is_date(bad), "{bad}");
        }
    }
}
