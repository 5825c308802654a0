//! The tables of notifications and their targets: storing and showing. Claims, results and upkeep have files of
//! their own.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use tidings_shared::push_api::{Notification, Target, TargetState};
use tidings_shared::storage::{Database, StorageError};

use super::{Address, NewNotification, NewTarget, lane_name};
use crate::devices::store::{corrupt, provider};

mod claim;
pub(crate) mod idempotency;
mod record;
pub(crate) mod upkeep;

pub(crate) use claim::{claim, next_due};
pub(crate) use record::{SendResult, record};

/// Stores a notification with its targets, in the caller's transaction.
pub(crate) async fn insert(
    connection: &mut AnyConnection,
    notification: &NewNotification,
    targets: &[NewTarget],
) -> Result<(), StorageError> {
    let push = serde_json::to_string(&*notification.push).map_err(corrupt)?;
    sqlx::query(
        "INSERT INTO push_notifications (id, push, collapse_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(notification.id.as_str())
    .bind(push)
    .bind(notification.collapse_id.as_deref())
    .bind(notification.created_at)
    .bind(notification.expires_at)
    .execute(&mut *connection)
    .await?;
    for (position, target) in targets.iter().enumerate() {
        let (device_id, device, token, registered_at) = match &target.to {
            Address::Device { id, name } => (Some(id.as_str()), Some(name.as_str()), None, None),
            Address::Token { token, registered_at } => (None, None, Some(token.as_str()), *registered_at),
        };
        sqlx::query(
            "INSERT INTO push_targets (id, notification_id, position, lane, provider, app, device_id, device, token, \
             registered_at, environment, state, due_at, created_at, updated_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'queued', $12, $12, $12, $13)",
        )
        .bind(target.id.as_str())
        .bind(notification.id.as_str())
        .bind(i64::try_from(position).unwrap_or(i64::MAX))
        .bind(lane_name(target.provider, &target.app))
        .bind(target.provider.as_str())
        .bind(target.app.as_str())
        .bind(device_id)
        .bind(device)
        .bind(token)
        .bind(registered_at)
        .bind(target.environment.as_str())
        .bind(notification.created_at)
        .bind(notification.expires_at)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// A notification and where its targets are.
pub(crate) async fn find(database: &Database, id: &str) -> Result<Option<Notification>, StorageError> {
    let known =
        sqlx::query("SELECT id FROM push_notifications WHERE id = $1").bind(id).fetch_optional(database.pool()).await?;
    if known.is_none() {
        return Ok(None);
    }
    let rows = sqlx::query(
        "SELECT id, device, provider, app, state, attempts, provider_status, reason, provider_id, maybe_taken, token_gone, due_at \
         FROM push_targets WHERE notification_id = $1 ORDER BY position",
    )
    .bind(id)
    .fetch_all(database.pool())
    .await?;
    let targets = rows.iter().map(read_target).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Notification { id: id.to_owned(), targets, expansion: None }))
}

fn read_target(row: &AnyRow) -> Result<Target, StorageError> {
    let name: String = row.try_get("state")?;
    let state = TargetState::from_name(&name).ok_or_else(|| corrupt(format!("no state is called {name}")))?;
    let waiting = matches!(state, TargetState::Queued | TargetState::Retrying);
    let attempts = u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(0);
    let maybe_taken = row.try_get::<i64, _>("maybe_taken")? != 0;
    Ok(Target {
        id: row.try_get("id")?,
        device: row.try_get("device")?,
        provider: provider(row, "provider")?,
        app: row.try_get("app")?,
        state,
        attempts,
        provider_status: row
            .try_get::<Option<i64>, _>("provider_status")?
            .and_then(|status| u16::try_from(status).ok()),
        reason: row.try_get("reason")?,
        provider_id: row.try_get("provider_id")?,
        token_gone: row.try_get::<i64, _>("token_gone")? != 0,
        maybe_repeated: maybe_taken && attempts > 1,
        next_attempt_at_ms: row.try_get::<Option<i64>, _>("due_at")?.filter(|_| waiting),
    })
}
