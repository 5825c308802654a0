//! What was answered to a request with an Idempotency-Key: the same request again has the same answer.

use sqlx::{AnyConnection, Row};
use tidings_shared::storage::{Database, StorageError};

/// A key is remembered for a day.
const KEPT_MS: i64 = 86_400_000;

/// Whether a request may be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The key is new, and taken with the caller's transaction.
    New,
    /// The same request was answered with this.
    Same(String),
    /// The key was used with another body.
    Other,
}

/// Takes a key, or says what it was used for. A second request that comes while the first is being stored waits
/// for its end.
pub(crate) async fn take(
    connection: &mut AnyConnection,
    key: &str,
    body_hash: &str,
    answer: &str,
    now_ms: i64,
) -> Result<Seen, StorageError> {
    sqlx::query("DELETE FROM push_idempotency WHERE key = $1 AND created_at < $2")
        .bind(key)
        .bind(now_ms - KEPT_MS)
        .execute(&mut *connection)
        .await?;
    let taken = sqlx::query(
        "INSERT INTO push_idempotency (key, body_hash, answer, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO NOTHING",
    )
    .bind(key)
    .bind(body_hash)
    .bind(answer)
    .bind(now_ms)
    .execute(&mut *connection)
    .await?;
    if taken.rows_affected() > 0 {
        return Ok(Seen::New);
    }
    find(connection, key, body_hash, now_ms).await
}

/// What a key was used for, without taking it.
pub(crate) async fn find(
    connection: &mut AnyConnection,
    key: &str,
    body_hash: &str,
    now_ms: i64,
) -> Result<Seen, StorageError> {
    let row = sqlx::query("SELECT body_hash, answer FROM push_idempotency WHERE key = $1 AND created_at >= $2")
        .bind(key)
        .bind(now_ms - KEPT_MS)
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(Seen::New) };
    if row.try_get::<String, _>("body_hash")? == body_hash {
        Ok(Seen::Same(row.try_get("answer")?))
    } else {
        Ok(Seen::Other)
    }
}

pub(super) async fn forget(database: &Database, now_ms: i64) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM push_idempotency WHERE created_at < $1")
        .bind(now_ms - KEPT_MS)
        .execute(database.pool())
        .await?;
    Ok(())
}
