//! Changing some of what is known of a device.

use std::collections::BTreeSet;

use sqlx::Row;
use tidings_shared::identity::UserId;
use tidings_shared::push_api::{Environment, Provider};
use tidings_shared::storage::{Database, StorageError};

use super::{find_in, provider, set_tags, tags_of};
use crate::devices::Registered;
use crate::devices::describe::{MAX_TAGS, version_key};

/// What is to be changed; `None` leaves it, `Some(None)` removes it. Checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) token: Option<String>,
    pub(crate) old_token: Option<String>,
    pub(crate) environment: Option<Environment>,
    pub(crate) client: Option<Option<String>>,
    pub(crate) locale: Option<Option<String>>,
    pub(crate) time_zone: Option<Option<String>>,
    pub(crate) version: Option<Option<String>>,
    pub(crate) tags: Option<BTreeSet<String>>,
    pub(crate) add_tags: BTreeSet<String>,
    pub(crate) remove_tags: BTreeSet<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Done(Box<Registered>),
    /// No such device.
    Unknown,
    /// `old_token` is not the one that is known.
    OtherToken,
    /// With these tags it would have so many.
    TooManyTags(usize),
}

/// Changes a device. A rotated token is a new generation, ends a quarantine, and confirms the registration; where another
/// device had it, it has moved from there.
pub(crate) async fn change(
    database: &Database,
    user: &UserId,
    device: &str,
    change: &Change,
    now_ms: i64,
) -> Result<Changed, StorageError> {
    let mut transaction = database.begin().await?;
    // On PostgreSQL two changes of one device take turns.
    let lock = sqlx::AssertSqlSafe(format!(
        "SELECT id FROM push_devices WHERE user_id = $1 AND device = $2{}",
        database.dialect().for_update()
    ));
    sqlx::query(lock).bind(user.as_str()).bind(device).fetch_optional(&mut *transaction).await?;
    let Some(mut found) = find_in(&mut transaction, user, device).await? else { return Ok(Changed::Unknown) };
    let known = &mut found.registration;
    if change.old_token.as_ref().is_some_and(|old| *old != known.token && change.token.as_ref() != Some(&known.token)) {
        return Ok(Changed::OtherToken);
    }
    let had = tags_of(&mut transaction, &found.id).await?;
    let mut tags = change.tags.clone().unwrap_or_else(|| had.clone());
    tags.retain(|tag| !change.remove_tags.contains(tag));
    tags.extend(change.add_tags.iter().cloned());
    if tags.len() > MAX_TAGS {
        return Ok(Changed::TooManyTags(tags.len()));
    }
    if let Some(token) = &change.token {
        sqlx::query("DELETE FROM push_devices WHERE provider = $1 AND app = $2 AND token = $3 AND id <> $4")
            .bind(known.provider.as_str())
            .bind(known.app.as_str())
            .bind(token.as_str())
            .bind(found.id.as_str())
            .execute(&mut *transaction)
            .await?;
        if *token != known.token || found.quarantined_at.is_some() {
            found.generation += 1;
        }
        known.token.clone_from(token);
        (found.registered_at, found.quarantined_at) = (now_ms, None);
    }
    known.environment = change.environment.unwrap_or(known.environment);
    let set = |field: &mut Option<String>, change: &Option<Option<String>>| {
        if let Some(value) = change {
            field.clone_from(value);
        }
    };
    set(&mut known.client, &change.client);
    set(&mut known.described.locale, &change.locale);
    set(&mut known.described.time_zone, &change.time_zone);
    set(&mut known.described.version, &change.version);
    sqlx::query(
        "UPDATE push_devices SET token = $1, environment = $2, client = $3, locale = $4, time_zone = $5, version = $6, \
         version_key = $7, generation = $8, registered_at = $9, quarantined_at = $10 WHERE id = $11",
    )
    .bind(known.token.as_str())
    .bind(known.environment.as_str())
    .bind(known.client.as_deref())
    .bind(known.described.locale.as_deref())
    .bind(known.described.time_zone.as_deref())
    .bind(known.described.version.as_deref())
    .bind(known.described.version.as_deref().and_then(version_key))
    .bind(found.generation)
    .bind(found.registered_at)
    .bind(found.quarantined_at)
    .bind(found.id.as_str())
    .execute(&mut *transaction)
    .await?;
    if tags != had {
        set_tags(&mut transaction, &found.id, &tags).await?;
    }
    known.described.tags = Some(tags);
    transaction.commit().await?;
    Ok(Changed::Done(Box::new(found)))
}

/// The provider of a device's token and the app that it belongs to, to check a change against.
pub(crate) async fn belongs_to(
    database: &Database,
    user: &UserId,
    device: &str,
) -> Result<Option<(Provider, String)>, StorageError> {
    let row = sqlx::query("SELECT provider, app FROM push_devices WHERE user_id = $1 AND device = $2")
        .bind(user.as_str())
        .bind(device)
        .fetch_optional(database.pool())
        .await?;
    row.map(|row| Ok((provider(&row, "provider")?, row.try_get("app")?))).transpose()
}
