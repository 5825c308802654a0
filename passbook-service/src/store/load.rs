//! How each process answers devices, told to the one that runs a campaign.

use sqlx::Row;
use tidings_shared::storage::StorageError;

use super::Store;
use crate::campaign::load::Sample;

impl Store {
    /// Tells what a process has answered since it last told.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tell_load(&self, process: &str, sample: &Sample, now_ms: i64) -> Result<(), StorageError> {
        let sample = serde_json::to_string(sample).map_err(|error| StorageError::Corrupt(error.to_string()))?;
        sqlx::query(
            "INSERT INTO wallet_load (process, at, sample) VALUES ($1, $2, $3) \
             ON CONFLICT (process) DO UPDATE SET at = excluded.at, sample = excluded.sample",
        )
        .bind(process)
        .bind(now_ms)
        .bind(sample)
        .execute(self.database.pool())
        .await?;
        Ok(())
    }

    /// What processes told at `since` (ms since 1970) or later, each its latest. What is a day older is forgotten.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn told_load(&self, since: i64) -> Result<Vec<Sample>, StorageError> {
        let rows = sqlx::query("SELECT at, sample FROM wallet_load").fetch_all(self.database.pool()).await?;
        let mut samples = Vec::new();
        let mut old = false;
        for row in &rows {
            let (at, sample): (i64, String) = (row.try_get("at")?, row.try_get("sample")?);
            old |= at < since - DAY_MS;
            if at >= since {
                samples.push(
                    serde_json::from_str(&sample)
                        .map_err(|_| StorageError::Corrupt("wallet_load: a sample cannot be read".to_owned()))?,
                );
            }
        }
        if old {
            sqlx::query("DELETE FROM wallet_load WHERE at < $1")
                .bind(since - DAY_MS)
                .execute(self.database.pool())
                .await?;
        }
        Ok(samples)
    }
}

const DAY_MS: i64 = 86_400_000;
