//! Claiming: due targets are taken for the time of a lease.

use std::sync::Arc;

use sqlx::Row;
use sqlx::any::AnyRow;
use tidings_shared::storage::{Database, StorageError};

use crate::devices::store::{corrupt, environment};
use crate::queue::{Claimed, Recipient};

/// Takes up to `limit` due targets of a lane until `lease_until`. What was claimed before and never recorded comes
/// again, marked as perhaps taken.
pub(crate) async fn claim(
    database: &Database,
    lane: &str,
    lease: &str,
    limit: i64,
    now_ms: i64,
    lease_until: i64,
) -> Result<Vec<Claimed>, StorageError> {
    let mut transaction = database.begin().await?;
    let sql = sqlx::AssertSqlSafe(format!(
        "UPDATE push_targets SET state = 'sending', lease = $1, due_at = $2, attempts = attempts + 1, updated_at = $3, \
         first_attempt_at = COALESCE(first_attempt_at, $3), \
         maybe_taken = CASE WHEN state = 'sending' THEN 1 ELSE maybe_taken END \
         WHERE id IN (SELECT id FROM push_targets WHERE lane = $4 AND due_at <= $3 ORDER BY due_at LIMIT $5{})",
        database.dialect().for_update_skip_locked()
    ));
    let claimed = sqlx::query(sql)
        .bind(lease)
        .bind(lease_until)
        .bind(now_ms)
        .bind(lane)
        .bind(limit)
        .execute(&mut *transaction)
        .await?;
    if claimed.rows_affected() == 0 {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT t.id, t.environment, t.tried_other, t.attempts, t.first_attempt_at, t.expires_at, \
         t.maybe_taken, t.reason, t.device_id, t.token, t.registered_at, n.push, n.collapse_id, \
         d.token AS device_token, d.environment AS device_environment, d.generation, d.registered_at AS device_registered_at \
         FROM push_targets t JOIN push_notifications n ON n.id = t.notification_id \
         LEFT JOIN push_devices d ON d.id = t.device_id AND d.provider = t.provider AND d.app = t.app \
         WHERE t.lane = $1 AND t.due_at = $2 AND t.lease = $3 ORDER BY t.created_at, t.id",
    )
    .bind(lane)
    .bind(lease_until)
    .bind(lease)
    .fetch_all(&mut *transaction)
    .await?;
    let claimed = rows.iter().map(|row| read_claimed(row, lease)).collect::<Result<Vec<_>, _>>()?;
    transaction.commit().await?;
    Ok(claimed)
}

fn read_claimed(row: &AnyRow, lease: &str) -> Result<Claimed, StorageError> {
    let tried_other = row.try_get::<i64, _>("tried_other")? != 0;
    let device: Option<String> = row.try_get("device_id")?;
    let device_token: Option<String> = row.try_get("device_token")?;
    let mut target_environment = environment(row, "environment")?;
    let recipient = match (device, device_token) {
        (Some(id), Some(token)) => {
            if !tried_other {
                target_environment = environment(row, "device_environment")?;
            }
            Recipient::Device {
                id,
                token,
                generation: row.try_get("generation")?,
                registered_at: row.try_get("device_registered_at")?,
            }
        }
        (Some(_), None) => Recipient::Gone,
        (None, _) => Recipient::Token { token: row.try_get("token")?, registered_at: row.try_get("registered_at")? },
    };
    Ok(Claimed {
        id: row.try_get("id")?,
        lease: lease.to_owned(),
        push: Arc::new(serde_json::from_str(&row.try_get::<String, _>("push")?).map_err(corrupt)?),
        collapse_id: row.try_get("collapse_id")?,
        environment: target_environment,
        tried_other,
        attempts: row.try_get("attempts")?,
        first_attempt_at: row.try_get("first_attempt_at")?,
        expires_at: row.try_get("expires_at")?,
        maybe_taken: row.try_get::<i64, _>("maybe_taken")? != 0,
        last_reason: row.try_get("reason")?,
        recipient,
    })
}

/// When the next target of a lane is due: a waiting one, or one whose lease ends.
pub(crate) async fn next_due(database: &Database, lane: &str) -> Result<Option<i64>, StorageError> {
    let row = sqlx::query("SELECT MIN(due_at) AS due FROM push_targets WHERE lane = $1 AND due_at IS NOT NULL")
        .bind(lane)
        .fetch_one(database.pool())
        .await?;
    Ok(row.try_get("due")?)
}
