//! Times as other systems write them.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Numbers below this are seconds since 1970, others milliseconds: it is the year 5138 in the one and 1973 in the other.
const SECONDS_BELOW: i64 = 100_000_000_000;

/// Milliseconds since 1970 (UTC) from a number of seconds or milliseconds, or from a text such as
/// `2026-11-21T20:00:00Z`.
pub(super) fn moment(value: &Value) -> Option<i64> {
    let number = |number: i64| match number {
        0.. if number < SECONDS_BELOW => Some(number * 1000),
        0.. => Some(number),
        _ => None,
    };
    match value {
        Value::Number(found) => number(found.as_i64()?),
        Value::String(text) => match text.trim().parse::<i64>() {
            Ok(found) => number(found),
            Err(_) => {
                let time = OffsetDateTime::parse(&text.trim().replacen(' ', "T", 1), &Rfc3339).ok()?;
                i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok().filter(|ms| *ms >= 0)
            }
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_read_in_every_usual_form() {
        for (value, ms) in [
            (json!(1_790_000_000), Some(1_790_000_000_000)),
            (json!(1_790_000_000_123_i64), Some(1_790_000_000_123)),
            (json!("1790000000"), Some(1_790_000_000_000)),
            (json!("2026-11-21T20:00:00Z"), Some(1_795_291_200_000)),
            (json!("2026-11-21 20:00:00+01:00"), Some(1_795_287_600_000)),
            (json!("yesterday"), None),
            (json!(-5), None),
            (json!("1960-01-01T00:00:00Z"), None),
            (json!(null), None),
            (json!(1.5), None),
        ] {
            assert_eq!(moment(&value), ms, "{value}");
        }
    }
}
