//! The tables of segments, and their devices.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use tidings_shared::push_api::{NamedSegment, Where};
use tidings_shared::storage::{Database, StorageError};

use crate::devices::store::corrupt;

pub(crate) mod expansions;
mod filter;

use filter::Filter;

/// Stores a segment.
pub(crate) async fn put(database: &Database, name: &str, filter: &Where, now_ms: i64) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO push_segments (name, expression, updated_at) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET expression = excluded.expression, updated_at = excluded.updated_at",
    )
    .bind(name)
    .bind(serde_json::to_string(filter).map_err(corrupt)?)
    .bind(now_ms)
    .execute(database.pool())
    .await?;
    Ok(())
}

/// One segment.
pub(crate) async fn find(connection: &mut AnyConnection, name: &str) -> Result<Option<NamedSegment>, StorageError> {
    let row = sqlx::query("SELECT name, expression, updated_at FROM push_segments WHERE name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// All segments in the order of their names.
pub(crate) async fn all(database: &Database) -> Result<Vec<NamedSegment>, StorageError> {
    let rows = sqlx::query("SELECT name, expression, updated_at FROM push_segments ORDER BY name")
        .fetch_all(database.pool())
        .await?;
    rows.iter().map(read).collect()
}

/// Removes a segment; `false` when there was none. What was accepted for it goes on.
pub(crate) async fn remove(database: &Database, name: &str) -> Result<bool, StorageError> {
    let removed = sqlx::query("DELETE FROM push_segments WHERE name = $1").bind(name).execute(database.pool()).await?;
    Ok(removed.rows_affected() > 0)
}

/// How many devices a notification would go to.
pub(crate) async fn count(database: &Database, filter: &Where, now_ms: i64) -> Result<u64, StorageError> {
    let filter = Filter::new(filter, now_ms, 1);
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT COUNT(*) AS devices FROM push_devices d WHERE d.quarantined_at IS NULL AND {}",
        filter.sql
    ));
    let row = filter.bind(sqlx::query(sql)).fetch_one(database.pool()).await?;
    Ok(u64::try_from(row.try_get::<i64, _>("devices")?).unwrap_or(0))
}

fn read(row: &AnyRow) -> Result<NamedSegment, StorageError> {
    Ok(NamedSegment {
        name: row.try_get("name")?,
        filter: serde_json::from_str(&row.try_get::<String, _>("expression")?).map_err(corrupt)?,
        updated_at_ms: row.try_get("updated_at")?,
    })
}
