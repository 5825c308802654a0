//! What devices reported, one row for each pattern.

use serde::Serialize;
use sqlx::Row;
use tidings_shared::storage::StorageError;

use super::Store;

/// A pattern that devices reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Which cause, see `diagnose`.
    pub cause: String,
    /// The redacted text.
    pub pattern: String,
    /// How often.
    pub count: i64,
    /// ms since 1970.
    pub first_at_ms: i64,
    /// ms since 1970.
    pub last_at_ms: i64,
}

/// More patterns of one cause than this are counted together: the route has no authentication.
const MOST_PATTERNS: i64 = 200;

impl Store {
    /// Counts `times` reports. `true`: nothing of this cause was reported before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_diagnosis(
        &self,
        id: &str,
        cause: &str,
        pattern: &str,
        times: i64,
        now_ms: i64,
    ) -> Result<bool, StorageError> {
        if self.bump_diagnosis(id, times, now_ms).await? {
            return Ok(false);
        }
        let row = sqlx::query("SELECT COUNT(*) AS patterns FROM wallet_diagnoses WHERE cause = $1")
            .bind(cause)
            .fetch_one(self.database.pool())
            .await?;
        let patterns: i64 = row.try_get("patterns")?;
        let rest = format!("{cause}:rest");
        let (id, pattern) =
            if patterns < MOST_PATTERNS { (id, pattern) } else { (rest.as_str(), "(further texts, counted together)") };
        let inserted = sqlx::query(
            "INSERT INTO wallet_diagnoses (id, cause, pattern, count, first_at, last_at) VALUES ($1, $2, $3, $5, $4, $4) ON CONFLICT (id) DO NOTHING",
        )
        .bind(id)
        .bind(cause)
        .bind(pattern)
        .bind(now_ms)
        .bind(times)
        .execute(self.database.pool())
        .await?;
        if inserted.rows_affected() == 0 {
            self.bump_diagnosis(id, times, now_ms).await?;
        }
        Ok(patterns == 0)
    }

    async fn bump_diagnosis(&self, id: &str, times: i64, now_ms: i64) -> Result<bool, StorageError> {
        let updated = sqlx::query("UPDATE wallet_diagnoses SET count = count + $3, last_at = $1 WHERE id = $2")
            .bind(now_ms)
            .bind(id)
            .bind(times)
            .execute(self.database.pool())
            .await?;
        Ok(updated.rows_affected() > 0)
    }

    /// All patterns: unknown ones first, then the latest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn diagnoses(&self) -> Result<Vec<Diagnosis>, StorageError> {
        let rows = sqlx::query(
            "SELECT cause, pattern, count, first_at, last_at FROM wallet_diagnoses \
             ORDER BY CASE WHEN cause = 'unknown' THEN 0 ELSE 1 END, last_at DESC, id",
        )
        .fetch_all(self.database.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Diagnosis {
                    cause: row.try_get("cause")?,
                    pattern: row.try_get("pattern")?,
                    count: row.try_get("count")?,
                    first_at_ms: row.try_get("first_at")?,
                    last_at_ms: row.try_get("last_at")?,
                })
            })
            .collect()
    }
}
