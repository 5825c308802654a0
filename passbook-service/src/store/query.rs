//! Which passes: one description for bulk changes, campaigns and searches, as a condition on `wallet_passes p`. Values are
//! bound, never written into the text.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, Row};
use tidings_shared::storage::{Dialect, StorageError, rows};
use utoipa::ToSchema;

use super::passes::pass_from;
use super::{PassId, PassRow, Store};
use crate::package::valid_field_name;

/// Most serial numbers in one query.
pub const MOST_SERIALS: usize = 1000;

/// Which passes. Everything that is given must hold; `{}` is every pass. Times are ms since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct PassQuery {
    /// Of this pass type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_type: Option<String>,
    /// Made from this template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// With one of these serial numbers, 1,000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serials: Option<Vec<String>>,
    /// Whose fields have these values: a text, a number, true or false; null finds passes without the field.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    pub fields: Map<String, Value>,
    /// Void, or not void.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voided: Option<bool>,
    /// On at least one device, or on none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered: Option<bool>,
    /// Last changed before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_before: Option<i64>,
    /// Last changed at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_after: Option<i64>,
    /// Made before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_before: Option<i64>,
    /// Made at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_after: Option<i64>,
}

impl PassQuery {
    /// Says what is wrong with a query that somebody wrote.
    ///
    /// # Errors
    /// The key, what was found and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if let Some(serials) = &self.serials
            && !(1..=MOST_SERIALS).contains(&serials.len())
        {
            return Err(format!("serials: found {}; a query has 1 to {MOST_SERIALS} serial numbers", serials.len()));
        }
        for (name, value) in &self.fields {
            if !valid_field_name(name) {
                return Err(format!("fields: found \"{name}\"; a field's name is letters, digits, `_`, `.` and `-`"));
            }
            if value.is_array() || value.is_object() {
                return Err(format!(
                    "fields.{name}: found {value}; compare with a text, a number, true, false or null"
                ));
            }
        }
        Ok(())
    }

    /// The condition in SQL, on `wallet_passes` under the name `p`; never empty.
    pub(super) fn condition(&self, dialect: Dialect) -> Condition {
        let mut condition = Condition::all();
        // SQLite would take the template's index and sort all its passes for each page; behind a `+` it walks the key.
        let template = if dialect == Dialect::Sqlite { "+p.template" } else { "p.template" };
        for (column, text) in [("p.pass_type", &self.pass_type), (template, &self.template)] {
            if let Some(text) = text {
                condition.and(&format!("{column} = ?"), [Bound::Text(text.clone())]);
            }
        }
        if let Some(serials) = &self.serials {
            let places = vec!["?"; serials.len().max(1)].join(", ");
            let serials = if serials.is_empty() { vec![String::new()] } else { serials.clone() };
            condition.and(&format!("p.serial IN ({places})"), serials.into_iter().map(Bound::Text));
        }
        for (name, value) in &self.fields {
            let member = dialect.json_member("p.fields");
            if value.is_null() {
                condition.and(&format!("{member} IS NULL"), [Bound::Text(name.clone())]);
            } else {
                let values = [Bound::Text(name.clone()), Bound::Text(value.to_string())];
                condition.and(&format!("CAST({member} AS TEXT) = ?"), values);
            }
        }
        if let Some(voided) = self.voided {
            condition.and("p.voided = ?", [Bound::Number(i64::from(voided))]);
        }
        if let Some(registered) = self.registered {
            let not = if registered { "" } else { "NOT " };
            let registrations =
                "EXISTS (SELECT 1 FROM wallet_registrations q WHERE q.pass_type = p.pass_type AND q.serial = p.serial)";
            condition.and(&format!("{not}{registrations}"), []);
        }
        for (bound, comparison) in [
            (self.updated_before, "p.updated_at < ?"),
            (self.updated_after, "p.updated_at >= ?"),
            (self.created_before, "p.created_at < ?"),
            (self.created_after, "p.created_at >= ?"),
        ] {
            if let Some(time) = bound {
                condition.and(comparison, [Bound::Number(time)]);
            }
        }
        condition
    }
}

/// A value behind a `?`.
pub(super) enum Bound {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// A condition whose places are `?`, and what is bound to them, in order.
pub(super) struct Condition {
    /// In parentheses where it has several parts.
    pub(super) sql: String,
    values: Vec<Bound>,
}

impl Condition {
    /// Everything.
    pub(super) fn all() -> Self {
        Self { sql: "(1 = 1)".to_owned(), values: Vec::new() }
    }

    /// Narrows it.
    pub(super) fn and(&mut self, sql: &str, values: impl IntoIterator<Item = Bound>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(sql);
        self.values.extend(values);
    }

    /// Binds the values, behind what was bound before.
    pub(super) fn bind(self, query: Query<'_, Any, AnyArguments>) -> Query<'_, Any, AnyArguments> {
        self.values.into_iter().fold(query, |query, value| match value {
            Bound::Text(text) => query.bind(text),
            Bound::Number(number) => query.bind(number),
        })
    }
}

impl Store {
    /// How many passes a query finds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_passes(&self, query: &PassQuery) -> Result<i64, StorageError> {
        let condition = query.condition(self.database.dialect());
        let mut connection = self.database.pool().acquire().await?;
        let text = format!("SELECT COUNT(*) AS n FROM wallet_passes p WHERE {}", condition.sql);
        let asked = sqlx::query(rows::statement(&connection, &text));
        let row = condition.bind(asked).fetch_one(&mut *connection).await?;
        Ok(row.try_get("n")?)
    }

    /// Up to `limit` passes of a query behind `after`, ordered by pass type and serial number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_passes(
        &self,
        query: &PassQuery,
        after: Option<&PassId>,
        limit: i64,
    ) -> Result<Vec<PassId>, StorageError> {
        let rows = self.page("p.pass_type, p.serial", query, after, limit).await?;
        rows.iter()
            .map(|row| Ok(PassId { pass_type: row.try_get("pass_type")?, serial: row.try_get("serial")? }))
            .collect()
    }

    /// As [`Self::find_passes`], the whole rows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_pass_rows(
        &self,
        query: &PassQuery,
        after: Option<&PassId>,
        limit: i64,
    ) -> Result<Vec<PassRow>, StorageError> {
        self.page("p.*", query, after, limit).await?.iter().map(pass_from).collect()
    }

    async fn page(
        &self,
        columns: &str,
        query: &PassQuery,
        after: Option<&PassId>,
        limit: i64,
    ) -> Result<Vec<sqlx::any::AnyRow>, StorageError> {
        let mut condition = query.condition(self.database.dialect());
        if let Some(after) = after {
            let values = [Bound::Text(after.pass_type.clone()), Bound::Text(after.serial.clone())];
            condition.and("(p.pass_type, p.serial) > (?, ?)", values);
        }
        let text = format!(
            "SELECT {columns} FROM wallet_passes p WHERE {} ORDER BY p.pass_type, p.serial LIMIT ?",
            condition.sql
        );
        let mut connection = self.database.pool().acquire().await?;
        let asked = sqlx::query(rows::statement(&connection, &text));
        Ok(condition.bind(asked).bind(limit).fetch_all(&mut *connection).await?)
    }
}

#[cfg(test)]
mod tests;
