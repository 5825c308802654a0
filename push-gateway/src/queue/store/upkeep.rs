//! Measuring the queue, ending what is over, forgetting what is old.

use std::collections::HashSet;

use sqlx::Row;
use sqlx::any::AnyRow;
use tidings_shared::push_api::Priority;
use tidings_shared::storage::{Database, StorageError};

use super::rows;
use crate::events;
use crate::metrics::QueueDepth;
use crate::queue::store::idempotency;
use crate::segments::store::expansions;

/// The broker keeps messages for seven days by default; an event about one may come again for as long.
const WAKE_EVENTS_MS: i64 = 8 * 86_400_000;
/// When nobody has come back to a push for this long behind the time for it, nobody will.
const LEFT_MS: i64 = 3_600_000;
/// How many rows are ended or removed in one transaction.
const PORTION: usize = 1000;
/// Not final, and nobody is at it: it waits, or its lease ended before a time.
const STILL: &str = "due_at IS NOT NULL AND (state <> 'sending' OR due_at <=";

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

/// Ends what nobody sends any more (its lane is paused, or is not among `lanes`, those of this gateway), and forgets what
/// is old.
pub(crate) async fn clean(
    database: &Database,
    lanes: &HashSet<&str>,
    now_ms: i64,
    keep_ms: i64,
) -> Result<(), StorageError> {
    loop {
        let over = sqlx::AssertSqlSafe(format!(
            "SELECT id FROM push_targets WHERE {STILL} $1) AND expires_at > 0 AND expires_at <= $2 LIMIT 1000"
        ));
        let query = sqlx::query(over).bind(now_ms - LEFT_MS).bind(now_ms);
        if end(database, &names(&query.fetch_all(database.pool()).await?)?, now_ms).await? {
            break;
        }
    }
    // One attempt only: such a push has no time that ends, and waits for its lane for ever.
    let waiting = sqlx::query(
        "SELECT DISTINCT lane AS id FROM push_targets WHERE due_at IS NOT NULL AND due_at <= $1 AND expires_at = 0",
    );
    let waiting = names(&waiting.bind(now_ms - LEFT_MS).fetch_all(database.pool()).await?)?;
    for lane in waiting.iter().filter(|lane| !lanes.contains(lane.as_str())) {
        loop {
            let left = sqlx::query(
                "SELECT id FROM push_targets WHERE lane = $1 AND due_at IS NOT NULL AND due_at <= $2 AND expires_at = 0 LIMIT 1000",
            );
            let query = left.bind(lane.as_str()).bind(now_ms - LEFT_MS);
            if end(database, &names(&query.fetch_all(database.pool()).await?)?, now_ms).await? {
                break;
            }
        }
    }
    forget(database, now_ms, keep_ms).await
}

fn names(rows: &[AnyRow]) -> Result<Vec<String>, StorageError> {
    rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
}

/// Ends a portion of what was looked for without the write lock, so that nobody waits long for it; those that were
/// claimed meanwhile stay. `true`: it was the last portion.
async fn end(database: &Database, ids: &[String], now_ms: i64) -> Result<bool, StorageError> {
    if ids.is_empty() {
        return Ok(true);
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let _turn = database.turn().wait().await;
    let mut transaction = database.begin().await?;
    for portion in rows::portions(&ids) {
        let those = rows::parameters(portion.len());
        // Of one that may have been taken too: the next missed message makes a new wake push.
        let marks = format!(
            "UPDATE push_devices SET wake_at = NULL, wake_target = NULL \
             WHERE id IN (SELECT device_id FROM push_targets WHERE id IN ({those})) \
             AND wake_target IN (SELECT id FROM push_targets WHERE id IN ({those}) AND {STILL} ?))"
        );
        let mut query = sqlx::query(rows::statement(&transaction, &marks));
        for id in portion.iter().chain(portion) {
            query = query.bind(*id);
        }
        query.bind(now_ms - LEFT_MS).execute(&mut *transaction).await?;
        let ends = format!(
            "UPDATE push_targets SET state = CASE WHEN maybe_taken = 1 OR state = 'sending' THEN 'unknown' ELSE 'expired' END, \
             reason = COALESCE(reason, 'expired'), due_at = NULL, lease = NULL, updated_at = ? \
             WHERE id IN ({those}) AND {STILL} ?)"
        );
        let mut query = sqlx::query(rows::statement(&transaction, &ends)).bind(now_ms);
        for id in portion {
            query = query.bind(*id);
        }
        query.bind(now_ms - LEFT_MS).execute(&mut *transaction).await?;
    }
    // Only what is final makes an event.
    events::store::of_ended(&mut transaction, &ids, now_ms).await?;
    transaction.commit().await?;
    Ok(ids.len() < PORTION)
}

/// Forgets notifications whose targets have all rested for long. What is old stays old: it is looked for without the
/// write lock, and removed a thousand rows at a time, so that nobody waits long for the lock.
async fn forget(database: &Database, now_ms: i64, keep_ms: i64) -> Result<(), StorageError> {
    loop {
        let old = sqlx::query(
            "SELECT n.id FROM push_notifications n WHERE n.created_at < $1 \
             AND NOT EXISTS (SELECT 1 FROM push_targets t WHERE t.notification_id = n.id AND (t.due_at IS NOT NULL OR t.updated_at >= $1)) \
             AND NOT EXISTS (SELECT 1 FROM push_expansions e WHERE e.notification_id = n.id AND e.due_at IS NOT NULL) \
             ORDER BY n.created_at LIMIT 1000",
        );
        let old = names(&old.bind(now_ms - keep_ms).fetch_all(database.pool()).await?)?;
        for portion in rows::portions(&old) {
            while forget_targets(database, portion).await? == PORTION {}
            let _turn = database.turn().wait().await;
            let mut transaction = database.begin().await?;
            // Those whose targets somebody else is removing stay for the next time.
            let notifications = format!(
                "DELETE FROM push_notifications WHERE id IN ({}) \
                 AND NOT EXISTS (SELECT 1 FROM push_targets t WHERE t.notification_id = push_notifications.id)",
                rows::parameters(portion.len())
            );
            let mut query = sqlx::query(rows::statement(&transaction, &notifications));
            for id in portion {
                query = query.bind(id.as_str());
            }
            query.execute(&mut *transaction).await?;
            transaction.commit().await?;
        }
        if old.len() < PORTION {
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

/// Removes a portion of the targets of these notifications; how many that were.
pub(crate) async fn forget_targets(database: &Database, notifications: &[String]) -> Result<usize, StorageError> {
    let _turn = database.turn().wait().await;
    let mut transaction = database.begin().await?;
    let text = format!(
        "DELETE FROM push_targets WHERE id IN (SELECT id FROM push_targets WHERE notification_id IN ({}) LIMIT {PORTION}{})",
        rows::parameters(notifications.len()),
        database.dialect().for_update_skip_locked()
    );
    let mut query = sqlx::query(rows::statement(&transaction, &text));
    for id in notifications {
        query = query.bind(id.as_str());
    }
    let removed = query.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(usize::try_from(removed.rows_affected()).unwrap_or(usize::MAX))
}
