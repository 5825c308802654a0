//! What was answered to requests with an Idempotency-Key: the same request again has the same answer.

use std::collections::HashMap;

use sqlx::{AnyConnection, Row};
use tidings_shared::storage::{Database, StorageError};

use super::rows;

/// A key is remembered for a day.
const KEPT_MS: i64 = 86_400_000;

/// What a key was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The hash of the request.
    pub(crate) hash: String,
    /// Its answer.
    pub(crate) answer: String,
}

/// What those of these keys (each with the hash of its request) were used for that are remembered.
pub(crate) async fn find(
    connection: &mut AnyConnection,
    keys: &[(&str, &str)],
    now_ms: i64,
) -> Result<HashMap<String, Seen>, StorageError> {
    let mut found = HashMap::new();
    for portion in rows::portions(keys) {
        let text = format!(
            "SELECT key, body_hash, answer FROM push_idempotency WHERE created_at >= ? AND key IN ({})",
            rows::parameters(portion.len())
        );
        let mut query = sqlx::query(rows::statement(connection, &text)).bind(now_ms - KEPT_MS);
        for (key, _) in portion {
            query = query.bind(*key);
        }
        for row in query.fetch_all(&mut *connection).await? {
            let seen = Seen { hash: row.try_get("body_hash")?, answer: row.try_get("answer")? };
            found.insert(row.try_get("key")?, seen);
        }
    }
    Ok(found)
}

/// Remembers keys with the hashes of their requests and their answers. `false` when one of them has been taken by a
/// transaction that ended meanwhile: the caller's is to be given up.
pub(super) async fn keep(
    connection: &mut AnyConnection,
    keys: &mut [(&str, &str, String)],
    now_ms: i64,
) -> Result<bool, StorageError> {
    if keys.is_empty() {
        return Ok(true);
    }
    // In one order, so that two transactions that meet wait for each other in one direction only.
    keys.sort_unstable();
    let mut kept = 0;
    for portion in rows::portions(keys) {
        let text = format!(
            "INSERT INTO push_idempotency (key, body_hash, answer, created_at) VALUES {} \
             ON CONFLICT (key) DO UPDATE SET body_hash = excluded.body_hash, answer = excluded.answer, \
             created_at = excluded.created_at WHERE push_idempotency.created_at < ?",
            rows::values(portion.len(), 4)
        );
        let mut query = sqlx::query(rows::statement(connection, &text));
        for (key, hash, answer) in portion {
            query = query.bind(*key).bind(*hash).bind(answer.as_str()).bind(now_ms);
        }
        kept += query.bind(now_ms - KEPT_MS).execute(&mut *connection).await?.rows_affected();
    }
    Ok(kept == u64::try_from(keys.len()).unwrap_or(u64::MAX))
}

pub(super) async fn forget(database: &Database, now_ms: i64) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM push_idempotency WHERE created_at < $1")
        .bind(now_ms - KEPT_MS)
        .execute(database.pool())
        .await?;
    sqlx::query("DELETE FROM push_dedup WHERE until_at <= $1").bind(now_ms).execute(database.pool()).await?;
    Ok(())
}
