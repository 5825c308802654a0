//! What passes were before: a version is kept in the transaction that replaces it.

use serde_json::{Map, Value};
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};
use tidings_shared::storage::StorageError;

use super::{PassId, PassRow, Store};
use crate::package::PassState;

const COLUMNS: &str = "revision, template, fields, user_info, voided, expires, fingerprint, last_modified, updated_at";

/// A pass as it was, or is, at one revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// Counts the changes, from 1.
    pub revision: i64,
    /// Its template's name.
    pub template: String,
    /// Values of the placeholders.
    pub fields: Map<String, Value>,
    /// `userInfo`.
    pub user_info: Option<Value>,
    /// Void, and its end.
    pub state: PassState,
    /// Hash of the manifest.
    pub fingerprint: String,
    /// Seconds since 1970.
    pub last_modified: i64,
    /// When it came to be, ms since 1970.
    pub updated_at: i64,
}

impl From<PassRow> for Version {
    fn from(pass: PassRow) -> Self {
        Self {
            revision: pass.revision,
            template: pass.template,
            fields: pass.fields,
            user_info: pass.user_info,
            state: pass.state,
            fingerprint: pass.fingerprint,
            last_modified: pass.last_modified,
            updated_at: pass.updated_at,
        }
    }
}

/// Keeps a pass as it is, in the transaction that is about to change it.
pub(super) async fn keep(transaction: &mut Transaction<'static, Any>, id: &PassId) -> Result<(), StorageError> {
    sqlx::query(
        "INSERT INTO wallet_versions (pass_type, serial, revision, template, fields, user_info, voided, expires, fingerprint, \
         last_modified, updated_at) SELECT pass_type, serial, revision, template, fields, user_info, voided, expires, fingerprint, \
         last_modified, updated_at FROM wallet_passes WHERE pass_type = $1 AND serial = $2 \
         ON CONFLICT (pass_type, serial, revision) DO NOTHING",
    )
    .bind(&id.pass_type)
    .bind(&id.serial)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Forgets all but the latest `keep` former versions of a pass that now has `revision`, in the transaction that changes it.
pub(super) async fn trim(
    transaction: &mut Transaction<'static, Any>,
    id: &PassId,
    revision: i64,
    keep: i64,
) -> Result<(), StorageError> {
    // Most passes have few versions: those cost nothing.
    if revision <= keep {
        return Ok(());
    }
    sqlx::query("DELETE FROM wallet_versions WHERE pass_type = $1 AND serial = $2 AND revision < $3")
        .bind(&id.pass_type)
        .bind(&id.serial)
        .bind(revision - keep)
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

impl Store {
    /// The former versions of a pass, the latest first, before `before` (a revision), at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn versions(&self, id: &PassId, before: i64, limit: i64) -> Result<Vec<Version>, StorageError> {
        let text = format!(
            "SELECT {COLUMNS} FROM wallet_versions WHERE pass_type = $1 AND serial = $2 AND revision < $3 \
             ORDER BY revision DESC LIMIT $4"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(&id.pass_type)
            .bind(&id.serial)
            .bind(before)
            .bind(limit)
            .fetch_all(self.database.pool())
            .await?;
        rows.iter().map(version_from).collect()
    }

    /// Forgets versions that came to be before `before_ms`, at most `limit`. The answer is how many are gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_versions(&self, before_ms: i64, limit: i64) -> Result<u64, StorageError> {
        let _turn = self.database.turn().wait().await;
        let old = sqlx::query(
            "DELETE FROM wallet_versions WHERE (pass_type, serial, revision) IN (SELECT pass_type, serial, revision \
             FROM wallet_versions WHERE updated_at < $1 ORDER BY updated_at LIMIT $2)",
        )
        .bind(before_ms)
        .bind(limit)
        .execute(self.database.pool())
        .await?
        .rows_affected();
        Ok(old)
    }
}

fn version_from(row: &AnyRow) -> Result<Version, StorageError> {
    let corrupt = |what: &str| StorageError::Corrupt(format!("wallet_versions: {what}"));
    let fields: String = row.try_get("fields")?;
    let user_info: Option<String> = row.try_get("user_info")?;
    Ok(Version {
        revision: row.try_get("revision")?,
        template: row.try_get("template")?,
        fields: serde_json::from_str(&fields).map_err(|_| corrupt("fields are no JSON object"))?,
        user_info: user_info
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|_| corrupt("user_info is no JSON"))?,
        state: PassState {
            voided: row.try_get::<i64, _>("voided")? != 0,
            expires: row.try_get("expires")?,
            ..PassState::NONE
        },
        fingerprint: row.try_get("fingerprint")?,
        last_modified: row.try_get("last_modified")?,
        updated_at: row.try_get("updated_at")?,
    })
}
