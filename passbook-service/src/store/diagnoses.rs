//! What devices reported, one row for each pattern, and who is to be told of it.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};
use tidings_shared::storage::StorageError;

use super::{PassId, Store};

/// A pattern that devices reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Names it.
    pub id: String,
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
    /// What is known of some of the reports: fact and how often it was true.
    pub facts: BTreeMap<String, i64>,
}

/// Reports of one pattern that were gathered.
#[derive(Clone, Copy, Debug)]
pub struct Reports<'a> {
    /// Names the pattern.
    pub id: &'a str,
    /// Which cause.
    pub cause: &'a str,
    /// The redacted text.
    pub pattern: &'a str,
    /// How many.
    pub times: i64,
    /// What is known of some of them.
    pub facts: &'a BTreeMap<&'static str, i64>,
    /// Somebody wants to be told of a first.
    pub tell: bool,
}

/// A diagnosis that somebody is to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Which.
    pub diagnosis: Diagnosis,
    /// Failed attempts so far.
    pub attempts: i64,
}

/// More patterns of one cause than this are counted together: the route has no authentication.
const MOST_PATTERNS: i64 = 200;
/// Every unknown text is a first of its kind, but not more often than this: anybody can send texts. ms.
const UNKNOWN_PAUSE_MS: i64 = 3_600_000;

const COLUMNS: &str = "id, cause, pattern, count, first_at, last_at, facts";

impl Store {
    /// Counts reports. `true`: they are a first, somebody should look.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_diagnosis(&self, reports: Reports<'_>, now_ms: i64) -> Result<bool, StorageError> {
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        if self.bump_diagnosis(&mut transaction, reports.id, &reports, now_ms).await? {
            transaction.commit().await?;
            return Ok(false);
        }
        let row = sqlx::query(
            "SELECT COUNT(*) AS patterns, COALESCE(MAX(told_at), 0) AS latest FROM wallet_diagnoses WHERE cause = $1",
        )
        .bind(reports.cause)
        .fetch_one(&mut *transaction)
        .await?;
        let (patterns, latest): (i64, i64) = (row.try_get("patterns")?, row.try_get("latest")?);
        let first = patterns == 0 || (reports.cause == "unknown" && latest <= now_ms - UNKNOWN_PAUSE_MS);
        // Full: the least of those that nobody was told of makes room, so that a truly new one is still seen.
        let mut patterns = patterns;
        if patterns >= MOST_PATTERNS {
            let removed = sqlx::query(
                "DELETE FROM wallet_diagnoses WHERE id = (SELECT id FROM wallet_diagnoses WHERE cause = $1 AND told_at IS NULL \
                 AND alert_at IS NULL AND id <> $1 || ':rest' ORDER BY count, last_at LIMIT 1)",
            )
            .bind(reports.cause)
            .execute(&mut *transaction)
            .await?;
            patterns -= i64::try_from(removed.rows_affected()).unwrap_or(0);
        }
        let rest = format!("{}:rest", reports.cause);
        let (id, pattern) = if patterns < MOST_PATTERNS {
            (reports.id, reports.pattern)
        } else {
            (rest.as_str(), "(further texts, counted together)")
        };
        let inserted = sqlx::query(
            "INSERT INTO wallet_diagnoses (id, cause, pattern, count, first_at, last_at, facts, alert_at, told_at) \
             VALUES ($1, $2, $3, $5, $4, $4, $6, $7, $8) ON CONFLICT (id) DO NOTHING",
        )
        .bind(id)
        .bind(reports.cause)
        .bind(pattern)
        .bind(now_ms)
        .bind(reports.times)
        .bind(json(reports.facts)?)
        .bind((first && reports.tell).then_some(now_ms))
        .bind(first.then_some(now_ms))
        .execute(&mut *transaction)
        .await?;
        let inserted = inserted.rows_affected() == 1;
        if !inserted {
            self.bump_diagnosis(&mut transaction, id, &reports, now_ms).await?;
        }
        transaction.commit().await?;
        Ok(first && inserted)
    }

    async fn bump_diagnosis(
        &self,
        transaction: &mut Transaction<'static, Any>,
        id: &str,
        reports: &Reports<'_>,
        now_ms: i64,
    ) -> Result<bool, StorageError> {
        let lock = self.database.dialect().for_update();
        let text = format!("SELECT facts FROM wallet_diagnoses WHERE id = $1{lock}");
        let row = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id).fetch_optional(&mut **transaction).await?;
        let Some(row) = row else { return Ok(false) };
        let mut facts = facts_from(&row)?;
        for (fact, count) in reports.facts {
            *facts.entry((*fact).to_owned()).or_insert(0) += count;
        }
        sqlx::query("UPDATE wallet_diagnoses SET count = count + $1, last_at = $2, facts = $3 WHERE id = $4")
            .bind(reports.times)
            .bind(now_ms)
            .bind(json(&facts)?)
            .bind(id)
            .execute(&mut **transaction)
            .await?;
        Ok(true)
    }

    /// All patterns: unknown ones first, then the latest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn diagnoses(&self) -> Result<Vec<Diagnosis>, StorageError> {
        let text = format!(
            "SELECT {COLUMNS} FROM wallet_diagnoses ORDER BY CASE WHEN cause = 'unknown' THEN 0 ELSE 1 END, last_at DESC, id"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text)).fetch_all(self.database.pool()).await?;
        rows.iter().map(diagnosis_from).collect()
    }

    /// Forgets a pattern: the next report of it is a first again, unless others of its cause are known. `false`: there was none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_diagnosis(&self, id: &str) -> Result<bool, StorageError> {
        let removed =
            sqlx::query("DELETE FROM wallet_diagnoses WHERE id = $1").bind(id).execute(self.database.pool()).await?;
        Ok(removed.rows_affected() == 1)
    }

    /// One that somebody is to be told of, claimed until `lease_until`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_alert(&self, now_ms: i64, lease_until: i64) -> Result<Option<Alert>, StorageError> {
        let text = format!(
            "SELECT {COLUMNS}, alert_at, alert_attempts FROM wallet_diagnoses WHERE alert_at <= $1 ORDER BY alert_at LIMIT 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(text)).bind(now_ms).fetch_optional(self.database.pool()).await?;
        let Some(row) = row else { return Ok(None) };
        let diagnosis = diagnosis_from(&row)?;
        let claimed = sqlx::query("UPDATE wallet_diagnoses SET alert_at = $1 WHERE id = $2 AND alert_at = $3")
            .bind(lease_until)
            .bind(&diagnosis.id)
            .bind(row.try_get::<i64, _>("alert_at")?)
            .execute(self.database.pool())
            .await?;
        // Somebody else was faster: they tell it.
        let ours = claimed.rows_affected() == 1;
        Ok(ours.then_some(Alert { diagnosis, attempts: row.try_get("alert_attempts")? }))
    }

    /// It was told (`None`), or is told again at this time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle_alert(&self, id: &str, again_at: Option<i64>) -> Result<(), StorageError> {
        sqlx::query("UPDATE wallet_diagnoses SET alert_at = $1, alert_attempts = alert_attempts + 1 WHERE id = $2")
            .bind(again_at)
            .bind(id)
            .execute(self.database.pool())
            .await?;
        Ok(())
    }

    /// Whether a device is registered for a pass.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_registered(&self, device: &str, id: &PassId) -> Result<bool, StorageError> {
        let row =
            sqlx::query("SELECT device FROM wallet_registrations WHERE device = $1 AND pass_type = $2 AND serial = $3")
                .bind(device)
                .bind(&id.pass_type)
                .bind(&id.serial)
                .fetch_optional(self.database.pool())
                .await?;
        Ok(row.is_some())
    }

    /// When a device was last pushed (ms since 1970).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_push(&self, device: &str) -> Result<Option<i64>, StorageError> {
        let row = sqlx::query("SELECT MAX(pushed_at) AS pushed_at FROM wallet_pushes WHERE device = $1")
            .bind(device)
            .fetch_one(self.database.pool())
            .await?;
        Ok(row.try_get("pushed_at")?)
    }
}

fn json(facts: &impl serde::Serialize) -> Result<String, StorageError> {
    serde_json::to_string(facts).map_err(|error| StorageError::Corrupt(error.to_string()))
}

fn facts_from(row: &AnyRow) -> Result<BTreeMap<String, i64>, StorageError> {
    let facts: String = row.try_get("facts")?;
    serde_json::from_str(&facts).map_err(|_| StorageError::Corrupt("wallet_diagnoses: facts cannot be read".to_owned()))
}

fn diagnosis_from(row: &AnyRow) -> Result<Diagnosis, StorageError> {
    Ok(Diagnosis {
        id: row.try_get("id")?,
        cause: row.try_get("cause")?,
        pattern: row.try_get("pattern")?,
        count: row.try_get("count")?,
        first_at_ms: row.try_get("first_at")?,
        last_at_ms: row.try_get("last_at")?,
        facts: facts_from(row)?,
    })
}
