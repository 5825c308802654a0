//! Segments: sets of devices by what is known of them, and sending to them. A notification to a segment is stored at once;
//! its targets are made afterwards, in portions (`api::expand`), so that a segment of millions holds up nobody.

use tidings_shared::push_api::{Seen, Ttl, VersionRange, Where, check_time_zone};

use crate::devices::describe;

pub(crate) mod store;

/// The most parts of an expression.
const MAX_PARTS: usize = 100;
/// How deep its parts may be in each other.
const MAX_DEPTH: usize = 8;

/// An expression that cannot be used, for the one who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("the expression has more than {MAX_PARTS} parts; make tags in the app instead of long lists here")]
    TooLong,
    #[error("the expression's parts are in each other more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("{0}")]
    Value(String),
    #[error("`version` wants at least one of `is`, `from` and `below`")]
    NoVersion,
    #[error("\"{0}\" cannot be compared with other versions: it does not begin with a number")]
    Version(String),
    #[error("`seen` wants `within` or `not_within`")]
    NoTime,
    #[error("`seen` takes a whole number of s, m, h or d, for example \"30d\"; found \"{0}\"")]
    Time(String),
}

/// The expression in its one form (`de-at` becomes `de-AT`), or what is wrong with it.
pub(crate) fn checked(filter: Where) -> Result<Where, Unusable> {
    let mut parts = 0;
    check(filter, 0, &mut parts)
}

fn check(filter: Where, depth: usize, parts: &mut usize) -> Result<Where, Unusable> {
    *parts += 1;
    if *parts > MAX_PARTS {
        return Err(Unusable::TooLong);
    }
    if depth > MAX_DEPTH {
        return Err(Unusable::TooDeep);
    }
    let value = |error: describe::Undescribable| Unusable::Value(error.to_string());
    let mut all = |filters: Vec<Where>| {
        filters.into_iter().map(|filter| check(filter, depth + 1, parts)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match filter {
        Where::All(filters) => Where::All(all(filters)?),
        Where::Any(filters) => Where::Any(all(filters)?),
        Where::Not(filter) => Where::Not(Box::new(check(*filter, depth + 1, parts)?)),
        Where::Tag(tag) => {
            describe::tag(&tag).map_err(value)?;
            Where::Tag(tag)
        }
        Where::Locale(locale) => Where::Locale(describe::locale(&locale).map_err(value)?),
        Where::TimeZone(zone) => {
            check_time_zone(&zone).map_err(Unusable::Value)?;
            Where::TimeZone(zone)
        }
        Where::Version(range) => Where::Version(version(range)?),
        Where::Seen(seen) => Where::Seen(times(seen)?),
        filter @ (Where::App(_) | Where::Provider(_) | Where::Environment(_)) => filter,
    })
}

fn version(range: VersionRange) -> Result<VersionRange, Unusable> {
    if range == VersionRange::default() {
        return Err(Unusable::NoVersion);
    }
    for bound in [&range.from, &range.below].into_iter().flatten() {
        if describe::version_key(bound).is_none() {
            return Err(Unusable::Version(bound.clone()));
        }
    }
    Ok(range)
}

fn times(seen: Seen) -> Result<Seen, Unusable> {
    if seen == Seen::default() {
        return Err(Unusable::NoTime);
    }
    for bound in [&seen.within, &seen.not_within].into_iter().flatten() {
        span_ms(bound)?;
    }
    Ok(seen)
}

/// `"30d"` in milliseconds; unlike a [`Ttl`], as long as one likes.
fn span_ms(text: &str) -> Result<i64, Unusable> {
    let refused = || Unusable::Time(text.chars().take(20).collect());
    if let Some(days) = text.strip_suffix('d') {
        let days = days.parse::<u32>().map_err(|_| refused())?;
        return Ok(i64::from(days) * 86_400_000);
    }
    Ttl::try_from(text.to_owned()).map(Ttl::as_ms).map_err(|_| refused())
}
