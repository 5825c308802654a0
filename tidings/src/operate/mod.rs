//! What an operator asks a running broker, over its admin door: why a topic is allowed, who is connected, and to revoke tokens.

mod admin;
mod connections;
mod explain;
mod revoke;

pub(crate) use connections::connections;
pub(crate) use explain::explain;
pub(crate) use revoke::revoke;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time for people.
pub(crate) fn moment(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{ms} ms since 1970"))
}
