//! The table of expansions: who is at which, how far it has come, and the next portion of its devices.

use sqlx::{AnyConnection, Row};
use tidings_shared::push_api::{Expansion, SendNotification, Where};
use tidings_shared::storage::{Database, StorageError};

use super::Filter;
use crate::devices::Registered;
use crate::devices::store::{self as devices, corrupt};
use crate::queue::store::NewExpansion;

/// An expansion that somebody has taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) notification: String,
    pub(crate) filter: Where,
    pub(crate) request: SendNotification,
    /// The last device that was looked at.
    pub(crate) position: String,
    /// Targets made so far.
    pub(crate) targets: i64,
    pub(crate) created_at: i64,
}

/// Stores that a notification is to be expanded, in the transaction that stores the notification.
pub(crate) async fn insert(
    connection: &mut AnyConnection,
    notification: &str,
    expansion: &NewExpansion,
    now_ms: i64,
) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO push_expansions (notification_id, segment, expression, request, position, due_at, created_at) \
         VALUES ($1, $2, $3, $4, '', $5, $5)",
    )
    .bind(notification)
    .bind(expansion.segment.as_deref())
    .bind(expansion.expression.as_str())
    .bind(expansion.request.as_str())
    .bind(now_ms)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes the oldest expansion that nobody is at, until `lease_until`.
pub(crate) async fn take(database: &Database, now_ms: i64, lease_until: i64) -> Result<Option<Taken>, StorageError> {
    let row = sqlx::query(
        "SELECT notification_id, expression, request, position, targets, created_at, due_at FROM push_expansions \
         WHERE due_at <= $1 ORDER BY due_at, notification_id LIMIT 1",
    )
    .bind(now_ms)
    .fetch_optional(database.pool())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let taken = Taken {
        notification: row.try_get("notification_id")?,
        filter: serde_json::from_str(&row.try_get::<String, _>("expression")?).map_err(corrupt)?,
        request: serde_json::from_str(&row.try_get::<String, _>("request")?).map_err(corrupt)?,
        position: row.try_get("position")?,
        targets: row.try_get("targets")?,
        created_at: row.try_get("created_at")?,
    };
    // Who changes it first has it.
    let changed = sqlx::query("UPDATE push_expansions SET due_at = $1 WHERE notification_id = $2 AND due_at = $3")
        .bind(lease_until)
        .bind(taken.notification.as_str())
        .bind(row.try_get::<i64, _>("due_at")?)
        .execute(database.pool())
        .await?;
    Ok((changed.rows_affected() > 0).then_some(taken))
}

/// When the next expansion may be taken.
pub(crate) async fn next_due(database: &Database) -> Result<Option<i64>, StorageError> {
    let row = sqlx::query("SELECT MIN(due_at) AS due FROM push_expansions WHERE due_at IS NOT NULL")
        .fetch_one(database.pool())
        .await?;
    Ok(row.try_get("due")?)
}

/// The next devices of an expansion, in the order of their ids. Ids and notifications are named by time (UUIDv7): a device
/// that registered after the notification is not part of it.
pub(crate) async fn next_devices(
    database: &Database,
    taken: &Taken,
    limit: i64,
) -> Result<Vec<Registered>, StorageError> {
    let filter = Filter::new(&taken.filter, taken.created_at, 4);
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {} FROM push_devices d WHERE d.id > $1 AND d.id < $2 AND d.quarantined_at IS NULL AND {} ORDER BY d.id LIMIT $3",
        devices::COLUMNS,
        filter.sql
    ));
    let query = sqlx::query(sql).bind(taken.position.as_str()).bind(taken.notification.as_str()).bind(limit);
    let rows = filter.bind(query).fetch_all(database.pool()).await?;
    rows.iter().map(devices::read).collect()
}

/// What a portion has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portion<'a> {
    /// The last device of it; `None` when there was none left.
    pub(crate) last: Option<&'a str>,
    pub(crate) targets: i64,
    pub(crate) skipped: i64,
    /// Until when it is taken; `None`: it is complete.
    pub(crate) lease_until: Option<i64>,
}

/// Moves the cursor, in the transaction that stores the portion's targets. `false`: somebody else is at it, or it has ended,
/// and nothing of this portion may be stored.
pub(crate) async fn advance(
    connection: &mut AnyConnection,
    taken: &Taken,
    portion: Portion<'_>,
) -> Result<bool, StorageError> {
    let moved = sqlx::query(
        "UPDATE push_expansions SET position = $1, targets = targets + $2, skipped = skipped + $3, due_at = $4 \
         WHERE notification_id = $5 AND position = $6 AND due_at IS NOT NULL",
    )
    .bind(portion.last.unwrap_or(&taken.position))
    .bind(portion.targets)
    .bind(portion.skipped)
    .bind(portion.lease_until)
    .bind(taken.notification.as_str())
    .bind(taken.position.as_str())
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() > 0)
}

/// Ends an expansion whose notification is over or gone, or was cancelled.
pub(crate) async fn end(connection: &mut AnyConnection, notification: &str) -> Result<(), StorageError> {
    sqlx::query("UPDATE push_expansions SET due_at = NULL WHERE notification_id = $1")
        .bind(notification)
        .execute(connection)
        .await?;
    Ok(())
}

/// How far the expansion of a notification has come; `None` when it was not to a segment.
pub(crate) async fn progress(database: &Database, notification: &str) -> Result<Option<Expansion>, StorageError> {
    let row = sqlx::query("SELECT segment, targets, skipped, due_at FROM push_expansions WHERE notification_id = $1")
        .bind(notification)
        .fetch_optional(database.pool())
        .await?;
    row.map(|row| {
        let count = |column: &str| Ok::<_, StorageError>(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0));
        Ok(Expansion {
            segment: row.try_get("segment")?,
            targets: count("targets")?,
            skipped: count("skipped")?,
            complete: row.try_get::<Option<i64>, _>("due_at")?.is_none(),
        })
    })
    .transpose()
}

/// Forgets expansions whose notifications are forgotten.
pub(crate) async fn forget(database: &Database, before: i64) -> Result<(), StorageError> {
    sqlx::query(
        "DELETE FROM push_expansions WHERE due_at IS NULL AND created_at < $1 \
         AND NOT EXISTS (SELECT 1 FROM push_notifications n WHERE n.id = notification_id)",
    )
    .bind(before)
    .execute(database.pool())
    .await?;
    Ok(())
}

/// Pushes of a lane and a class of priority that are due before a time and not final, counted up to a bound.
pub(crate) async fn waiting(
    database: &Database,
    lane: &str,
    priority: i64,
    before: i64,
    bound: i64,
) -> Result<i64, StorageError> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS waiting FROM \
         (SELECT 1 FROM push_targets WHERE lane = $1 AND priority = $2 AND due_at <= $3 LIMIT $4) w",
    )
    .bind(lane)
    .bind(priority)
    .bind(before)
    .bind(bound)
    .fetch_one(database.pool())
    .await?;
    Ok(row.try_get("waiting")?)
}

/// Lets an expansion go, so that the next one to look goes on with it when it is due.
pub(crate) async fn release(database: &Database, taken: &Taken, due_at: i64) -> Result<(), StorageError> {
    sqlx::query(
        "UPDATE push_expansions SET due_at = $1 WHERE notification_id = $2 AND position = $3 AND due_at IS NOT NULL",
    )
    .bind(due_at)
    .bind(taken.notification.as_str())
    .bind(taken.position.as_str())
    .execute(database.pool())
    .await?;
    Ok(())
}
