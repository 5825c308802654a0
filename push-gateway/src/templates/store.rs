//! The table of templates.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use tidings_shared::push_api::Template;
use tidings_shared::storage::{Database, StorageError};

use crate::devices::store::corrupt;

/// A template as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) template: Template,
    pub(crate) revision: i64,
    pub(crate) updated_at: i64,
}

/// Stores a template; gives its revision. The first one is the time, so that a template that was removed and made again has a
/// later one.
pub(crate) async fn put(
    database: &Database,
    name: &str,
    template: &Template,
    now_ms: i64,
) -> Result<i64, StorageError> {
    let text = serde_json::to_string(template).map_err(corrupt)?;
    let row = sqlx::query(
        "INSERT INTO push_templates (name, template, revision, updated_at) VALUES ($1, $2, $3, $3) \
         ON CONFLICT (name) DO UPDATE SET template = excluded.template, updated_at = excluded.updated_at, \
         revision = push_templates.revision + 1 RETURNING revision",
    )
    .bind(name)
    .bind(text)
    .bind(now_ms)
    .fetch_one(database.pool())
    .await?;
    Ok(row.try_get("revision")?)
}

/// One template.
pub(crate) async fn find(connection: &mut AnyConnection, name: &str) -> Result<Option<Stored>, StorageError> {
    let row = sqlx::query("SELECT name, template, revision, updated_at FROM push_templates WHERE name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// The names of all templates, in order.
pub(crate) async fn names(database: &Database) -> Result<Vec<String>, StorageError> {
    let rows = sqlx::query("SELECT name FROM push_templates ORDER BY name").fetch_all(database.pool()).await?;
    Ok(rows.iter().map(|row| row.try_get("name")).collect::<Result<_, _>>()?)
}

/// Removes a template; `false` when there was none.
pub(crate) async fn remove(database: &Database, name: &str) -> Result<bool, StorageError> {
    let removed = sqlx::query("DELETE FROM push_templates WHERE name = $1").bind(name).execute(database.pool()).await?;
    Ok(removed.rows_affected() > 0)
}

fn read(row: &AnyRow) -> Result<Stored, StorageError> {
    Ok(Stored {
        name: row.try_get("name")?,
        template: serde_json::from_str(&row.try_get::<String, _>("template")?).map_err(corrupt)?,
        revision: row.try_get("revision")?,
        updated_at: row.try_get("updated_at")?,
    })
}
