//! Times as other systems write them.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The largest numbers (in years: 5138) of seconds, milliseconds, microseconds and nanoseconds since 1970; a smaller one of the
/// next unit would be before 1974.
const SECONDS_BELOW: i64 = 100_000_000_000;

/// Milliseconds since 1970 (UTC) from a number of seconds, or of thousandths, millionths or billionths of one, or from a text
/// such as `2026-11-21T20:00:00Z`; without a zone it is UTC.
pub(super) fn moment(value: &Value) -> Option<i64> {
    match value {
        Value::Number(found) => number(found.as_i64()?),
        Value::String(text) => match text.trim().parse::<i64>() {
            Ok(found) => number(found),
            Err(_) => {
                let time = OffsetDateTime::parse(&complete(text.trim())?, &Rfc3339).ok()?;
                i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok().filter(|ms| *ms >= 0)
            }
        },
        _ => None,
    }
}

fn number(number: i64) -> Option<i64> {
    match number {
        ..0 => None,
        0..SECONDS_BELOW => Some(number * 1000),
        _ if number < SECONDS_BELOW * 1000 => Some(number),
        _ if number < SECONDS_BELOW * 1_000_000 => Some(number / 1000),
        _ => Some(number / 1_000_000),
    }
}

/// As databases write it, with a space and a short zone or none, in RFC 3339's form.
fn complete(text: &str) -> Option<String> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let time = time.trim();
    let Some(at) = time.find(['+', '-']) else {
        let clock = time.strip_suffix(['Z', 'z']).or_else(|| time.strip_suffix("UTC")).unwrap_or(time);
        return Some(format!("{date}T{}Z", clock.trim()));
    };
    let (clock, zone) = time.split_at_checked(at)?;
    let zone = match zone.len() {
        3 => format!("{zone}:00"),
        5 if !zone.contains(':') => format!("{}:{}", zone.get(..3)?, zone.get(3..)?),
        _ => zone.to_owned(),
    };
    Some(format!("{date}T{}{zone}", clock.trim()))
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
            (json!("2026-11-21 20:00:00"), Some(1_795_291_200_000)),
            (json!("2026-11-21 20:00:00+00"), Some(1_795_291_200_000)),
            (json!("2026-11-21 20:00:00.5+0100"), Some(1_795_287_600_500)),
            (json!("2026-11-21T20:00:00.123456"), Some(1_795_291_200_123)),
            (json!("2026-11-21 20:00:00 UTC"), Some(1_795_291_200_000)),
            (json!("2026-11-21 15:00:00 -05:00"), Some(1_795_291_200_000)),
            (json!(1_790_000_000_123_456_i64), Some(1_790_000_000_123)),
            (json!("1790000000123456789"), Some(1_790_000_000_123)),
            (json!("yesterday"), None),
            (json!("2026-11-21"), None),
            (json!(-5), None),
            (json!("1960-01-01T00:00:00Z"), None),
            (json!(null), None),
            (json!(1.5), None),
        ] {
            assert_eq!(moment(&value), ms, "{value}");
        }
    }
}
