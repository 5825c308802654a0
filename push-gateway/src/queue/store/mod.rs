//! The tables of notifications and their targets: storing and showing. Claims, results and upkeep have files of
//! their own.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use tidings_shared::push_api::{Notification, Priority, Target, TargetState};
use tidings_shared::storage::{Database, StorageError};

use super::{Address, NewNotification, NewTarget};
use crate::devices::store::{corrupt, provider};
use crate::segments::store::expansions;

mod cancel;
mod claim;
pub(crate) mod idempotency;
mod once;
mod record;
pub(crate) mod stored;
mod submit;
pub(crate) mod upkeep;
mod zones;

pub(crate) use cancel::cancel;
pub(crate) use claim::{Claim, claim, next_due};
pub(crate) use record::{SendResult, record};
pub(crate) use submit::{NewExpansion, Stored, Submission, settle_portion, submit};
pub(crate) use tidings_shared::storage::rows;
pub(crate) use zones::time_zones;

/// Stores a notification with its targets, in the caller's transaction.
pub(crate) async fn insert(
    connection: &mut AnyConnection,
    notification: &NewNotification,
    targets: &[NewTarget],
) -> Result<(), StorageError> {
    insert_notifications(connection, &[notification]).await?;
    let rows: Vec<_> = (0..).zip(targets).map(|(position, target)| (notification, target, position)).collect();
    insert_targets(connection, &rows).await
}

/// Stores notifications, in the caller's transaction.
pub(crate) async fn insert_notifications(
    connection: &mut AnyConnection,
    notifications: &[&NewNotification],
) -> Result<(), StorageError> {
    for portion in rows::portions(notifications) {
        let text = format!(
            "INSERT INTO push_notifications (id, push, collapse_id, created_at, expires_at, localized) VALUES {}",
            rows::values(portion.len(), 6)
        );
        let mut query = sqlx::query(rows::statement(connection, &text));
        for notification in portion {
            query = query
                .bind(notification.id.as_str())
                .bind(serde_json::to_string(&*notification.push).map_err(corrupt)?)
                .bind(notification.collapse_id.as_deref())
                .bind(notification.created_at)
                .bind(notification.expires_at)
                .bind(notification.localized.as_deref());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Stores targets of stored notifications, each with its position among those of its notification, in the caller's
/// transaction.
pub(crate) async fn insert_targets(
    connection: &mut AnyConnection,
    targets: &[(&NewNotification, &NewTarget, i64)],
) -> Result<(), StorageError> {
    for portion in rows::portions(targets) {
        let text = format!(
            "INSERT INTO push_targets (id, notification_id, position, lane, provider, app, device_id, device, token, \
             registered_at, environment, state, reason, due_at, created_at, updated_at, expires_at, priority, collapse_key) \
             VALUES {}",
            rows::values(portion.len(), 19)
        );
        let mut query = sqlx::query(rows::statement(connection, &text));
        for (notification, target, position) in portion {
            let (device_id, device, token, registered_at) = match &target.to {
                Address::Device { id, name } => (Some(id.as_str()), Some(name.as_str()), None, None),
                Address::Token { token, registered_at } => (None, None, Some(token.as_str()), *registered_at),
            };
            let state = if target.ended.is_some() { TargetState::Expired } else { TargetState::Queued };
            let due_at = target.due_at.unwrap_or(notification.created_at);
            query = query
                .bind(target.id.as_str())
                .bind(notification.id.as_str())
                .bind(*position)
                .bind(target.lane())
                .bind(target.provider.as_str())
                .bind(target.app.as_str())
                .bind(device_id)
                .bind(device)
                .bind(token)
                .bind(registered_at)
                .bind(target.environment.as_str())
                .bind(state.as_str())
                .bind(target.ended)
                .bind(target.ended.is_none().then_some(due_at))
                .bind(notification.created_at)
                .bind(notification.created_at)
                .bind(target.expires_at.unwrap_or(notification.expires_at))
                .bind(rank(notification.priority))
                .bind(target.collapse_key.as_deref());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

fn rank(priority: Priority) -> i64 {
    i64::try_from(priority.rank()).unwrap_or(i64::MAX)
}

/// The most targets of a notification to a segment that are shown with it; its timeline has all of them.
const SHOWN: i64 = 1000;

/// A notification and where its targets are.
pub(crate) async fn find(database: &Database, id: &str) -> Result<Option<Notification>, StorageError> {
    let known =
        sqlx::query("SELECT id FROM push_notifications WHERE id = $1").bind(id).fetch_optional(database.pool()).await?;
    if known.is_none() {
        return Ok(None);
    }
    let expansion = expansions::progress(database, id).await?;
    // A campaign is shown in the order of the index; the answers to others keep the order of the request.
    let (order, shown) = if expansion.is_some() { ("id", SHOWN) } else { ("position", i64::MAX) };
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT id, device, provider, app, state, attempts, provider_status, reason, provider_id, maybe_taken, token_gone, due_at \
         FROM push_targets WHERE notification_id = $1 ORDER BY {order} LIMIT $2"
    ));
    let rows = sqlx::query(sql).bind(id).bind(shown).fetch_all(database.pool()).await?;
    let targets = rows.iter().map(read_target).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Notification { id: id.to_owned(), targets, expansion }))
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
