//! The table of registered devices.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use tidings_shared::identity::UserId;
use tidings_shared::push_api::{Environment, Provider};
use tidings_shared::storage::{Database, StorageError};

use super::{Registered, Registration};

const COLUMNS: &str =
    "id, user_id, device, client, provider, app, environment, token, generation, registered_at, wake_at";

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
        Some(found) => {
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
    let generation = found.generation + i64::from(token_changed);
    sqlx::query(
        "UPDATE push_devices SET client = $1, provider = $2, app = $3, environment = $4, token = $5, generation = $6, \
         registered_at = $7 WHERE id = $8",
    )
    .bind(registration.client.as_deref())
    .bind(registration.provider.as_str())
    .bind(registration.app.as_str())
    .bind(registration.environment.as_str())
    .bind(registration.token.as_str())
    .bind(generation)
    .bind(now_ms)
    .bind(found.id.as_str())
    .execute(connection)
    .await?;
    Ok(Registered { generation, registered_at: now_ms, registration: registration.clone(), ..found })
}

async fn insert(
    connection: &mut AnyConnection,
    registration: &Registration,
    new_id: &str,
    now_ms: i64,
) -> Result<Registered, StorageError> {
    sqlx::query(
        "INSERT INTO push_devices (id, user_id, device, client, provider, app, environment, token, generation, registered_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9)",
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
    .execute(connection)
    .await?;
    Ok(Registered {
        id: new_id.to_owned(),
        generation: 1,
        registered_at: now_ms,
        wake_at: None,
        registration: registration.clone(),
    })
}

async fn count(connection: &mut AnyConnection, user: &UserId) -> Result<u64, StorageError> {
    let row = sqlx::query("SELECT COUNT(*) AS devices FROM push_devices WHERE user_id = $1")
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

/// A user's devices in the order of their names.
pub(crate) async fn of_user(connection: &mut AnyConnection, user: &UserId) -> Result<Vec<Registered>, StorageError> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM push_devices WHERE user_id = $1 ORDER BY device"));
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
fn read(row: &AnyRow) -> Result<Registered, StorageError> {
    Ok(Registered {
        id: row.try_get("id")?,
        generation: row.try_get("generation")?,
        registered_at: row.try_get("registered_at")?,
        wake_at: row.try_get("wake_at")?,
        registration: Registration {
            user: UserId::new(&row.try_get::<String, _>("user_id")?).map_err(corrupt)?,
            device: row.try_get("device")?,
            client: row.try_get("client")?,
            provider: provider(row, "provider")?,
            app: row.try_get("app")?,
            environment: environment(row, "environment")?,
            token: row.try_get("token")?,
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
