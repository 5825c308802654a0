//! Quarantine and forgetting: a token that its provider calls gone is not sent to any more and removed later; a device that
//! has not been heard of for long is removed.

use sqlx::AnyConnection;
use tidings_shared::storage::{Database, StorageError};

/// Devices that one transaction removes.
const PORTION: i64 = 1000;

/// Puts a device into quarantine, if the answer was about the token that it has now, and (`gone_at`) about a time after its
/// last confirmation. Pushes that wait for it end as dead.
pub(crate) async fn quarantine(
    connection: &mut AnyConnection,
    id: &str,
    generation: i64,
    gone_at: Option<i64>,
    now_ms: i64,
) -> Result<bool, StorageError> {
    let changed = sqlx::query(
        "UPDATE push_devices SET quarantined_at = $1, wake_at = NULL, wake_target = NULL \
         WHERE id = $2 AND generation = $3 AND quarantined_at IS NULL AND registered_at < $4",
    )
    .bind(now_ms)
    .bind(id)
    .bind(generation)
    .bind(gone_at.unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() > 0)
}

/// Removes devices whose quarantine began before this time; gives their number.
pub(crate) async fn remove_quarantined(database: &Database, before: i64) -> Result<u64, StorageError> {
    const OLD: &str = "DELETE FROM push_devices WHERE id IN \
         (SELECT id FROM push_devices WHERE quarantined_at IS NOT NULL AND quarantined_at < $1 LIMIT $2)";
    remove(database, OLD, before).await
}

/// Removes devices that have not been heard of since this time; gives their number.
pub(crate) async fn remove_unseen(database: &Database, since: i64) -> Result<u64, StorageError> {
    const OLD: &str = "DELETE FROM push_devices WHERE id IN (SELECT id FROM push_devices \
         WHERE registered_at < $1 AND (returned_at IS NULL OR returned_at < $1) LIMIT $2)";
    remove(database, OLD, since).await
}

/// In portions, so that nobody waits long for the write lock.
async fn remove(database: &Database, statement: &'static str, before: i64) -> Result<u64, StorageError> {
    let mut removed = 0;
    loop {
        let mut transaction = database.begin().await?;
        let portion = sqlx::query(statement).bind(before).bind(PORTION).execute(&mut *transaction).await?;
        transaction.commit().await?;
        removed += portion.rows_affected();
        if portion.rows_affected() < PORTION.unsigned_abs() {
            return Ok(removed);
        }
    }
}
