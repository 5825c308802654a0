//! Claiming: due targets are taken for the time of a lease.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::Row;
use sqlx::any::AnyRow;
use tidings_shared::push_api::{Priority, Push};
use tidings_shared::storage::{Database, StorageError};

use crate::devices::store::{corrupt, environment};
use crate::queue::slots::Room;
use crate::queue::{Claimed, Recipient};
use crate::templates;

/// What was claimed.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) targets: Vec<Claimed>,
    /// There was no room for more, and there may be more.
    pub(crate) more: bool,
}

/// Takes due targets of a lane until `lease_until`, as many as there is room for, class by class. What was claimed
/// before and never recorded comes again, marked as perhaps taken.
pub(crate) async fn claim(
    database: &Database,
    lane: &str,
    lease: &str,
    mut room: Room,
    now_ms: i64,
    lease_until: i64,
) -> Result<Claim, StorageError> {
    let mut transaction = database.begin().await?;
    let (mut claimed, mut more) = (0, false);
    for class in Priority::ALL {
        let limit = room.of(class);
        if limit == 0 {
            continue;
        }
        // Materialized: PostgreSQL must not look for due ones again for each row that it changes.
        let sql = sqlx::AssertSqlSafe(format!(
            "WITH due AS MATERIALIZED (SELECT id FROM push_targets WHERE lane = $4 AND priority = $5 AND due_at <= $3 \
             ORDER BY due_at LIMIT $6{}) \
             UPDATE push_targets SET state = 'sending', lease = $1, due_at = $2, attempts = attempts + 1, updated_at = $3, \
             first_attempt_at = COALESCE(first_attempt_at, $3), \
             maybe_taken = CASE WHEN state = 'sending' THEN 1 ELSE maybe_taken END \
             WHERE id IN (SELECT id FROM due)",
            database.dialect().for_update_skip_locked()
        ));
        let taken = sqlx::query(sql)
            .bind(lease)
            .bind(lease_until)
            .bind(now_ms)
            .bind(lane)
            .bind(super::rank(class))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await?;
        let count = usize::try_from(taken.rows_affected()).unwrap_or(usize::MAX);
        room.take(class, count);
        more |= count == limit;
        claimed += taken.rows_affected();
    }
    if claimed == 0 {
        return Ok(Claim { targets: Vec::new(), more: false });
    }
    let rows = sqlx::query(
        "SELECT t.id, t.environment, t.tried_other, t.attempts, t.first_attempt_at, t.expires_at, t.priority, \
         t.maybe_taken, t.reason, t.device_id, t.token, t.registered_at, n.id AS notification, n.push, n.localized, n.collapse_id, n.cancelled_at, \
         d.locale, d.token AS device_token, d.environment AS device_environment, d.generation, d.registered_at AS device_registered_at \
         FROM push_targets t JOIN push_notifications n ON n.id = t.notification_id \
         LEFT JOIN push_devices d ON d.id = t.device_id AND d.provider = t.provider AND d.app = t.app \
         AND d.quarantined_at IS NULL \
         WHERE t.lane = $1 AND t.priority IN (0, 1, 2) AND t.due_at = $2 AND t.lease = $3 \
         ORDER BY t.priority, t.created_at, t.id",
    )
    .bind(lane)
    .bind(lease_until)
    .bind(lease)
    .fetch_all(&mut *transaction)
    .await?;
    let mut pushes = HashMap::new();
    let targets = rows.iter().map(|row| read_claimed(row, lease, &mut pushes)).collect::<Result<Vec<_>, _>>()?;
    transaction.commit().await?;
    Ok(Claim { targets, more })
}

/// The targets of one notification share its push, those of a template the push of their language.
type Pushes = HashMap<(String, Option<String>), Arc<Push>>;

fn push_of(row: &AnyRow, pushes: &mut Pushes) -> Result<Arc<Push>, StorageError> {
    let localized: Option<String> = row.try_get("localized")?;
    let locale: Option<String> = if localized.is_some() { row.try_get("locale")? } else { None };
    let key = (row.try_get("notification")?, locale);
    if let Some(push) = pushes.get(&key) {
        return Ok(Arc::clone(push));
    }
    let own = match &localized {
        Some(localized) => templates::pick(localized, key.1.as_deref()).map_err(corrupt)?,
        None => None,
    };
    let push = match own {
        Some(push) => Arc::new(push),
        None => Arc::new(serde_json::from_str(&row.try_get::<String, _>("push")?).map_err(corrupt)?),
    };
    pushes.insert(key, Arc::clone(&push));
    Ok(push)
}

fn read_claimed(row: &AnyRow, lease: &str, pushes: &mut Pushes) -> Result<Claimed, StorageError> {
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
        push: push_of(row, pushes)?,
        collapse_id: row.try_get("collapse_id")?,
        priority: Priority::from_rank(row.try_get("priority")?).unwrap_or_default(),
        cancelled: row.try_get::<Option<i64>, _>("cancelled_at")?.is_some(),
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

/// When the next target of a lane is due, of the classes that there is room for: a waiting one, or one whose lease
/// ends.
pub(crate) async fn next_due(database: &Database, lane: &str, room: Room) -> Result<Option<i64>, StorageError> {
    const OLDEST: &str = "SELECT MIN(due_at) FROM push_targets WHERE lane = $1 AND due_at IS NOT NULL AND priority";
    let sql =
        sqlx::AssertSqlSafe(format!("SELECT ({OLDEST} = 0) AS high, ({OLDEST} = 1) AS normal, ({OLDEST} = 2) AS bulk"));
    let row = sqlx::query(sql).bind(lane).fetch_one(database.pool()).await?;
    let mut next: Option<i64> = None;
    for (class, column) in Priority::ALL.into_iter().zip(["high", "normal", "bulk"]) {
        let due: Option<i64> = row.try_get(column)?;
        if room.of(class) > 0 {
            next = next.into_iter().chain(due).min();
        }
    }
    Ok(next)
}
