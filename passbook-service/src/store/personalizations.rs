//! What people gave when they signed up with a pass, as a list that backends read on from where they were.
//!
//! A row gets its place in the list only once it is committed, from whoever reads the list and holds the lock of
//! `wallet_personalization_clock`: so no row appears behind a place that somebody has read already.

use serde_json::{Map, Value};
use sqlx::Row;
use tidings_shared::storage::StorageError;
use uuid::Uuid;

use super::{PassId, Store};

/// Rows that get their place in one transaction.
const PORTION: i64 = 500;

/// One sign-up.
#[derive(Clone, Debug, PartialEq)]
pub struct Personalization {
    /// Its place in the list.
    pub position: i64,
    /// The pass.
    pub id: PassId,
    /// What Wallet sent.
    pub info: Map<String, Value>,
    /// ms since 1970.
    pub created_at_ms: i64,
}

impl Store {
    /// Keeps what somebody gave; an earlier sign-up with the same pass is replaced.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_personalization(
        &self,
        id: &PassId,
        token_hash: &str,
        info: &Map<String, Value>,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        sqlx::query(
            "INSERT INTO wallet_personalizations (id, pass_type, serial, token_hash, info, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (pass_type, serial) DO UPDATE SET \
             token_hash = excluded.token_hash, info = excluded.info, created_at = excluded.created_at, position = NULL",
        )
        .bind(Uuid::now_v7().to_string())
        .bind(&id.pass_type)
        .bind(&id.serial)
        .bind(token_hash)
        .bind(Value::Object(info.clone()).to_string())
        .bind(now_ms)
        .execute(self.database.pool())
        .await?;
        Ok(())
    }

    /// The hash of the token that a pass was signed up with.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn personalization_token(&self, id: &PassId) -> Result<Option<String>, StorageError> {
        let row = sqlx::query("SELECT token_hash FROM wallet_personalizations WHERE pass_type = $1 AND serial = $2")
            .bind(&id.pass_type)
            .bind(&id.serial)
            .fetch_optional(self.database.pool())
            .await?;
        Ok(row.map(|row| row.try_get("token_hash")).transpose()?)
    }

    /// Up to `limit` sign-ups after a place in the list.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn personalizations(&self, after: i64, limit: i64) -> Result<Vec<Personalization>, StorageError> {
        while self.place_personalizations().await? {}
        let rows = sqlx::query(
            "SELECT position, pass_type, serial, info, created_at FROM wallet_personalizations WHERE position > $1 \
             ORDER BY position LIMIT $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(self.database.pool())
        .await?;
        let read = |row: &sqlx::any::AnyRow| {
            let info: String = row.try_get("info")?;
            let corrupt = || StorageError::Corrupt("wallet_personalizations: info is no JSON object".to_owned());
            Ok(Personalization {
                position: row.try_get("position")?,
                id: PassId { pass_type: row.try_get("pass_type")?, serial: row.try_get("serial")? },
                info: serde_json::from_str(&info).map_err(|_| corrupt())?,
                created_at_ms: row.try_get("created_at")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Forgets what was read: everything up to a place in the list. How many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_personalizations(&self, through: i64) -> Result<u64, StorageError> {
        let _turn = self.database.turn().wait().await;
        let gone = sqlx::query("DELETE FROM wallet_personalizations WHERE position <= $1")
            .bind(through)
            .execute(self.database.pool())
            .await?;
        Ok(gone.rows_affected())
    }

    /// Gives places to committed rows that have none. `true`: there may be more.
    async fn place_personalizations(&self) -> Result<bool, StorageError> {
        let waiting = sqlx::query("SELECT id FROM wallet_personalizations WHERE position IS NULL LIMIT 1")
            .fetch_optional(self.database.pool())
            .await?;
        if waiting.is_none() {
            return Ok(false);
        }
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        let lock = self.database.dialect().for_update();
        let text = format!("SELECT last_position FROM wallet_personalization_clock WHERE id = 1{lock}");
        let clock = sqlx::query(sqlx::AssertSqlSafe(text)).fetch_one(&mut *transaction).await?;
        let mut position: i64 = clock.try_get("last_position")?;
        let rows = sqlx::query(
            "SELECT id FROM wallet_personalizations WHERE position IS NULL ORDER BY created_at, id LIMIT $1",
        )
        .bind(PORTION)
        .fetch_all(&mut *transaction)
        .await?;
        for row in &rows {
            position += 1;
            sqlx::query("UPDATE wallet_personalizations SET position = $1 WHERE id = $2 AND position IS NULL")
                .bind(position)
                .bind(row.try_get::<String, _>("id")?)
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query("UPDATE wallet_personalization_clock SET last_position = $1 WHERE id = 1")
            .bind(position)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(i64::try_from(rows.len()).unwrap_or(PORTION) >= PORTION)
    }
}
