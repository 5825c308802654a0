//! Uploaded templates: every version of each, and which one is the present one.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sqlx::Row;
use tidings_shared::storage::StorageError;

use super::Store;

/// The present version of an uploaded template, or an older one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateHead {
    /// Its name.
    pub name: String,
    /// Counts its versions, from 1.
    pub revision: i64,
    /// Differs when anything in it differs.
    pub digest: String,
    /// ms since 1970.
    pub at: i64,
}

impl Store {
    /// The present version of every uploaded template.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn template_heads(&self) -> Result<Vec<TemplateHead>, StorageError> {
        let rows = sqlx::query("SELECT name, revision, digest, updated_at AS at FROM wallet_templates ORDER BY name")
            .fetch_all(self.database.pool())
            .await?;
        rows.iter().map(head_from).collect()
    }

    /// Every version of a template, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn template_versions(&self, name: &str) -> Result<Vec<TemplateHead>, StorageError> {
        let rows = sqlx::query(
            "SELECT name, revision, digest, created_at AS at FROM wallet_template_versions WHERE name = $1 ORDER BY revision DESC",
        )
        .bind(name)
        .fetch_all(self.database.pool())
        .await?;
        rows.iter().map(head_from).collect()
    }

    /// The files of a version.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn template_files(
        &self,
        name: &str,
        revision: i64,
    ) -> Result<Option<Vec<(String, Vec<u8>)>>, StorageError> {
        let row = sqlx::query("SELECT files FROM wallet_template_versions WHERE name = $1 AND revision = $2")
            .bind(name)
            .bind(revision)
            .fetch_optional(self.database.pool())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let corrupt = || StorageError::Corrupt(format!("wallet_template_versions {name} {revision}: files"));
        let text: String = row.try_get("files")?;
        let files: BTreeMap<String, String> = serde_json::from_str(&text).map_err(|_| corrupt())?;
        let decoded = files.into_iter().map(|(file, bytes)| Some((file, BASE64_STANDARD.decode(bytes).ok()?)));
        decoded.collect::<Option<Vec<_>>>().map(Some).ok_or_else(corrupt)
    }

    /// Makes these files the present version of a template. The answer is its revision, and whether it is a new one:
    /// the same files again change nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_template(
        &self,
        name: &str,
        digest: &str,
        files: &[(String, Vec<u8>)],
        now_ms: i64,
    ) -> Result<(i64, bool), StorageError> {
        let encoded: BTreeMap<_, _> =
            files.iter().map(|(file, bytes)| (file.as_str(), BASE64_STANDARD.encode(bytes))).collect();
        let encoded = serde_json::json!(encoded).to_string();
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        // A row to hold, so that two first uploads of a name come one after the other.
        sqlx::query(
            "INSERT INTO wallet_templates (name, revision, digest, updated_at) VALUES ($1, 0, '', $2) ON CONFLICT (name) DO NOTHING",
        )
        .bind(name)
        .bind(now_ms)
        .execute(&mut *transaction)
        .await?;
        let lock = self.database.dialect().for_update();
        let text = format!("SELECT revision, digest FROM wallet_templates WHERE name = $1{lock}");
        let head = sqlx::query(sqlx::AssertSqlSafe(text)).bind(name).fetch_optional(&mut *transaction).await?;
        if let Some(head) = head
            && head.try_get::<String, _>("digest")? == digest
        {
            return Ok((head.try_get("revision")?, false));
        }
        let row = sqlx::query(
            "INSERT INTO wallet_template_versions (name, revision, digest, files, created_at) \
             SELECT $1, COALESCE(MAX(revision), 0) + 1, $2, $3, $4 FROM wallet_template_versions WHERE name = $1 RETURNING revision",
        )
        .bind(name)
        .bind(digest)
        .bind(encoded)
        .bind(now_ms)
        .fetch_one(&mut *transaction)
        .await?;
        let revision: i64 = row.try_get("revision")?;
        sqlx::query(
            "INSERT INTO wallet_templates (name, revision, digest, updated_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, digest = excluded.digest, updated_at = excluded.updated_at",
        )
        .bind(name)
        .bind(revision)
        .bind(digest)
        .bind(now_ms)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok((revision, true))
    }

    /// Whether any pass is made from a template.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn template_is_used(&self, name: &str) -> Result<bool, StorageError> {
        let used = sqlx::query("SELECT serial FROM wallet_passes WHERE template = $1 LIMIT 1")
            .bind(name)
            .fetch_optional(self.database.pool())
            .await?;
        Ok(used.is_some())
    }

    /// Removes a template that no pass is made from; its versions stay. `None`: there is none; `Some(false)`: passes
    /// are made from it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove_template(&self, name: &str) -> Result<Option<bool>, StorageError> {
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        let lock = self.database.dialect().for_update();
        let text = format!("SELECT revision FROM wallet_templates WHERE name = $1{lock}");
        if sqlx::query(sqlx::AssertSqlSafe(text)).bind(name).fetch_optional(&mut *transaction).await?.is_none() {
            return Ok(None);
        }
        let used = sqlx::query("SELECT serial FROM wallet_passes WHERE template = $1 LIMIT 1")
            .bind(name)
            .fetch_optional(&mut *transaction)
            .await?;
        if used.is_some() {
            return Ok(Some(false));
        }
        sqlx::query("DELETE FROM wallet_templates WHERE name = $1").bind(name).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Some(true))
    }
}

fn head_from(row: &sqlx::any::AnyRow) -> Result<TemplateHead, StorageError> {
    Ok(TemplateHead {
        name: row.try_get("name")?,
        revision: row.try_get("revision")?,
        digest: row.try_get("digest")?,
        at: row.try_get("at")?,
    })
}
