//! A stored notification as it is needed to make further targets for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::Row;
use tidings_shared::push_api::{Priority, Push};
use tidings_shared::storage::{Database, StorageError};

use crate::devices::store::corrupt;
use crate::queue::NewNotification;

/// See the head of this file.
#[derive(Clone, Debug)]
pub(crate) struct StoredNotification {
    pub(crate) notification: NewNotification,
    /// The pushes in the languages of its template.
    pub(crate) pushes: Vec<Push>,
    pub(crate) cancelled: bool,
}

impl StoredNotification {
    /// Nothing of it is sent any more.
    pub(crate) fn is_over(&self, now_ms: i64) -> bool {
        self.cancelled || (self.notification.expires_at != 0 && self.notification.expires_at <= now_ms)
    }
}

/// Reads a notification that targets of this priority are made for.
pub(crate) async fn find(
    database: &Database,
    id: &str,
    priority: Priority,
) -> Result<Option<StoredNotification>, StorageError> {
    let row = sqlx::query(
        "SELECT push, localized, collapse_id, created_at, expires_at, cancelled_at FROM push_notifications WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(database.pool())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let localized: Option<String> = row.try_get("localized")?;
    let pushes = match &localized {
        Some(localized) => {
            serde_json::from_str::<BTreeMap<String, Push>>(localized).map_err(corrupt)?.into_values().collect()
        }
        None => Vec::new(),
    };
    Ok(Some(StoredNotification {
        notification: NewNotification {
            id: id.to_owned(),
            push: Arc::new(serde_json::from_str(&row.try_get::<String, _>("push")?).map_err(corrupt)?),
            collapse_id: row.try_get("collapse_id")?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
            priority,
            localized: localized.map(Into::into),
        },
        pushes,
        cancelled: row.try_get::<Option<i64>, _>("cancelled_at")?.is_some(),
    }))
}
