//! What the broker's events change: the wake mark of a device and its push are written together, so that there is
//! exactly one push per device and sleep, whatever is delivered twice and whoever crashes when.

use std::sync::Arc;

use sqlx::Row;
use tidings_shared::events::{DeviceReturned, UserUnacked};
use tidings_shared::push_api::{Priority, Provider, Push};
use tidings_shared::storage::{Database, StorageError};

use crate::devices;
use crate::events;
use crate::ids::Ids;
use crate::queue::{NewNotification, NewTarget, store};

/// Every wake push replaces an earlier one that the phone has not seen yet.
const COLLAPSE_ID: &str = "wake";

/// What is the same for all wake pushes.
#[derive(Clone, Copy)]
pub(crate) struct WakePush<'a> {
    pub(crate) ids: &'a Ids,
    pub(crate) now_ms: i64,
    pub(crate) ttl_ms: i64,
    /// Whether this provider and app are configured.
    pub(crate) deliverable: &'a (dyn Fn(Provider, &str) -> bool + Sync),
}

/// Makes one wake push for each device of the user that has none outstanding and has not come back since
/// `happened_at` (the broker's clock). Gives the lanes that have something to do.
pub(crate) async fn unacked(
    database: &Database,
    event: &UserUnacked,
    happened_at: i64,
    push: WakePush<'_>,
) -> Result<Vec<String>, StorageError> {
    let _turn = database.turn().wait().await;
    let mut transaction = database.begin().await?;
    let first_time = sqlx::query(
        "INSERT INTO push_wake_events (user_id, message_id, created_at) VALUES ($1, $2, $3) \
         ON CONFLICT (user_id, message_id) DO NOTHING",
    )
    .bind(event.user.as_str())
    .bind(event.message_id.as_str())
    .bind(push.now_ms)
    .execute(&mut *transaction)
    .await?;
    if first_time.rows_affected() == 0 {
        return Ok(Vec::new());
    }
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT id FROM push_devices WHERE user_id = $1 AND wake_at IS NULL AND quarantined_at IS NULL AND (returned_at IS NULL OR returned_at <= $2) \
         ORDER BY id{}",
        database.dialect().for_update()
    ));
    let rows = sqlx::query(sql).bind(event.user.as_str()).bind(happened_at).fetch_all(&mut *transaction).await?;
    let mut targets = Vec::with_capacity(rows.len());
    for row in rows {
        let id: String = row.try_get("id")?;
        let Some(device) = devices::store::by_id(&mut transaction, &id).await? else { continue };
        let registration = &device.registration;
        if !(push.deliverable)(registration.provider, &registration.app) {
            tracing::warn!(app = registration.app, provider = %registration.provider, "a device cannot be woken: its app is not configured");
            continue;
        }
        let target = NewTarget::of_device(push.ids.next(), &device);
        sqlx::query("UPDATE push_devices SET wake_at = $1, wake_target = $2 WHERE id = $3")
            .bind(happened_at)
            .bind(target.id.as_str())
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        targets.push(target);
    }
    if !targets.is_empty() {
        let notification = NewNotification {
            id: push.ids.next(),
            push: Arc::new(Push::Wake {}),
            collapse_id: Some(COLLAPSE_ID.to_owned()),
            created_at: push.now_ms,
            expires_at: push.now_ms.saturating_add(push.ttl_ms),
            priority: Priority::High,
            localized: None,
        };
        store::insert(&mut transaction, &notification, &targets).await?;
    }
    transaction.commit().await?;
    Ok(targets.iter().map(|target| crate::queue::lane_name(target.provider, &target.app)).collect())
}

/// The device is back: its mark is cleared, and a wake push that still waits is not sent any more. A device that
/// registered without a client id counts as back with every return of its user.
pub(crate) async fn returned(database: &Database, event: &DeviceReturned, now_ms: i64) -> Result<(), StorageError> {
    const BACK: &str = "user_id = $1 AND (client = $2 OR client IS NULL)";
    let _turn = database.turn().wait().await;
    let mut transaction = database.begin().await?;
    let unsent = sqlx::AssertSqlSafe(format!(
        "UPDATE push_targets SET state = CASE WHEN maybe_taken = 1 THEN 'unknown' ELSE 'expired' END, \
         reason = 'device_returned', due_at = NULL, lease = NULL, updated_at = $4 \
         WHERE due_at IS NOT NULL AND state <> 'sending' \
         AND id IN (SELECT wake_target FROM push_devices WHERE {BACK} AND wake_at <= $3) RETURNING id"
    ));
    let rows = sqlx::query(unsent)
        .bind(event.user.as_str())
        .bind(event.client.as_str())
        .bind(event.at_ms)
        .bind(now_ms)
        .fetch_all(&mut *transaction)
        .await?;
    let ended = rows.iter().map(|row| row.try_get("id")).collect::<Result<Vec<String>, _>>()?;
    let marks = sqlx::AssertSqlSafe(format!(
        "UPDATE push_devices SET wake_target = CASE WHEN wake_at <= $3 THEN NULL ELSE wake_target END, \
         wake_at = CASE WHEN wake_at <= $3 THEN NULL ELSE wake_at END, \
         returned_at = CASE WHEN returned_at IS NULL OR returned_at < $3 THEN $3 ELSE returned_at END \
         WHERE {BACK}"
    ));
    sqlx::query(marks)
        .bind(event.user.as_str())
        .bind(event.client.as_str())
        .bind(event.at_ms)
        .execute(&mut *transaction)
        .await?;
    let ended: Vec<&str> = ended.iter().map(String::as_str).collect();
    events::store::of_ended(&mut transaction, &ended, now_ms).await?;
    transaction.commit().await?;
    Ok(())
}
