//! Receipts and timelines in the table of targets.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
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
    let mut transaction = database.begin().await?;
    let rows = targets(&mut transaction, report).await?;
    let column = match report.event {
        ReceiptEvent::Delivered => "delivered_at",
        ReceiptEvent::Opened => "opened_at",
        ReceiptEvent::Dismissed => "dismissed_at",
    };
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
async fn targets(connection: &mut AnyConnection, report: Report<'_>) -> Result<Vec<AnyRow>, StorageError> {
    const COLUMNS: &str = "t.id, t.notification_id, t.device_id, t.provider, t.app, t.created_at";
    let (place, id, device) = match report.about {
        About::Target(id) => ("t.id", id, None),
        About::Notification { id, device } => ("t.notification_id", id, device),
    };
    let sql = match report.user {
        Some(_) => format!(
            "SELECT {COLUMNS} FROM push_targets t JOIN push_devices d ON d.id = t.device_id \
             WHERE {place} = $1 AND ($2 = '' OR t.device = $2) AND d.user_id = $3"
        ),
        None => format!(
            "SELECT {COLUMNS} FROM push_targets t WHERE {place} = $1 AND ($2 = '' OR t.device = $2) AND $3 = '' LIMIT 1000"
        ),
    };
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id)
        .bind(device.unwrap_or_default())
        .bind(report.user.map(UserId::as_str).unwrap_or_default())
        .fetch_all(connection)
        .await?;
    Ok(rows)
}

/// When a notification was accepted; `None` when there is none.
pub(crate) async fn accepted_at(database: &Database, notification: &str) -> Result<Option<i64>, StorageError> {
    let row = sqlx::query("SELECT created_at FROM push_notifications WHERE id = $1")
        .bind(notification)
        .fetch_optional(database.pool())
        .await?;
    row.map(|row| Ok(row.try_get("created_at")?)).transpose()
}

/// The times of a notification's targets in the order of their ids, behind one of them.
pub(crate) async fn times(
    database: &Database,
    notification: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<TargetTimes>, StorageError> {
    let rows = sqlx::query(
        "SELECT id, device, state, attempts, created_at, first_attempt_at, updated_at, provider_status, reason, provider_id, \
         delivered_at, opened_at, dismissed_at FROM push_targets WHERE notification_id = $1 AND id > $2 ORDER BY id LIMIT $3",
    )
    .bind(notification)
    .bind(after)
    .bind(limit)
    .fetch_all(database.pool())
    .await?;
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
