//! Receipts and timelines in the table of targets.

use sqlx::Row;
use sqlx::any::AnyRow;
use tidings_shared::identity::UserId;
use tidings_shared::push_api::{Outcome, ReceiptEvent, TargetState};
use tidings_shared::storage::{Database, StorageError};

use super::TargetTimes;
use crate::devices::store::{corrupt, provider};
use crate::events::{self, NewEvent, kind_of_receipt};

/// What a receipt is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About<'a> {
    Target(&'a str),
    Notification {
        id: &'a str,
        /// The device's name; all of them when `None`.
        device: Option<&'a str>,
    },
}

/// A checked receipt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report<'a> {
    pub(crate) about: About<'a>,
    /// Whose devices it may be about; anybody's with a service key.
    pub(crate) user: Option<&'a UserId>,
    pub(crate) event: ReceiptEvent,
    pub(crate) at_ms: i64,
    pub(crate) now_ms: i64,
}

/// What came of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Targets that it is about.
    pub(crate) found: usize,
    /// Those that had not had this event.
    pub(crate) new: usize,
    /// The number of the last event that was written for it.
    pub(crate) seq: Option<i64>,
}

/// Records a receipt; one that comes again changes nothing.
pub(crate) async fn record(
    database: &Database,
    report: Report<'_>,
    write_events: bool,
) -> Result<Recorded, StorageError> {
    // Looked for before the transaction: what is not found costs no turn to write.
    let rows = targets(database, report).await?;
    if rows.is_empty() {
        return Ok(Recorded { found: 0, new: 0, seq: None });
    }
    let column = match report.event {
        ReceiptEvent::Delivered => "delivered_at",
        ReceiptEvent::Opened => "opened_at",
        ReceiptEvent::Dismissed => "dismissed_at",
    };
    let mut transaction = database.begin().await?;
    let mut new = Vec::new();
    for row in &rows {
        let id: String = row.try_get("id")?;
        // Not before it was made, and not in the future: clocks of phones are wrong by years.
        let at_ms = report.at_ms.clamp(row.try_get::<i64, _>("created_at")?.min(report.now_ms), report.now_ms);
        let sql =
            sqlx::AssertSqlSafe(format!("UPDATE push_targets SET {column} = $1 WHERE id = $2 AND {column} IS NULL"));
        let changed = sqlx::query(sql).bind(at_ms).bind(id.as_str()).execute(&mut *transaction).await?;
        if changed.rows_affected() > 0 {
            new.push(NewEvent {
                kind: kind_of_receipt(report.event),
                outcome: Outcome {
                    notification: row.try_get("notification_id")?,
                    target: id,
                    device: row.try_get("device_id")?,
                    provider: provider(row, "provider")?,
                    app: row.try_get("app")?,
                    state: None,
                    receipt: Some(report.event),
                    at_ms,
                    provider_status: None,
                    reason: None,
                    provider_id: None,
                    token_gone: false,
                },
            });
        }
    }
    let seq = if write_events && !new.is_empty() {
        Some(events::store::write(&mut transaction, &new, report.now_ms).await?)
    } else {
        None
    };
    transaction.commit().await?;
    Ok(Recorded { found: rows.len(), new: new.len(), seq })
}

/// The targets that a receipt is about.
async fn targets(database: &Database, report: Report<'_>) -> Result<Vec<AnyRow>, StorageError> {
    let (id, device) = match report.about {
        About::Target(id) => (id, None),
        About::Notification { id, device } => (id, device),
    };
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement(report)))
        .bind(id)
        .bind(device.unwrap_or_default())
        .bind(report.user.map(UserId::as_str).unwrap_or_default())
        .fetch_all(database.pool())
        .await?;
    Ok(rows)
}

/// `$1`: the target or the notification, `$2`: the device's name or nothing, `$3`: the user or nothing.
fn statement(report: Report<'_>) -> String {
    const COLUMNS: &str = "t.id, t.notification_id, t.device_id, t.provider, t.app, t.created_at";
    const OWN: &str = "t.device_id = d.id AND ($2 = '' OR t.device = $2) AND d.user_id = $3";
    match (report.about, report.user) {
        (About::Target(_), Some(_)) => {
            format!("SELECT {COLUMNS} FROM push_targets t JOIN push_devices d ON t.id = $1 AND {OWN}")
        }
        // A user has few devices and a campaign many targets. SQLite takes the tables of a CROSS JOIN in this order.
        (About::Notification { .. }, Some(_)) => format!(
            "SELECT {COLUMNS} FROM push_devices d CROSS JOIN push_targets t WHERE t.notification_id = $1 AND {OWN}"
        ),
        (about, None) => {
            let place = if matches!(about, About::Target(_)) { "t.id" } else { "t.notification_id" };
            format!(
                "SELECT {COLUMNS} FROM push_targets t WHERE {place} = $1 AND ($2 = '' OR t.device = $2) AND $3 = '' LIMIT 1000"
            )
        }
    }
}

/// When a notification was accepted; `None` when there is none.
pub(crate) async fn accepted_at(database: &Database, notification: &str) -> Result<Option<i64>, StorageError> {
    let row = sqlx::query("SELECT created_at FROM push_notifications WHERE id = $1")
        .bind(notification)
        .fetch_optional(database.pool())
        .await?;
    row.map(|row| Ok(row.try_get("created_at")?)).transpose()
}

/// `$1`: the notification, `$2`: the id behind which the page begins, `$3`: how many.
const PAGE_OF_TIMES: &str = "SELECT id, device, state, attempts, created_at, first_attempt_at, updated_at, provider_status, \
     reason, provider_id, delivered_at, opened_at, dismissed_at FROM push_targets \
     WHERE notification_id = $1 AND id > $2 ORDER BY id LIMIT $3";

/// The times of a notification's targets in the order of their ids, behind one of them.
pub(crate) async fn times(
    database: &Database,
    notification: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<TargetTimes>, StorageError> {
    let rows = sqlx::query(PAGE_OF_TIMES).bind(notification).bind(after).bind(limit).fetch_all(database.pool()).await?;
    rows.iter().map(read).collect()
}

fn read(row: &AnyRow) -> Result<TargetTimes, StorageError> {
    let name: String = row.try_get("state")?;
    let state = TargetState::from_name(&name).ok_or_else(|| corrupt(format!("no state is called {name}")))?;
    Ok(TargetTimes {
        id: row.try_get("id")?,
        device: row.try_get("device")?,
        state: name,
        is_final: state.is_final(),
        attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(0),
        created_at: row.try_get("created_at")?,
        first_attempt_at: row.try_get("first_attempt_at")?,
        updated_at: row.try_get("updated_at")?,
        provider_status: row
            .try_get::<Option<i64>, _>("provider_status")?
            .and_then(|status| u16::try_from(status).ok()),
        reason: row.try_get("reason")?,
        provider_id: row.try_get("provider_id")?,
        delivered_at: row.try_get("delivered_at")?,
        opened_at: row.try_get("opened_at")?,
        dismissed_at: row.try_get("dismissed_at")?,
    })
}

#[cfg(test)]
mod tests;
