//! The table of what webhooks have not taken yet.

use sqlx::Row;
use sqlx::any::AnyRow;
use tidings_shared::storage::{Database, StorageError};

use super::{Counts, Stored};
use crate::events::MISSED;
use crate::events::store::{self as events, Event};
use crate::webhooks::{MAX_WAITING, wants};

/// Events that one transaction turns into deliveries.
const PORTION: i64 = 500;

/// An event on its way to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// The `webhook-id`.
    pub(crate) id: String,
    pub(crate) kind: String,
    /// JSON.
    pub(crate) data: String,
    pub(crate) happened_at: i64,
    /// This one included.
    pub(crate) attempts: i64,
}

/// The name of an event for a webhook: the same whoever makes the delivery.
fn id(webhook: &str, event: &Event) -> String {
    format!("msg_{webhook}_{}", event.seq)
}

/// Makes deliveries of the next events that a webhook wants, as long as it has not too many waiting. Gives whether there may
/// be more.
pub(crate) async fn fill(database: &Database, webhook: &Stored, now_ms: i64) -> Result<bool, StorageError> {
    let waiting = counts(database, &webhook.name).await?.waiting;
    let room = MAX_WAITING - i64::try_from(waiting).unwrap_or(i64::MAX);
    if room <= 0 {
        return Ok(false);
    }
    let position = position(database, &webhook.name).await?.unwrap_or(webhook.position);
    let next = events::after(database, position, room.min(PORTION)).await?;
    let Some(last) = next.last() else { return Ok(false) };
    // The numbers have no holes but for what was forgotten.
    let forgotten = next.first().map_or(0, |first| first.seq - position - 1);
    if forgotten > 0 {
        tracing::error!(
            webhook = webhook.name,
            forgotten,
            "events were forgotten before a webhook had taken what was in front of them (push.events.keep)"
        );
    }
    let mut transaction = database.begin().await?;
    // Who moves the cursor makes the deliveries: two processes never make them twice.
    let moved = sqlx::query("UPDATE push_webhooks SET position = $1 WHERE name = $2 AND position = $3 AND enabled = 1")
        .bind(last.seq)
        .bind(webhook.name.as_str())
        .bind(position)
        .execute(&mut *transaction)
        .await?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    for event in next.iter().filter(|event| event.kind != MISSED && wants(&webhook.events, &event.kind)) {
        sqlx::query(
            "INSERT INTO push_deliveries (id, webhook, seq, kind, data, happened_at, due_at, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (webhook, seq) DO NOTHING",
        )
        .bind(id(&webhook.name, event))
        .bind(webhook.name.as_str())
        .bind(event.seq)
        .bind(event.kind.as_str())
        .bind(event.data.as_str())
        .bind(event.created_at)
        .bind(now_ms)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(true)
}

async fn position(database: &Database, webhook: &str) -> Result<Option<i64>, StorageError> {
    let row = sqlx::query("SELECT position FROM push_webhooks WHERE name = $1")
        .bind(webhook)
        .fetch_optional(database.pool())
        .await?;
    row.map(|row| Ok(row.try_get("position")?)).transpose()
}

/// Takes due deliveries until `lease_until`; what a process that died had taken comes again then.
pub(crate) async fn claim(
    database: &Database,
    webhook: &str,
    limit: i64,
    now_ms: i64,
    lease_until: i64,
) -> Result<Vec<Delivery>, StorageError> {
    let sql = sqlx::AssertSqlSafe(format!(
        "UPDATE push_deliveries SET attempts = attempts + 1, due_at = $1 WHERE id IN \
         (SELECT id FROM push_deliveries WHERE webhook = $2 AND due_at <= $3 ORDER BY due_at, seq LIMIT $4{}) \
         RETURNING id, kind, data, happened_at, attempts, seq",
        database.dialect().for_update_skip_locked()
    ));
    let mut transaction = database.begin().await?;
    let rows =
        sqlx::query(sql).bind(lease_until).bind(webhook).bind(now_ms).bind(limit).fetch_all(&mut *transaction).await?;
    let mut claimed = rows
        .iter()
        .map(|row| Ok((row.try_get::<i64, _>("seq")?, read(row)?)))
        .collect::<Result<Vec<_>, StorageError>>()?;
    transaction.commit().await?;
    claimed.sort_by_key(|(seq, _)| *seq);
    Ok(claimed.into_iter().map(|(_, delivery)| delivery).collect())
}

/// When the next delivery of a webhook is due.
pub(crate) async fn next_due(database: &Database, webhook: &str) -> Result<Option<i64>, StorageError> {
    let row = sqlx::query("SELECT MIN(due_at) AS due FROM push_deliveries WHERE webhook = $1 AND due_at IS NOT NULL")
        .bind(webhook)
        .fetch_one(database.pool())
        .await?;
    Ok(row.try_get("due")?)
}

/// It was taken.
pub(crate) async fn taken(database: &Database, id: &str) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM push_deliveries WHERE id = $1").bind(id).execute(database.pool()).await?;
    Ok(())
}

/// It was not taken: when it is tried again, or `None`: never.
pub(crate) async fn failed(database: &Database, delivery: &Delivery, due_at: Option<i64>) -> Result<(), StorageError> {
    sqlx::query("UPDATE push_deliveries SET due_at = $1 WHERE id = $2 AND attempts = $3")
        .bind(due_at)
        .bind(delivery.id.as_str())
        .bind(delivery.attempts)
        .execute(database.pool())
        .await?;
    Ok(())
}

/// What a webhook has not taken.
pub(crate) async fn counts(database: &Database, webhook: &str) -> Result<Counts, StorageError> {
    let row = sqlx::query(
        "SELECT COUNT(due_at) AS waiting, COUNT(*) - COUNT(due_at) AS given_up FROM push_deliveries WHERE webhook = $1",
    )
    .bind(webhook)
    .fetch_one(database.pool())
    .await?;
    let count = |column: &str| Ok::<_, StorageError>(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0));
    Ok(Counts { waiting: count("waiting")?, given_up: count("given_up")? })
}

/// Forgets what was given up before this time.
pub(crate) async fn forget(database: &Database, before: i64) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM push_deliveries WHERE due_at IS NULL AND created_at < $1")
        .bind(before)
        .execute(database.pool())
        .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<Delivery, StorageError> {
    Ok(Delivery {
        id: row.try_get("id")?,
        kind: row.try_get("kind")?,
        data: row.try_get("data")?,
        happened_at: row.try_get("happened_at")?,
        attempts: row.try_get("attempts")?,
    })
}
