//! How long a notification is worth sending.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a notification is worth sending: a whole number with `ms`, `s`, `m`, `h` or `d`, for example `"1h"`;
/// 28 days at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ttl(u64);

impl Ttl {
    /// The longest that both providers keep a message.
    pub const MAX: Duration = Duration::from_secs(2_419_200);

    /// A time to live, cut to [`Ttl::MAX`].
    #[must_use]
    pub fn new(time: Duration) -> Self {
        Self(u64::try_from(time.min(Self::MAX).as_millis()).unwrap_or(u64::MAX))
    }

    /// As milliseconds.
    #[must_use]
    pub fn as_ms(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl TryFrom<String> for Ttl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refused = || {
            format!(
                "a time to live is a whole number with ms, s, m, h or d, from 0s to 28d, for example \"1h\"; found \"{text}\""
            )
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refused()),
        };
        let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(refused)?;
        if u128::from(ms) > Self::MAX.as_millis() {
            return Err(refused());
        }
        Ok(Self(ms))
    }
}

impl From<Ttl> for String {
    fn from(ttl: Ttl) -> Self {
        if ttl.0.is_multiple_of(1000) { format!("{}s", ttl.0 / 1000) } else { format!("{}ms", ttl.0) }
    }
}

impl utoipa::PartialSchema for Ttl {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .pattern(Some("^[0-9]+(ms|s|m|h|d)$"))
            .description(Some("A whole number with ms, s, m, h or d; 28d at most."))
            .examples(["1h"])
            .into()
    }
}

impl utoipa::ToSchema for Ttl {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_has_a_unit_and_an_end() {
        let ms = |text: &str| Ttl::try_from(text.to_owned()).map(Ttl::as_ms);
        assert_eq!(ms("90s"), Ok(90_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        assert_eq!(ms("28d"), Ok(2_419_200_000));
        for wrong in ["", "1", "h", "-1s", "29d", "1.5h", "99999999999999999999d", "1 h"] {
            assert!(ms(wrong).unwrap_err().contains("28d"), "{wrong}");
        }
    }
}
