//! The table of webhooks.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use tidings_shared::push_api::Webhook;
use tidings_shared::storage::{Database, StorageError};

use crate::devices::store::corrupt;

pub(crate) mod deliveries;

/// A webhook as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) events: Vec<String>,
    pub(crate) secret: String,
    pub(crate) old_secret: Option<String>,
    pub(crate) old_secret_until: Option<i64>,
    pub(crate) enabled: bool,
    pub(crate) disabled_reason: Option<String>,
    pub(crate) failing_since: Option<i64>,
    pub(crate) last_error: Option<String>,
    pub(crate) position: i64,
    pub(crate) updated_at: i64,
}

impl Stored {
    /// The secrets that sign now, the newest first.
    pub(crate) fn secrets(&self, now_ms: i64) -> Vec<&str> {
        let old = self.old_secret.as_deref().filter(|_| self.old_secret_until.is_some_and(|until| until > now_ms));
        [Some(self.secret.as_str()), old].into_iter().flatten().collect()
    }

    /// For those who ask; without its secrets.
    pub(crate) fn shown(self, counts: Counts, now_ms: i64) -> Webhook {
        Webhook {
            name: self.name,
            url: self.url,
            events: self.events,
            enabled: self.enabled,
            disabled_reason: self.disabled_reason,
            secret: None,
            old_secret_until_ms: self.old_secret_until.filter(|until| *until > now_ms),
            waiting: counts.waiting,
            given_up: counts.given_up,
            failing_since_ms: self.failing_since,
            last_error: self.last_error,
            updated_at_ms: self.updated_at,
        }
    }
}

/// What a webhook has not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) waiting: u64,
    pub(crate) given_up: u64,
}

const COLUMNS: &str = "name, url, events, secret, old_secret, old_secret_until, enabled, disabled_reason, failing_since, \
     last_error, position, updated_at";

/// One webhook.
pub(crate) async fn find(connection: &mut AnyConnection, name: &str) -> Result<Option<Stored>, StorageError> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM push_webhooks WHERE name = $1"));
    let row = sqlx::query(sql).bind(name).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

/// All webhooks in the order of their names.
pub(crate) async fn all(database: &Database) -> Result<Vec<Stored>, StorageError> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM push_webhooks ORDER BY name"));
    let rows = sqlx::query(sql).fetch_all(database.pool()).await?;
    rows.iter().map(read).collect()
}

/// Stores what a webhook is now, in the caller's transaction. A new one, and one that comes back, begins with the next event.
pub(crate) async fn put(connection: &mut AnyConnection, webhook: &Stored) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO push_webhooks (name, url, events, secret, old_secret, old_secret_until, enabled, disabled_reason, \
         failing_since, last_error, position, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         ON CONFLICT (name) DO UPDATE SET url = excluded.url, events = excluded.events, secret = excluded.secret, \
         old_secret = excluded.old_secret, old_secret_until = excluded.old_secret_until, enabled = excluded.enabled, \
         disabled_reason = excluded.disabled_reason, failing_since = excluded.failing_since, \
         last_error = excluded.last_error, position = excluded.position, updated_at = excluded.updated_at",
    )
    .bind(webhook.name.as_str())
    .bind(webhook.url.as_str())
    .bind(serde_json::to_string(&webhook.events).map_err(corrupt)?)
    .bind(webhook.secret.as_str())
    .bind(webhook.old_secret.as_deref())
    .bind(webhook.old_secret_until)
    .bind(i64::from(webhook.enabled))
    .bind(webhook.disabled_reason.as_deref())
    .bind(webhook.failing_since)
    .bind(webhook.last_error.as_deref())
    .bind(webhook.position)
    .bind(webhook.updated_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// The number of the last event: where a new webhook begins.
pub(crate) async fn last_event(connection: &mut AnyConnection) -> Result<i64, StorageError> {
    let row = sqlx::query("SELECT last_seq FROM push_event_clock WHERE id = 1").fetch_one(connection).await?;
    Ok(row.try_get("last_seq")?)
}

/// Removes a webhook with what it has not taken; `false` when there was none.
pub(crate) async fn remove(database: &Database, name: &str) -> Result<bool, StorageError> {
    let removed = sqlx::query("DELETE FROM push_webhooks WHERE name = $1").bind(name).execute(database.pool()).await?;
    Ok(removed.rows_affected() > 0)
}

/// It takes events.
pub(crate) async fn works(database: &Database, name: &str) -> Result<(), StorageError> {
    sqlx::query(
        "UPDATE push_webhooks SET failing_since = NULL, last_error = NULL WHERE name = $1 AND failing_since IS NOT NULL",
    )
    .bind(name)
    .execute(database.pool())
    .await?;
    Ok(())
}

/// It did not take an event. Gives since when it has taken none.
pub(crate) async fn fails(database: &Database, name: &str, error: &str, now_ms: i64) -> Result<i64, StorageError> {
    let row = sqlx::query(
        "UPDATE push_webhooks SET failing_since = COALESCE(failing_since, $1), last_error = $2 WHERE name = $3 \
         RETURNING failing_since",
    )
    .bind(now_ms)
    .bind(error)
    .bind(name)
    .fetch_optional(database.pool())
    .await?;
    row.map_or(Ok(now_ms), |row| Ok(row.try_get("failing_since")?))
}

/// Disables a webhook; `false` when it was disabled already, or has changed since.
pub(crate) async fn disable(
    database: &Database,
    webhook: &Stored,
    reason: &str,
    now_ms: i64,
) -> Result<bool, StorageError> {
    let changed = sqlx::query(
        "UPDATE push_webhooks SET enabled = 0, disabled_reason = $1, updated_at = $2 \
         WHERE name = $3 AND enabled = 1 AND updated_at = $4",
    )
    .bind(reason)
    .bind(now_ms)
    .bind(webhook.name.as_str())
    .bind(webhook.updated_at)
    .execute(database.pool())
    .await?;
    Ok(changed.rows_affected() > 0)
}

fn read(row: &AnyRow) -> Result<Stored, StorageError> {
    Ok(Stored {
        name: row.try_get("name")?,
        url: row.try_get("url")?,
        events: serde_json::from_str(&row.try_get::<String, _>("events")?).map_err(corrupt)?,
        secret: row.try_get("secret")?,
        old_secret: row.try_get("old_secret")?,
        old_secret_until: row.try_get("old_secret_until")?,
        enabled: row.try_get::<i64, _>("enabled")? != 0,
        disabled_reason: row.try_get("disabled_reason")?,
        failing_since: row.try_get("failing_since")?,
        last_error: row.try_get("last_error")?,
        position: row.try_get("position")?,
        updated_at: row.try_get("updated_at")?,
    })
}
