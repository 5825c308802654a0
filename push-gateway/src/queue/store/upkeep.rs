//! Measuring the queue, ending what is over, forgetting what is old.

use sqlx::Row;
use tidings_shared::push_api::Priority;
use tidings_shared::storage::{Database, StorageError};

use super::rows;
use crate::events;
use crate::metrics::QueueDepth;
use crate::queue::store::idempotency;
use crate::segments::store::expansions;

/// The broker keeps messages for seven days by default; an event about one may come again for as long.
const WAKE_EVENTS_MS: i64 = 8 * 86_400_000;

/// How long the queue is, by app and provider.
pub(crate) async fn depths(database: &Database) -> Result<Vec<QueueDepth>, StorageError> {
    let rows = sqlx::query(
        "SELECT provider, app, COUNT(*) AS length, MIN(created_at) AS oldest FROM push_targets \
         WHERE due_at IS NOT NULL GROUP BY provider, app",
    )
    .fetch_all(database.pool())
    .await?;
    rows.iter()
        .map(|row| {
            Ok(QueueDepth {
                provider: row.try_get("provider")?,
                app: row.try_get("app")?,
                length: row.try_get("length")?,
                oldest_ms: row.try_get("oldest")?,
                due_ms: None,
            })
        })
        .collect()
}

/// When the oldest push of a lane that could be sent now became due.
pub(crate) async fn oldest_due(database: &Database, lane: &str, now_ms: i64) -> Result<Option<i64>, StorageError> {
    let mut oldest: Option<i64> = None;
    for class in Priority::ALL {
        // Those that are being sent are due when their lease ends, in the future.
        let row = sqlx::query(
            "SELECT MIN(due_at) AS due FROM push_targets WHERE lane = $1 AND priority = $2 AND due_at <= $3",
        )
        .bind(lane)
        .bind(super::rank(class))
        .bind(now_ms)
        .fetch_one(database.pool())
        .await?;
        oldest = oldest.into_iter().chain(row.try_get::<Option<i64>, _>("due")?).min();
    }
    Ok(oldest)
}

/// Ends what nobody sends any more (its lane is paused or no longer configured), and forgets what is old.
pub(crate) async fn clean(database: &Database, now_ms: i64, keep_ms: i64) -> Result<(), StorageError> {
    const OVER: &str = "due_at IS NOT NULL AND state <> 'sending' AND expires_at > 0 AND expires_at <=";
    // Looked for without the write lock, and ended in portions, so that nobody waits long for it.
    loop {
        let over = sqlx::AssertSqlSafe(format!("SELECT id FROM push_targets WHERE {OVER} $1 LIMIT 1000"));
        let rows = sqlx::query(over).bind(now_ms).fetch_all(database.pool()).await?;
        let ids = rows.iter().map(|row| row.try_get("id")).collect::<Result<Vec<String>, _>>()?;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let _turn = database.turn().wait().await;
        let mut transaction = database.begin().await?;
        for portion in rows::portions(&ids) {
            let those = rows::parameters(portion.len());
            let marks = format!(
                "UPDATE push_devices SET wake_at = NULL, wake_target = NULL \
                 WHERE id IN (SELECT device_id FROM push_targets WHERE id IN ({those})) \
                 AND wake_target IN (SELECT id FROM push_targets WHERE id IN ({those}) AND {OVER} ?)"
            );
            let mut query = sqlx::query(rows::statement(&transaction, &marks));
            for id in portion.iter().chain(portion) {
                query = query.bind(*id);
            }
            query.bind(now_ms).execute(&mut *transaction).await?;
            let ends = format!(
                "UPDATE push_targets SET state = CASE WHEN maybe_taken = 1 THEN 'unknown' ELSE 'expired' END, \
                 reason = COALESCE(reason, 'expired'), due_at = NULL, lease = NULL, updated_at = ? \
                 WHERE id IN ({those}) AND {OVER} ?"
            );
            let mut query = sqlx::query(rows::statement(&transaction, &ends)).bind(now_ms);
            for id in portion {
                query = query.bind(*id);
            }
            query.bind(now_ms).execute(&mut *transaction).await?;
        }
        // Those that were claimed meanwhile are not over; only what is final makes an event.
        events::store::of_ended(&mut transaction, &ids, now_ms).await?;
        transaction.commit().await?;
        if ids.len() < 1000 {
            break;
        }
    }
    forget(database, now_ms, keep_ms).await
}

async fn forget(database: &Database, now_ms: i64, keep_ms: i64) -> Result<(), StorageError> {
    const OLD: &str = "SELECT n.id FROM push_notifications n WHERE n.created_at < $1 \
         AND NOT EXISTS (SELECT 1 FROM push_targets t WHERE t.notification_id = n.id AND (t.due_at IS NOT NULL OR t.updated_at >= $1)) \
         AND NOT EXISTS (SELECT 1 FROM push_expansions e WHERE e.notification_id = n.id AND e.due_at IS NOT NULL) \
         ORDER BY n.created_at LIMIT 1000";
    // In portions, so that nobody waits long for the write lock.
    loop {
        let _turn = database.turn().wait().await;
        let mut transaction = database.begin().await?;
        let targets = sqlx::AssertSqlSafe(format!("DELETE FROM push_targets WHERE notification_id IN ({OLD})"));
        sqlx::query(targets).bind(now_ms - keep_ms).execute(&mut *transaction).await?;
        let notifications = sqlx::AssertSqlSafe(format!("DELETE FROM push_notifications WHERE id IN ({OLD})"));
        let removed = sqlx::query(notifications).bind(now_ms - keep_ms).execute(&mut *transaction).await?;
        transaction.commit().await?;
        if removed.rows_affected() < 1000 {
            break;
        }
    }
    let _turn = database.turn().wait().await;
    idempotency::forget(database, now_ms).await?;
    expansions::forget(database, now_ms - keep_ms).await?;
    sqlx::query("DELETE FROM push_wake_events WHERE created_at < $1")
        .bind(now_ms - WAKE_EVENTS_MS)
        .execute(database.pool())
        .await?;
    Ok(())
}
