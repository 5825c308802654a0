//! Cancelling a notification: what was not handed over is not handed over any more.

use sqlx::Row;
use tidings_shared::storage::{Database, StorageError};

use crate::events;
use crate::segments::store::expansions;

/// Ends every waiting target of a notification, and marks the notification, so that an attempt under way is its last.
/// `false` when there is no such notification. Doing so twice changes nothing more.
pub(crate) async fn cancel(database: &Database, id: &str, now_ms: i64) -> Result<bool, StorageError> {
    const WAITING: &str = "notification_id = $1 AND due_at IS NOT NULL AND state <> 'sending'";
    let _turn = database.turn().wait().await;
    let mut transaction = database.begin().await?;
    let known = sqlx::query("UPDATE push_notifications SET cancelled_at = COALESCE(cancelled_at, $2) WHERE id = $1")
        .bind(id)
        .bind(now_ms)
        .execute(&mut *transaction)
        .await?;
    if known.rows_affected() == 0 {
        return Ok(false);
    }
    // What is left of a segment gets no targets any more; whoever is making some waits here, and gives them up.
    expansions::end(&mut transaction, id).await?;
    // A wake push that is not sent leaves its device to be woken by the next message.
    let marks = sqlx::AssertSqlSafe(format!(
        "UPDATE push_devices SET wake_at = NULL, wake_target = NULL \
         WHERE id IN (SELECT device_id FROM push_targets WHERE {WAITING}) \
         AND wake_target IN (SELECT id FROM push_targets WHERE {WAITING})"
    ));
    sqlx::query(marks).bind(id).execute(&mut *transaction).await?;
    let targets = sqlx::AssertSqlSafe(format!(
        "UPDATE push_targets SET state = CASE WHEN maybe_taken = 1 THEN 'unknown' ELSE 'expired' END, \
         reason = 'cancelled', due_at = NULL, lease = NULL, updated_at = $2 WHERE {WAITING} RETURNING id"
    ));
    let rows = sqlx::query(targets).bind(id).bind(now_ms).fetch_all(&mut *transaction).await?;
    let ended = rows.iter().map(|row| row.try_get("id")).collect::<Result<Vec<String>, _>>()?;
    let ended: Vec<&str> = ended.iter().map(String::as_str).collect();
    events::store::of_ended(&mut transaction, &ended, now_ms).await?;
    transaction.commit().await?;
    Ok(true)
}
