//! Work that one process at a time does, and where readers of somebody else's sequence stand.

use sqlx::{Any, Row, Transaction};
use tidings_shared::storage::StorageError;

use super::Store;

impl Store {
    /// Takes or renews a lease until `until` (ms since 1970). `false`: somebody else has it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease(&self, name: &str, owner: &str, now_ms: i64, until: i64) -> Result<bool, StorageError> {
        let taken = sqlx::query(
            "INSERT INTO wallet_leases (name, owner, until) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
             SET owner = excluded.owner, until = excluded.until WHERE wallet_leases.owner = $2 OR wallet_leases.until <= $4",
        )
        .bind(name)
        .bind(owner)
        .bind(until)
        .bind(now_ms)
        .execute(self.database.pool())
        .await?;
        Ok(taken.rows_affected() == 1)
    }

    /// Gives a lease back, so that another process need not wait for its end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release(&self, name: &str, owner: &str) -> Result<(), StorageError> {
        sqlx::query("DELETE FROM wallet_leases WHERE name = $1 AND owner = $2")
            .bind(name)
            .bind(owner)
            .execute(self.database.pool())
            .await?;
        Ok(())
    }

    /// Where a reader stands; `None`: it has not begun.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cursor(&self, name: &str) -> Result<Option<String>, StorageError> {
        let row = sqlx::query("SELECT position FROM wallet_cursors WHERE name = $1")
            .bind(name)
            .fetch_optional(self.database.pool())
            .await?;
        Ok(row.map(|row| row.try_get("position")).transpose()?)
    }

    /// Moves a reader.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn move_cursor(&self, name: &str, position: &str) -> Result<(), StorageError> {
        sqlx::query(
            "INSERT INTO wallet_cursors (name, position) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET position = excluded.position",
        )
        .bind(name)
        .bind(position)
        .execute(self.database.pool())
        .await?;
        Ok(())
    }
}

/// Renews a lease inside the transaction whose result only its owner may write. `false`: it was lost.
pub(super) async fn renew(
    transaction: &mut Transaction<'static, Any>,
    name: &str,
    owner: &str,
    until: i64,
) -> Result<bool, StorageError> {
    let renewed = sqlx::query("UPDATE wallet_leases SET until = $1 WHERE name = $2 AND owner = $3")
        .bind(until)
        .bind(name)
        .bind(owner)
        .execute(&mut **transaction)
        .await?;
    Ok(renewed.rows_affected() == 1)
}
