//! What devices say to `/v1/log`, turned into causes that somebody can act on: recognised, redacted, counted.

mod alert;
mod cause;
mod facts;
mod redact;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::StorageError;

pub use alert::Alerter;
pub use cause::{Cause, cause_of, cause_with_code};
pub use facts::meaning_of;
pub use redact::redact;

use crate::metrics::Metrics;
use crate::package::hex;
use crate::store::{Reports, Store};
use facts::{Named, facts};

/// Most lines of one request that are looked at.
pub const MOST_LINES: usize = 100;
/// Most characters of a line.
const LONGEST_LINE: usize = 1000;
/// Most different patterns between two writes; the route has no authentication.
const MOST_PENDING: usize = 500;
/// How often counts are written.
const FLUSH: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Pending {
    cause: Cause,
    pattern: String,
    count: i64,
    /// Who and what a few of the lines name: in memory only, until they are looked up.
    named: Vec<Named>,
}

/// Lines of a pattern whose names are looked up, between two writes.
const LOOKED_UP: usize = 5;

/// Collects reports and writes their counts about once a second. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    store: Store,
    clock: Clock,
    metrics: Metrics,
    pending: Arc<Mutex<HashMap<String, Pending>>>,
    /// Somebody wants to be told of a first.
    tell: bool,
}

impl Recorder {
    /// A recorder.
    #[must_use]
    pub fn new(store: Store, clock: Clock, metrics: Metrics) -> Self {
        Self { store, clock, metrics, pending: Arc::default(), tell: false }
    }

    /// Whether somebody is told of the first report of a cause, see [`Alerter`].
    #[must_use]
    pub fn telling(mut self, tell: bool) -> Self {
        self.tell = tell;
        self
    }

    /// Takes a device's lines.
    pub fn record(&self, lines: &[String]) {
        for line in lines.iter().take(MOST_LINES) {
            let line: String = line.chars().take(LONGEST_LINE).collect();
            let text = without_date(&line);
            let cause = cause_of(text);
            let pattern = redact(text);
            self.metrics.device_log(cause.code, 1);
            let id = id_of(cause, &pattern);
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = pending.get_mut(&id) {
                known.count += 1;
                if known.named.len() < LOOKED_UP {
                    known.named.push(Named::of(text));
                }
            } else if pending.len() < MOST_PENDING {
                pending.insert(id, Pending { cause, pattern, count: 1, named: vec![Named::of(text)] });
            }
        }
    }

    /// Writes what was collected.
    ///
    /// # Errors
    /// When the database fails; what could not be written is kept for the next time.
    pub async fn flush(&self) -> Result<(), StorageError> {
        let taken = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let mut taken = taken.into_iter();
        while let Some((id, entry)) = taken.next() {
            match self.count(&id, &entry).await {
                // The first of its cause is worth somebody's attention.
                Ok(true) => {
                    self.metrics.diagnosis_alert(entry.cause.code);
                    tracing::warn!(
                        cause = entry.cause.code,
                        pattern = entry.pattern,
                        "devices report: {}. {}",
                        entry.cause.meaning,
                        entry.cause.remedy
                    );
                }
                Ok(false) => {}
                Err(error) => {
                    let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                    for (id, entry) in std::iter::once((id, entry)).chain(taken) {
                        pending.entry(id).and_modify(|known| known.count += entry.count).or_insert(entry);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn count(&self, id: &str, entry: &Pending) -> Result<bool, StorageError> {
        let now = self.clock.now_ms();
        let facts = facts(&self.store, &self.metrics, entry.cause, &entry.named, now).await?;
        let reports = Reports {
            id,
            cause: entry.cause.code,
            pattern: &entry.pattern,
            times: entry.count,
            facts: &facts,
            tell: self.tell,
        };
        self.store.count_diagnosis(reports, now).await
    }

    /// Writes about once a second, and once more at the end.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.wait() => break,
                () = tokio::time::sleep(FLUSH) => {}
            }
            if let Err(error) = self.flush().await {
                tracing::debug!(%error, "device logs are kept until the database answers");
            }
        }
        if let Err(error) = self.flush().await {
            tracing::warn!(%error, "the last device logs could not be stored");
        }
    }
}

/// `[2026-04-30 18:05:09 +0200] WHAT` without its date.
fn without_date(line: &str) -> &str {
    match line.trim().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((date, text)) if date.starts_with(|c: char| c.is_ascii_digit()) => text.trim_start(),
        _ => line.trim(),
    }
}

fn id_of(cause: Cause, pattern: &str) -> String {
    let hash = digest::digest(&digest::SHA256, pattern.as_bytes());
    format!("{}:{}", cause.code, &hex(hash.as_ref())[..24])
}
