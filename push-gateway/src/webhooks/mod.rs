//! Webhooks: addresses that are told what became of pushes. The form is that of Standard Webhooks 1.0
//! (`webhook-id`, `webhook-timestamp`, `webhook-signature`); what is to be told is stored until it is taken or given up.
//!
//! | attempt | after the one before |
//! |---|---|
//! | 1 | at once |
//! | 2 | 5 seconds |
//! | 3 | 5 minutes |
//! | 4 | 30 minutes |
//! | 5 | 2 hours |
//! | 6 | 5 hours |
//! | 7 | 10 hours |
//! | 8 | 14 hours |
//! | 9 | 20 hours |
//! | 10 | 24 hours |
//!
//! Each pause is up to a fifth longer, by the event's name, so that what failed together does not come back together.

use std::time::Duration;

pub(crate) mod deliver;
pub(crate) mod signing;
pub(crate) mod store;
#[cfg(test)]
mod tests;

/// The pauses between attempts, in seconds.
const PAUSES_S: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// The most events that a webhook has waiting as deliveries of their own; what comes behind them stays in the log of events.
const MAX_WAITING: i64 = 1000;

/// How webhooks work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WebhookSettings {
    /// A webhook that takes nothing for so long is disabled.
    pub(crate) disable_after: Duration,
    /// How long an old secret signs beside the new one.
    pub(crate) secret_overlap: Duration,
    /// How long a webhook may take to answer.
    pub(crate) timeout: Duration,
    /// Requests at once to one webhook.
    pub(crate) concurrency: usize,
}

/// When a failed event is tried again, after so many attempts; `None`: it is given up.
fn next_attempt(id: &str, attempts: i64, now_ms: i64) -> Option<i64> {
    let pause = PAUSES_S.get(usize::try_from(attempts.saturating_sub(1)).ok()?)?.saturating_mul(1000);
    let spread = id
        .bytes()
        .fold(attempts.unsigned_abs(), |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let jitter = i64::try_from(spread % (pause.unsigned_abs() / 5 + 1)).unwrap_or(0);
    Some(now_ms + pause + jitter)
}

/// Whether a webhook wants events of this kind: it names it, or its beginning (`push.*`), or nothing at all.
fn wants(events: &[String], kind: &str) -> bool {
    events.is_empty()
        || events.iter().any(|wanted| match wanted.strip_suffix('*') {
            Some(beginning) => kind.starts_with(beginning),
            None => wanted == kind,
        })
}
