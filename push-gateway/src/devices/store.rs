//! The table of registered devices.

use std::collections::BTreeSet;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use tidings_shared::identity::UserId;
use tidings_shared::push_api::{Environment, Provider};
use tidings_shared::storage::{Database, StorageError};

use super::describe::version_key;
use super::{Description, Registered, Registration};

mod change;
mod many;
pub(crate) mod prune;

pub(crate) use change::{Change, Changed, belongs_to, change};
pub(crate) use many::of_users;

pub(crate) const COLUMNS: &str = "id, user_id, device, client, provider, app, environment, token, generation, registered_at, wake_at, \
     returned_at, quarantined_at, locale, time_zone, version";

/// What came of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Created(Registered),
    Updated(Registered),
    /// The user has as many devices as allowed.
    TooMany,
}

/// Stores a registration. The same device again confirms or replaces its token; a token that another device or
/// user had has moved, and the old registration ends with it.
pub(crate) async fn register(
    database: &Database,
    registration: &Registration,
    new_id: &str,
    max_devices: u64,
    now_ms: i64,
) -> Result<Outcome, StorageError> {
    let mut attempts = 0;
    loop {
        match try_register(database, registration, new_id, max_devices, now_ms).await {
            // On PostgreSQL two first registrations may meet; the second then finds the first.
            Err(error) if error.is_unique_violation() && attempts < 3 => attempts += 1,
            result => return result,
        }
    }
}

async fn try_register(
    database: &Database,
    registration: &Registration,
    new_id: &str,
    max_devices: u64,
    now_ms: i64,
) -> Result<Outcome, StorageError> {
    let _turn = database.turn().wait().await;
    let mut transaction = database.begin().await?;
    sqlx::query(
        "DELETE FROM push_devices WHERE provider = $1 AND app = $2 AND token = $3 AND NOT (user_id = $4 AND device = $5)",
    )
    .bind(registration.provider.as_str())
    .bind(registration.app.as_str())
    .bind(registration.token.as_str())
    .bind(registration.user.as_str())
    .bind(registration.device.as_str())
    .execute(&mut *transaction)
    .await?;
    let outcome = match find_in(&mut transaction, &registration.user, &registration.device).await? {
        Some(mut found) => {
            found.registration.described.tags = Some(tags_of(&mut transaction, &found.id).await?);
            let token_changed = found.registration.token != registration.token
                || found.registration.provider != registration.provider
                || found.registration.app != registration.app;
            Outcome::Updated(update(&mut transaction, found, registration, token_changed, now_ms).await?)
        }
        None if count(&mut transaction, &registration.user).await? >= max_devices => return Ok(Outcome::TooMany),
        None => Outcome::Created(insert(&mut transaction, registration, new_id, now_ms).await?),
    };
    transaction.commit().await?;
    Ok(outcome)
}

async fn update(
    connection: &mut AnyConnection,
    found: Registered,
    registration: &Registration,
    token_changed: bool,
    now_ms: i64,
) -> Result<Registered, StorageError> {
    // A device that comes back from quarantine is a new generation: what was said of the old one says nothing of it.
    let generation = found.generation + i64::from(token_changed || found.quarantined_at.is_some());
    let described = merged(&found.registration.described, &registration.described);
    sqlx::query(
        "UPDATE push_devices SET client = $1, provider = $2, app = $3, environment = $4, token = $5, generation = $6, \
         registered_at = $7, quarantined_at = NULL, locale = $9, time_zone = $10, version = $11, version_key = $12 \
         WHERE id = $8",
    )
    .bind(registration.client.as_deref())
    .bind(registration.provider.as_str())
    .bind(registration.app.as_str())
    .bind(registration.environment.as_str())
    .bind(registration.token.as_str())
    .bind(generation)
    .bind(now_ms)
    .bind(found.id.as_str())
    .bind(described.locale.as_deref())
    .bind(described.time_zone.as_deref())
    .bind(described.version.as_deref())
    .bind(described.version.as_deref().and_then(version_key))
    .execute(&mut *connection)
    .await?;
    if let Some(tags) =
        registration.described.tags.as_ref().filter(|tags| found.registration.described.tags.as_ref() != Some(*tags))
    {
        set_tags(connection, &found.id, tags).await?;
    }
    let registration = Registration { described, ..registration.clone() };
    Ok(Registered { generation, registered_at: now_ms, quarantined_at: None, registration, ..found })
}

/// What a registration leaves out stays as it is known.
fn merged(known: &Description, said: &Description) -> Description {
    Description {
        locale: said.locale.clone().or_else(|| known.locale.clone()),
        time_zone: said.time_zone.clone().or_else(|| known.time_zone.clone()),
        version: said.version.clone().or_else(|| known.version.clone()),
        tags: said.tags.clone().or_else(|| known.tags.clone()),
    }
}

/// Gives a device these tags and no others.
async fn set_tags(connection: &mut AnyConnection, id: &str, tags: &BTreeSet<String>) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM push_device_tags WHERE device_id = $1").bind(id).execute(&mut *connection).await?;
    for tag in tags {
        sqlx::query("INSERT INTO push_device_tags (device_id, tag) VALUES ($1, $2)")
            .bind(id)
            .bind(tag.as_str())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// The tags of a device, in order.
async fn tags_of(connection: &mut AnyConnection, id: &str) -> Result<BTreeSet<String>, StorageError> {
    let rows =
        sqlx::query("SELECT tag FROM push_device_tags WHERE device_id = $1").bind(id).fetch_all(connection).await?;
    Ok(rows.iter().map(|row| row.try_get("tag")).collect::<Result<_, _>>()?)
}

async fn insert(
    connection: &mut AnyConnection,
    registration: &Registration,
    new_id: &str,
    now_ms: i64,
) -> Result<Registered, StorageError> {
    sqlx::query(
        "INSERT INTO push_devices (id, user_id, device, client, provider, app, environment, token, generation, registered_at, \
         locale, time_zone, version, version_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, $11, $12, $13)",
    )
    .bind(new_id)
    .bind(registration.user.as_str())
    .bind(registration.device.as_str())
    .bind(registration.client.as_deref())
    .bind(registration.provider.as_str())
    .bind(registration.app.as_str())
    .bind(registration.environment.as_str())
    .bind(registration.token.as_str())
    .bind(now_ms)
    .bind(registration.described.locale.as_deref())
    .bind(registration.described.time_zone.as_deref())
    .bind(registration.described.version.as_deref())
    .bind(registration.described.version.as_deref().and_then(version_key))
    .execute(&mut *connection)
    .await?;
    if let Some(tags) = &registration.described.tags {
        set_tags(connection, new_id, tags).await?;
    }
    Ok(Registered {
        id: new_id.to_owned(),
        generation: 1,
        registered_at: now_ms,
        wake_at: None,
        returned_at: None,
        quarantined_at: None,
        registration: registration.clone(),
    })
}

async fn count(connection: &mut AnyConnection, user: &UserId) -> Result<u64, StorageError> {
    let row = sqlx::query("SELECT COUNT(*) AS devices FROM push_devices WHERE user_id = $1 AND quarantined_at IS NULL")
        .bind(user.as_str())
        .fetch_one(connection)
        .await?;
    Ok(u64::try_from(row.try_get::<i64, _>("devices")?).unwrap_or(0))
}

/// Ends a registration; `false` when there was none. Pushes that wait for the device end as dead.
pub(crate) async fn remove(database: &Database, user: &UserId, device: &str) -> Result<bool, StorageError> {
    let removed = sqlx::query("DELETE FROM push_devices WHERE user_id = $1 AND device = $2")
        .bind(user.as_str())
        .bind(device)
        .execute(database.pool())
        .await?;
    Ok(removed.rows_affected() > 0)
}

/// A user's devices in the order of their names, those in quarantine too, with their tags.
pub(crate) async fn all_of_user(
    connection: &mut AnyConnection,
    user: &UserId,
) -> Result<Vec<Registered>, StorageError> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM push_devices WHERE user_id = $1 ORDER BY device"));
    let rows = sqlx::query(sql).bind(user.as_str()).fetch_all(&mut *connection).await?;
    let mut devices: Vec<_> = rows.iter().map(read).collect::<Result<_, _>>()?;
    let tags = sqlx::query(
        "SELECT t.device_id, t.tag FROM push_device_tags t JOIN push_devices d ON d.id = t.device_id WHERE d.user_id = $1",
    )
    .bind(user.as_str())
    .fetch_all(connection)
    .await?;
    for row in tags {
        let (id, tag): (String, String) = (row.try_get("device_id")?, row.try_get("tag")?);
        if let Some(device) = devices.iter_mut().find(|device| device.id == id) {
            device.registration.described.tags.get_or_insert_default().insert(tag);
        }
    }
    Ok(devices)
}

/// A user's devices that can be sent to, in the order of their names. Their tags are not read.
pub(crate) async fn of_user(connection: &mut AnyConnection, user: &UserId) -> Result<Vec<Registered>, StorageError> {
    let sql = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM push_devices WHERE user_id = $1 AND quarantined_at IS NULL ORDER BY device"
    ));
    let rows = sqlx::query(sql).bind(user.as_str()).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// One device of a user.
pub(crate) async fn find_in(
    connection: &mut AnyConnection,
    user: &UserId,
    device: &str,
) -> Result<Option<Registered>, StorageError> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM push_devices WHERE user_id = $1 AND device = $2"));
    let row = sqlx::query(sql).bind(user.as_str()).bind(device).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

/// A registration by its id.
pub(crate) async fn by_id(connection: &mut AnyConnection, id: &str) -> Result<Option<Registered>, StorageError> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM push_devices WHERE id = $1"));
    let row = sqlx::query(sql).bind(id).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

/// A device as `push_devices` has it, for every query that selects all of [`COLUMNS`].
pub(crate) fn read(row: &AnyRow) -> Result<Registered, StorageError> {
    Ok(Registered {
        id: row.try_get("id")?,
        generation: row.try_get("generation")?,
        registered_at: row.try_get("registered_at")?,
        wake_at: row.try_get("wake_at")?,
        returned_at: row.try_get("returned_at")?,
        quarantined_at: row.try_get("quarantined_at")?,
        registration: Registration {
            user: UserId::new(&row.try_get::<String, _>("user_id")?).map_err(corrupt)?,
            device: row.try_get("device")?,
            client: row.try_get("client")?,
            provider: provider(row, "provider")?,
            app: row.try_get("app")?,
            environment: environment(row, "environment")?,
            token: row.try_get("token")?,
            described: Description {
                locale: row.try_get("locale")?,
                time_zone: row.try_get("time_zone")?,
                version: row.try_get("version")?,
                tags: None,
            },
        },
    })
}

pub(crate) fn provider(row: &AnyRow, column: &str) -> Result<Provider, StorageError> {
    let name: String = row.try_get(column)?;
    Provider::from_name(&name).ok_or_else(|| corrupt(format!("no provider is called {name}")))
}

pub(crate) fn environment(row: &AnyRow, column: &str) -> Result<Environment, StorageError> {
    let name: String = row.try_get(column)?;
    Environment::from_name(&name).ok_or_else(|| corrupt(format!("no environment is called {name}")))
}

pub(crate) fn corrupt(what: impl std::fmt::Display) -> StorageError {
    StorageError::Corrupt(what.to_string())
}
