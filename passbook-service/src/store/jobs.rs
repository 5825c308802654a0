//! Changes of many passes: each is a row that says what is asked and how far it is, and whoever holds its lease works on
//! it. A process that dies leaves its lease to run out.

use sqlx::Row;
use sqlx::any::AnyRow;
use tidings_shared::storage::StorageError;

use super::{PassId, PassQuery, Store};
use crate::update::Patch;

const COLUMNS: &str = "id, query, change, state, total, done, changed, failed, faults, after_type, after_serial, created_at, \
                       updated_at, leased_until";

/// A pass that a job could not change.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobFault {
    /// Pass type identifier.
    pub pass_type_identifier: String,
    /// Serial number.
    pub serial_number: String,
    /// Why.
    pub message: String,
}

/// A change of many passes.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its name.
    pub id: String,
    /// Which passes.
    pub query: PassQuery,
    /// What becomes of them.
    pub change: Patch,
    /// `running`, `done` or `cancelled`.
    pub state: String,
    /// How many passes the query finds; -1: not counted yet.
    pub total: i64,
    /// How many were looked at.
    pub done: i64,
    /// How many of them changed.
    pub changed: i64,
    /// How many could not be changed.
    pub failed: i64,
    /// The first of these.
    pub faults: Vec<JobFault>,
    /// The last pass that was looked at.
    pub after: Option<PassId>,
    /// ms since 1970.
    pub created_at: i64,
    /// ms since 1970.
    pub updated_at: i64,
    /// Nobody else works on it before (ms since 1970).
    pub leased_until: i64,
}

impl Store {
    /// Stores a new job.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_job(&self, job: &Job) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        sqlx::query(
            "INSERT INTO wallet_jobs (id, query, change, state, total, done, changed, failed, faults, created_at, updated_at, \
             leased_until) VALUES ($1, $2, $3, $4, $5, 0, 0, 0, '[]', $6, $6, 0)",
        )
        .bind(&job.id)
        .bind(serde_json::json!(job.query).to_string())
        .bind(serde_json::json!(job.change).to_string())
        .bind(&job.state)
        .bind(job.total)
        .bind(job.created_at)
        .execute(self.database.pool())
        .await?;
        Ok(())
    }

    /// A job.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn job(&self, id: &str) -> Result<Option<Job>, StorageError> {
        let text = format!("SELECT {COLUMNS} FROM wallet_jobs WHERE id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id).fetch_optional(self.database.pool()).await?;
        row.as_ref().map(job_from).transpose()
    }

    /// The latest jobs, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn jobs(&self, limit: i64) -> Result<Vec<Job>, StorageError> {
        let text = format!("SELECT {COLUMNS} FROM wallet_jobs ORDER BY id DESC LIMIT $1");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text)).bind(limit).fetch_all(self.database.pool()).await?;
        rows.iter().map(job_from).collect()
    }

    /// Takes a running job that nobody works on, until `until_ms`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_job(&self, now_ms: i64, until_ms: i64) -> Result<Option<Job>, StorageError> {
        let waiting = sqlx::query("SELECT id FROM wallet_jobs WHERE state = 'running' AND leased_until <= $1 LIMIT 1")
            .bind(now_ms)
            .fetch_optional(self.database.pool())
            .await?;
        if waiting.is_none() {
            return Ok(None);
        }
        let _turn = self.database.turn().wait().await;
        let text = format!(
            "UPDATE wallet_jobs SET leased_until = $1 WHERE id = (SELECT id FROM wallet_jobs WHERE state = 'running' \
             AND leased_until <= $2 ORDER BY id LIMIT 1) AND state = 'running' AND leased_until <= $2 RETURNING {COLUMNS}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(until_ms)
            .bind(now_ms)
            .fetch_optional(self.database.pool())
            .await?;
        row.as_ref().map(job_from).transpose()
    }

    /// Notes how far a job is, if its lease is still ours, and leases it until `until_ms`. `false`: somebody else has it,
    /// or it was cancelled.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_job(&self, job: &Job, until_ms: i64) -> Result<bool, StorageError> {
        let _turn = self.database.turn().wait().await;
        let saved = sqlx::query(
            "UPDATE wallet_jobs SET state = $1, done = $2, changed = $3, failed = $4, faults = $5, after_type = $6, \
             after_serial = $7, updated_at = $8, leased_until = $9 WHERE id = $10 AND state = 'running' AND leased_until = $11",
        )
        .bind(&job.state)
        .bind(job.done)
        .bind(job.changed)
        .bind(job.failed)
        .bind(serde_json::json!(job.faults).to_string())
        .bind(job.after.as_ref().map(|id| id.pass_type.as_str()))
        .bind(job.after.as_ref().map(|id| id.serial.as_str()))
        .bind(job.updated_at)
        .bind(until_ms)
        .bind(&job.id)
        .bind(job.leased_until)
        .execute(self.database.pool())
        .await?;
        Ok(saved.rows_affected() == 1)
    }

    /// Notes how many passes a job has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_job_total(&self, id: &str, total: i64) -> Result<(), StorageError> {
        sqlx::query("UPDATE wallet_jobs SET total = $1 WHERE id = $2 AND total < $1")
            .bind(total)
            .bind(id)
            .execute(self.database.pool())
            .await?;
        Ok(())
    }

    /// Ends a running job where it stands. `false`: there is none, or it has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cancel_job(&self, id: &str, now_ms: i64) -> Result<bool, StorageError> {
        let _turn = self.database.turn().wait().await;
        let cancelled = sqlx::query(
            "UPDATE wallet_jobs SET state = 'cancelled', updated_at = $1 WHERE id = $2 AND state = 'running'",
        )
        .bind(now_ms)
        .bind(id)
        .execute(self.database.pool())
        .await?;
        Ok(cancelled.rows_affected() == 1)
    }

    /// Forgets jobs that ended before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_jobs(&self, before_ms: i64) -> Result<u64, StorageError> {
        let old = sqlx::query("SELECT id FROM wallet_jobs WHERE state <> 'running' AND updated_at < $1 LIMIT 1")
            .bind(before_ms)
            .fetch_optional(self.database.pool())
            .await?;
        if old.is_none() {
            return Ok(0);
        }
        let _turn = self.database.turn().wait().await;
        let gone = sqlx::query("DELETE FROM wallet_jobs WHERE state <> 'running' AND updated_at < $1")
            .bind(before_ms)
            .execute(self.database.pool())
            .await?;
        Ok(gone.rows_affected())
    }
}

fn job_from(row: &AnyRow) -> Result<Job, StorageError> {
    let id: String = row.try_get("id")?;
    let text = |column: &str| row.try_get::<String, _>(column);
    let corrupt = |what: &str| StorageError::Corrupt(format!("wallet_jobs {id}: {what}"));
    let after = row.try_get::<Option<String>, _>("after_type")?.zip(row.try_get("after_serial")?);
    Ok(Job {
        query: serde_json::from_str(&text("query")?).map_err(|_| corrupt("query"))?,
        change: serde_json::from_str(&text("change")?).map_err(|_| corrupt("change"))?,
        faults: serde_json::from_str(&text("faults")?).map_err(|_| corrupt("faults"))?,
        state: text("state")?,
        total: row.try_get("total")?,
        done: row.try_get("done")?,
        changed: row.try_get("changed")?,
        failed: row.try_get("failed")?,
        after: after.map(|(pass_type, serial)| PassId { pass_type, serial }),
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        leased_until: row.try_get("leased_until")?,
        id,
    })
}
