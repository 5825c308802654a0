//! When a notification is sent, before or behind what else, and what keeps it from being sent twice.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Ttl;

/// Which pushes of an app go first. Each class also keeps slots that those below it never take, so that a campaign
/// under way holds up no alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// A person waits for it: a message, a code, a call.
    High,
    /// Everything else.
    #[default]
    Normal,
    /// A campaign: sent with what the others leave.
    Bulk,
}

impl Priority {
    /// All of them, the first to go first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Bulk];

    /// Its number in the database: the lower, the earlier.
    #[must_use]
    pub fn rank(self) -> usize {
        self as usize
    }

    /// The class with this number.
    #[must_use]
    pub fn from_rank(rank: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(rank).ok()?).copied()
    }
}

/// When a notification may be sent at the earliest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value", into = "serde_json::Value")]
pub enum NotBefore {
    /// The same moment for everybody, in milliseconds since 1970.
    At(i64),
    /// A time on the clock where each device is.
    Local(LocalTime),
}

/// A time on the clock of each device's own time zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalTime {
    /// `HH:MM` or `HH:MM:SS`.
    local: String,
    /// `YYYY-MM-DD`; without it, the next time that the clock shows `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    date: Option<String>,
    /// The zone (IANA) of devices that have told none; the gateway's `push.time_zone` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

/// The longest that a notification may wait for its time, in milliseconds.
pub const LONGEST_WAIT_MS: i64 = 366 * 86_400_000;

impl LocalTime {
    /// The moment for a device in `zone`, in milliseconds since 1970. Where the clock is put forward over the time,
    /// the moment lies as much later as the clock jumps (02:30 becomes 03:30); where the clock shows the time twice,
    /// it is the first one. Without a date it is the next such moment after `now_ms`; with a date it may have passed.
    #[must_use]
    pub fn moment(&self, zone: &TimeZone, now_ms: i64) -> i64 {
        let (Ok(time), Ok(now)) = (time(&self.local), jiff::Timestamp::from_millisecond(now_ms)) else { return now_ms };
        let at = |date: Date| {
            // «compatible»: later in a gap, earlier in an overlap, as RFC 5545 has it.
            let moment = zone.to_ambiguous_timestamp(date.to_datetime(time)).compatible();
            moment.map_or(now_ms, jiff::Timestamp::as_millisecond)
        };
        if let Some(date) = self.date.as_deref().and_then(|date| date.parse().ok()) {
            return at(date);
        }
        let today = now.to_zoned(zone.clone()).date();
        let moment = at(today);
        if moment >= now_ms { moment } else { today.tomorrow().map_or(now_ms, at) }
    }

    /// The zone of devices without one, when the request names it.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }
}

fn time(text: &str) -> Result<Time, String> {
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split(':').collect();
    let refused = || format!("`local` is a time of day, HH:MM or HH:MM:SS, for example \"09:00\"; found \"{text}\"");
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(|part| digits(part)) {
        return Err(refused());
    }
    let number = |part: Option<&&str>| part.map_or(Ok(0), |part| part.parse::<i8>()).map_err(|_| refused());
    Time::new(number(parts.first())?, number(parts.get(1))?, number(parts.get(2))?, 0).map_err(|_| refused())
}

/// Whether a name is one of the IANA time zone database, for example `Europe/Berlin`.
///
/// # Errors
/// The text says what was found and what is wanted.
pub fn check_time_zone(name: &str) -> Result<(), String> {
    time_zone(name).map(|_| ())
}

/// The time zone of an IANA name.
///
/// # Errors
/// The text says what was found and what is wanted.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    let refused =
        || format!("a time zone is a name of the IANA database, for example \"Europe/Berlin\"; found \"{name}\"");
    if name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refused());
    }
    TimeZone::get(name).map_err(|_| refused())
}

impl TryFrom<serde_json::Value> for NotBefore {
    type Error = String;

    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        const FORMS: &str = "`not_before` is a time in milliseconds since 1970, a time such as \
            \"2026-12-01T09:00:00Z\", or {\"local\":\"09:00\"} with or without \"date\" and \"zone\"";
        match value {
            serde_json::Value::Number(number) => {
                let ms = number.as_i64().filter(|ms| (0..=253_402_300_799_999).contains(ms));
                ms.map(Self::At).ok_or_else(|| format!("{FORMS}; found {number}"))
            }
            serde_json::Value::String(text) => {
                let moment = text.parse::<jiff::Timestamp>().map_err(|_| format!("{FORMS}; found \"{text}\""))?;
                Ok(Self::At(moment.as_millisecond()))
            }
            value @ serde_json::Value::Object(_) => {
                let local: LocalTime = serde_json::from_value(value).map_err(|error| format!("{FORMS}: {error}"))?;
                time(&local.local)?;
                if let Some(date) = &local.date {
                    let refused = || format!("`date` is YYYY-MM-DD, for example \"2026-12-01\"; found \"{date}\"");
                    if date.len() != 10 || date.parse::<Date>().is_err() {
                        return Err(refused());
                    }
                }
                local.zone.as_deref().map_or(Ok(()), check_time_zone)?;
                Ok(Self::Local(local))
            }
            other => Err(format!("{FORMS}; found {other}")),
        }
    }
}

impl From<NotBefore> for serde_json::Value {
    fn from(not_before: NotBefore) -> Self {
        match not_before {
            NotBefore::At(ms) => ms.into(),
            // Texts and nothing else: it cannot fail.
            NotBefore::Local(local) => serde_json::to_value(local).unwrap_or_default(),
        }
    }
}

/// What keeps a device from getting the same news twice: of the notifications with one key, a device gets the first
/// within the window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Dedup {
    /// Names the news, 1 to 255 bytes.
    pub key: String,
    /// How long the key is remembered for a device, from the first notification on.
    pub window: Ttl,
}

impl utoipa::PartialSchema for NotBefore {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};

        OneOfBuilder::new()
            .description(Some(
                "Milliseconds since 1970, a time such as 2026-12-01T09:00:00Z, or a time of each device's own clock.",
            ))
            .item(ObjectBuilder::new().schema_type(Type::Integer))
            .item(ObjectBuilder::new().schema_type(Type::String))
            .item(utoipa::openapi::Ref::from_schema_name("LocalTime"))
            .into()
    }
}

impl ToSchema for NotBefore {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
        schemas.push((LocalTime::name().into_owned(), <LocalTime as utoipa::PartialSchema>::schema()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn local(value: serde_json::Value) -> LocalTime {
        match NotBefore::try_from(value).unwrap() {
            NotBefore::Local(local) => local,
            NotBefore::At(_) => panic!("a local time was expected"),
        }
    }

    fn ms(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_time_is_read_in_its_three_forms_and_refused_with_what_is_allowed() {
        let read = |value: serde_json::Value| NotBefore::try_from(value);
        assert_eq!(read(json!(1_800_000_000_000_i64)), Ok(NotBefore::At(1_800_000_000_000)));
        assert_eq!(read(json!("2026-12-01T09:00:00+01:00")), Ok(NotBefore::At(ms("2026-12-01T08:00:00Z"))));
        for wrong in [
            json!(-1),
            json!(1.5),
            json!("tomorrow"),
            json!("09:00"),
            json!({}),
            json!({"local": "9:00"}),
            json!({"local": "24:00"}),
            json!({"local": "09:00", "date": "1.12.2026"}),
            json!({"local": "09:00", "date": "2026-02-30"}),
            json!({"local": "09:00", "zone": "Europe/Atlantis"}),
            json!({"local": "09:00", "day": "x"}),
            json!(true),
        ] {
            assert!(
                read(wrong.clone()).unwrap_err().contains("example")
                    || read(wrong.clone()).unwrap_err().contains("not_before"),
                "{wrong}"
            );
        }
        for good in
            [json!({"local": "09:00"}), json!({"local": "09:00:30", "date": "2026-12-01", "zone": "Asia/Tokyo"})]
        {
            assert_eq!(serde_json::to_value(read(good.clone()).unwrap()).unwrap(), good);
        }
    }

    #[test]
    fn nine_in_the_morning_is_another_moment_in_each_zone() {
        let now = ms("2026-11-30T20:00:00Z");
        let nine = local(json!({"local": "09:00"}));
        for (zone, moment) in [
            ("Europe/Berlin", "2026-12-01T08:00:00Z"),
            ("Asia/Tokyo", "2026-12-01T00:00:00Z"),
            // It is 12:00 on 30 November there: the next nine o'clock is tomorrow's.
            ("America/Los_Angeles", "2026-12-01T17:00:00Z"),
            ("Asia/Kathmandu", "2026-12-01T03:15:00Z"),
        ] {
            assert_eq!(nine.moment(&time_zone(zone).unwrap(), now), ms(moment), "{zone}");
        }
    }

    #[test]
    fn a_time_that_the_clock_skips_comes_later_and_one_that_it_shows_twice_is_the_first() {
        let berlin = time_zone("Europe/Berlin").unwrap();
        let gap = local(json!({"local": "02:30", "date": "2027-03-28"}));
        assert_eq!(gap.moment(&berlin, 0), ms("2027-03-28T01:30:00Z"), "03:30 in summer time");
        let twice = local(json!({"local": "02:30", "date": "2026-10-25"}));
        assert_eq!(twice.moment(&berlin, 0), ms("2026-10-25T00:30:00Z"), "the one in summer time");
    }
}
