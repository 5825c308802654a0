//! Which messages are done, and what is still to be published for them.

use sqlx::{Any, Row as _, Transaction};
use tidings_shared::message_id::MessageId;
use tidings_shared::storage::{Database, StorageError};

use crate::runtime::publisher::Outgoing;

/// What is known of a message that was handled before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Processed {
    /// Everything is done.
    Done,
    /// Its work is committed; these messages may not have been published yet.
    ToPublish(Vec<Outgoing>),
}

/// Marks the message as done, within the transaction; `false` when it was marked before.
pub(crate) async fn claim(
    transaction: &mut Transaction<'_, Any>,
    group: &str,
    id: &MessageId,
    now_ms: i64,
) -> Result<bool, StorageError> {
    let result = sqlx::query(
        "INSERT INTO handlers_processed (group_name, message_id, processed_at_ms) VALUES ($1, $2, $3)
         ON CONFLICT (group_name, message_id) DO NOTHING",
    )
    .bind(group)
    .bind(id.as_str())
    .bind(now_ms)
    .execute(&mut **transaction)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Keeps what is to be published for a message that the same transaction has claimed.
pub(crate) async fn keep_outbox(
    transaction: &mut Transaction<'_, Any>,
    group: &str,
    id: &MessageId,
    outbox: &[Outgoing],
) -> Result<(), StorageError> {
    sqlx::query("UPDATE handlers_processed SET outbox = $3 WHERE group_name = $1 AND message_id = $2")
        .bind(group)
        .bind(id.as_str())
        .bind(to_text(outbox)?)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// What is known of a message; `None` when nobody has handled it.
pub(crate) async fn lookup(
    database: &Database,
    group: &str,
    id: &MessageId,
) -> Result<Option<Processed>, StorageError> {
    let row = sqlx::query("SELECT outbox FROM handlers_processed WHERE group_name = $1 AND message_id = $2")
        .bind(group)
        .bind(id.as_str())
        .fetch_optional(database.pool())
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(match row.try_get::<Option<String>, _>("outbox")? {
        Some(text) => Processed::ToPublish(from_text(&text)?),
        None => Processed::Done,
    }))
}

/// Everything of these messages is published.
pub(crate) async fn published(database: &Database, group: &str, ids: &[MessageId]) -> Result<(), StorageError> {
    let Some(last) = ids.last() else { return Ok(()) };
    // Few different texts, so that the database prepares each once: the last id fills up to a power of two.
    let size = ids.len().next_power_of_two();
    let places: Vec<_> = (2..size + 2).map(|place| format!("${place}")).collect();
    let text = format!(
        "UPDATE handlers_processed SET outbox = NULL WHERE group_name = $1 AND message_id IN ({})",
        places.join(", ")
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(group);
    for id in ids.iter().chain(std::iter::repeat(last)).take(size) {
        query = query.bind(id.as_str());
    }
    query.execute(database.pool()).await?;
    Ok(())
}

/// Messages that were handled before `before_ms` and whose publishes are still waiting, oldest first.
pub(crate) async fn waiting(
    database: &Database,
    group: &str,
    before_ms: i64,
    limit: i64,
) -> Result<Vec<(String, Vec<Outgoing>)>, StorageError> {
    let rows = sqlx::query(
        "SELECT message_id, outbox FROM handlers_processed
         WHERE group_name = $1 AND outbox IS NOT NULL AND processed_at_ms < $2 ORDER BY processed_at_ms LIMIT $3",
    )
    .bind(group)
    .bind(before_ms)
    .bind(limit)
    .fetch_all(database.pool())
    .await?;
    rows.iter().map(|row| Ok((row.try_get("message_id")?, from_text(&row.try_get::<String, _>("outbox")?)?))).collect()
}

/// Forgets messages that were done before `before_ms`; says how many.
pub(crate) async fn forget(database: &Database, group: &str, before_ms: i64) -> Result<u64, StorageError> {
    let result =
        sqlx::query("DELETE FROM handlers_processed WHERE group_name = $1 AND outbox IS NULL AND processed_at_ms < $2")
            .bind(group)
            .bind(before_ms)
            .execute(database.pool())
            .await?;
    Ok(result.rows_affected())
}

fn to_text(outbox: &[Outgoing]) -> Result<String, StorageError> {
    serde_json::to_string(outbox).map_err(|error| StorageError::Corrupt(error.to_string()))
}

fn from_text(text: &str) -> Result<Vec<Outgoing>, StorageError> {
    serde_json::from_str(text).map_err(|error| StorageError::Corrupt(error.to_string()))
}
