//! Passes: made, changed, deleted; each change leaves a row for the sequencer in the same transaction.

use serde_json::{Map, Value};
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};
use tidings_shared::storage::StorageError;

use super::group::{Change, Written};
use super::{PassId, Store};
use crate::package::{PassContent, PassState};
use crate::token::Algorithm;

const COLUMNS: &str = "pass_type, serial, template, fields, user_info, token_algorithm, token_hash, token_nonce, \
                       basis, fingerprint, last_modified, revision, created_at, updated_at, voided, expires, personalized";

/// A pass as it is stored.
#[derive(Clone, Debug)]
pub struct PassRow {
    /// Its name.
    pub id: PassId,
    /// Its template's name.
    pub template: String,
    /// Values of the placeholders.
    pub fields: Map<String, Value>,
    /// `userInfo`.
    pub user_info: Option<Value>,
    /// Void, and its end.
    pub state: PassState,
    /// How the token's hash was made.
    pub token_algorithm: Algorithm,
    /// The token's hash.
    pub token_hash: String,
    /// Derives the token, if it can be.
    pub token_nonce: Option<String>,
    /// What the content depends on besides the fields.
    pub basis: String,
    /// Hash of the manifest.
    pub fingerprint: String,
    /// Seconds since 1970.
    pub last_modified: i64,
    /// Counts the changes.
    pub revision: i64,
    /// ms since 1970.
    pub created_at: i64,
    /// ms since 1970.
    pub updated_at: i64,
}

impl PassRow {
    /// What its package is made of.
    #[must_use]
    pub fn content(&self) -> PassContent<'_> {
        PassContent {
            serial: &self.id.serial,
            fields: &self.fields,
            user_info: self.user_info.as_ref(),
            state: &self.state,
        }
    }
}

/// A pass of which only the token's hash has been looked at: reading the rest takes time, and how long a refusal takes
/// must not tell whether there is a pass.
pub struct Unread {
    /// How the token's hash was made.
    pub token_algorithm: Algorithm,
    /// The token's hash.
    pub token_hash: String,
    row: AnyRow,
}

impl Unread {
    /// The whole pass.
    ///
    /// # Errors
    /// When the row holds something that we never write.
    pub fn read(&self) -> Result<PassRow, StorageError> {
        pass_from(&self.row)
    }
}

/// A pass to be made.
pub struct NewPass {
    /// Its name.
    pub id: PassId,
    /// Its template's name.
    pub template: String,
    /// Values of the placeholders.
    pub fields: Map<String, Value>,
    /// `userInfo`.
    pub user_info: Option<Value>,
    /// Void, and its end.
    pub state: PassState,
    /// SHA-384 of the token.
    pub token_hash: String,
    /// Derives the token, if it can be.
    pub token_nonce: Option<String>,
    /// What the content depends on besides the fields.
    pub basis: String,
    /// Hash of the manifest.
    pub fingerprint: String,
}

/// What a change makes of a pass.
#[derive(Clone)]
pub struct PassUpdate {
    /// Values of the placeholders.
    pub fields: Map<String, Value>,
    /// `userInfo`.
    pub user_info: Option<Value>,
    /// Void, and its end.
    pub state: PassState,
    /// What the content depends on besides the fields.
    pub basis: String,
    /// Hash of the manifest.
    pub fingerprint: String,
    /// How many former versions are kept in the history, the one that it replaces among them; 0: none.
    pub keep: i64,
}

impl PassUpdate {
    /// Makes of a pass what it becomes. `true`: devices see the difference.
    fn apply(self, pass: &mut PassRow, now_ms: i64) -> bool {
        let changed = self.fingerprint != pass.fingerprint;
        if changed {
            // HTTP dates have whole seconds: a second change within one must not hide behind a 304.
            pass.last_modified = now_ms.div_euclid(1000).max(pass.last_modified + 1);
            pass.revision += 1;
            pass.updated_at = now_ms;
        }
        pass.fields = self.fields;
        pass.user_info = self.user_info;
        pass.state = self.state;
        pass.basis = self.basis;
        pass.fingerprint = self.fingerprint;
        changed
    }
}

/// What became of a change.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The pass after it.
    pub pass: PassRow,
    /// The row that the sequencer gives a tag to; `None`: nothing changed.
    pub change: Option<String>,
}

impl Store {
    /// Stores a new pass. `false`: there is one of that name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_pass(&self, pass: &NewPass, now_ms: i64) -> Result<bool, StorageError> {
        let _turn = self.database.turn().wait().await;
        let inserted = sqlx::query(
            "INSERT INTO wallet_passes (pass_type, serial, template, fields, user_info, token_algorithm, token_hash, \
             token_nonce, basis, fingerprint, last_modified, revision, created_at, updated_at, voided, expires) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, $12, $12, $13, $14) ON CONFLICT (pass_type, serial) DO NOTHING",
        )
        .bind(&pass.id.pass_type)
        .bind(&pass.id.serial)
        .bind(&pass.template)
        .bind(object_text(&pass.fields))
        .bind(pass.user_info.as_ref().map(Value::to_string))
        .bind(Algorithm::Sha384.as_str())
        .bind(&pass.token_hash)
        .bind(pass.token_nonce.as_deref())
        .bind(&pass.basis)
        .bind(&pass.fingerprint)
        .bind(now_ms.div_euclid(1000))
        .bind(now_ms)
        .bind(i64::from(pass.state.voided))
        .bind(pass.state.expires.as_deref())
        .execute(self.database.pool())
        .await?;
        Ok(inserted.rows_affected() == 1)
    }

    /// A pass.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pass(&self, id: &PassId) -> Result<Option<PassRow>, StorageError> {
        self.unread(id).await?.map(|pass| pass.read()).transpose()
    }

    /// A pass, for somebody who has yet to show its token.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unread(&self, id: &PassId) -> Result<Option<Unread>, StorageError> {
        let text = format!("SELECT {COLUMNS} FROM wallet_passes WHERE pass_type = $1 AND serial = $2");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(&id.pass_type)
            .bind(&id.serial)
            .fetch_optional(self.database.pool())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (token_algorithm, token_hash) = (algorithm_of(&row)?, row.try_get("token_hash")?);
        Ok(Some(Unread { token_algorithm, token_hash, row }))
    }

    /// Changes a pass: `decide` gets it as it is and says what becomes of it (`None`: leave it). It is asked again when the
    /// pass was changed by somebody else meanwhile, then while nobody can. A new fingerprint moves `last_modified`,
    /// strictly, and leaves a change for the sequencer; an equal one does not. The answer is `None` when there is no such
    /// pass.
    ///
    /// # Errors
    /// The outer one when the database fails; the inner one is `decide`'s own and leaves the pass as it was.
    pub async fn update_pass<E>(
        &self,
        id: &PassId,
        now_ms: i64,
        decide: impl Fn(&PassRow) -> Result<Option<PassUpdate>, E>,
    ) -> Result<Option<Result<Stored, E>>, StorageError> {
        let Some(before) = self.pass(id).await? else { return Ok(None) };
        let update = match decide(&before) {
            Ok(Some(update)) => update,
            Ok(None) => return Ok(Some(Ok(Stored { pass: before, change: None }))),
            Err(error) => return Ok(Some(Err(error))),
        };
        // What devices do not see is rare, and written alone.
        if update.fingerprint == before.fingerprint {
            return self.update_pass_alone(id, now_ms, decide).await;
        }
        let (mut after, keep) = (before.clone(), update.keep);
        update.apply(&mut after, now_ms);
        let change = super::changes::new_id(now_ms);
        let written = self.group.write(Change { id: change.clone(), before, after: after.clone(), keep }).await;
        match written {
            Written::Done => Ok(Some(Ok(Stored { pass: after, change: Some(change) }))),
            Written::Stale => self.update_pass_alone(id, now_ms, decide).await,
        }
    }

    async fn update_pass_alone<E>(
        &self,
        id: &PassId,
        now_ms: i64,
        decide: impl Fn(&PassRow) -> Result<Option<PassUpdate>, E>,
    ) -> Result<Option<Result<Stored, E>>, StorageError> {
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        let lock = self.database.dialect().for_update();
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM wallet_passes WHERE pass_type = $1 AND serial = $2{lock}"
        )))
        .bind(&id.pass_type)
        .bind(&id.serial)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let mut pass = pass_from(&row)?;
        let update = match decide(&pass) {
            Ok(Some(update)) => update,
            Ok(None) => return Ok(Some(Ok(Stored { pass, change: None }))),
            Err(error) => return Ok(Some(Err(error))),
        };
        if update.fingerprint != pass.fingerprint && update.keep > 0 {
            super::versions::keep(&mut transaction, id).await?;
            super::versions::trim(&mut transaction, id, pass.revision + 1, update.keep).await?;
        }
        let changed = update.apply(&mut pass, now_ms);
        write_pass(&mut transaction, &pass).await?;
        let change = if changed { Some(super::changes::append(&mut transaction, id, now_ms).await?) } else { None };
        transaction.commit().await?;
        Ok(Some(Ok(Stored { pass, change })))
    }

    /// Deletes a pass with its registrations. `false`: there was none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_pass(&self, id: &PassId) -> Result<bool, StorageError> {
        let mut left = super::REPEATS;
        loop {
            let outcome = self.delete_once(id).await;
            if !super::again(&outcome, &mut left) {
                return outcome;
            }
        }
    }

    async fn delete_once(&self, id: &PassId) -> Result<bool, StorageError> {
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        let lock = self.database.dialect().for_update();
        let found = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT serial FROM wallet_passes WHERE pass_type = $1 AND serial = $2{lock}"
        )))
        .bind(&id.pass_type)
        .bind(&id.serial)
        .fetch_optional(&mut *transaction)
        .await?;
        if found.is_none() {
            return Ok(false);
        }
        for statement in [
            "DELETE FROM wallet_changes WHERE pass_type = $1 AND serial = $2",
            "DELETE FROM wallet_tags WHERE pass_type = $1 AND serial = $2",
            // A push for a device that has no other pass of this type would be one about nothing.
            "DELETE FROM wallet_pushes WHERE pass_type = $1 \
             AND device IN (SELECT device FROM wallet_registrations WHERE pass_type = $1 AND serial = $2) \
             AND NOT EXISTS (SELECT 1 FROM wallet_registrations r WHERE r.device = wallet_pushes.device AND r.pass_type = $1 AND r.serial <> $2)",
            "DELETE FROM wallet_registrations WHERE pass_type = $1 AND serial = $2",
            // Google Wallet is told that it is not valid any more.
            "UPDATE wallet_google_objects SET wanted = wanted + 1, due_at = 0 WHERE pass_type = $1 AND serial = $2",
            "DELETE FROM wallet_versions WHERE pass_type = $1 AND serial = $2",
            "DELETE FROM wallet_passes WHERE pass_type = $1 AND serial = $2",
        ] {
            sqlx::query(statement).bind(&id.pass_type).bind(&id.serial).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Replaces an imported hash by ours, unless somebody else did meanwhile.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn uplift_token(&self, id: &PassId, old_hash: &str, new_hash: &str) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        sqlx::query("UPDATE wallet_passes SET token_algorithm = $1, token_hash = $2 WHERE pass_type = $3 AND serial = $4 AND token_hash = $5")
            .bind(Algorithm::Sha384.as_str())
            .bind(new_hash)
            .bind(&id.pass_type)
            .bind(&id.serial)
            .bind(old_hash)
            .execute(self.database.pool())
            .await?;
        Ok(())
    }

    /// Up to `limit` passes of a template that were not rendered on this basis.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outdated(
        &self,
        pass_type: &str,
        template: &str,
        basis: &str,
        after: &str,
        limit: i64,
    ) -> Result<Vec<PassId>, StorageError> {
        let rows = sqlx::query(
            "SELECT serial FROM wallet_passes WHERE template = $1 AND pass_type = $2 AND basis <> $3 AND serial > $4 ORDER BY serial LIMIT $5",
        )
        .bind(template)
        .bind(pass_type)
        .bind(basis)
        .bind(after)
        .bind(limit)
        .fetch_all(self.database.pool())
        .await?;
        rows.iter().map(|row| Ok(PassId { pass_type: pass_type.to_owned(), serial: row.try_get("serial")? })).collect()
    }
}

async fn write_pass(transaction: &mut Transaction<'static, Any>, pass: &PassRow) -> Result<(), StorageError> {
    sqlx::query(
        "UPDATE wallet_passes SET fields = $1, user_info = $2, basis = $3, fingerprint = $4, last_modified = $5, revision = $6, \
         updated_at = $7, voided = $8, expires = $9, personalized = $10 WHERE pass_type = $11 AND serial = $12",
    )
    .bind(object_text(&pass.fields))
    .bind(pass.user_info.as_ref().map(Value::to_string))
    .bind(&pass.basis)
    .bind(&pass.fingerprint)
    .bind(pass.last_modified)
    .bind(pass.revision)
    .bind(pass.updated_at)
    .bind(i64::from(pass.state.voided))
    .bind(pass.state.expires.as_deref())
    .bind(i64::from(pass.state.personalized))
    .bind(&pass.id.pass_type)
    .bind(&pass.id.serial)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

pub(super) fn object_text(object: &Map<String, Value>) -> String {
    // `Value` has a `Display` that cannot fail; `Map` alone has none.
    Value::Object(object.clone()).to_string()
}

pub(super) fn pass_from(row: &AnyRow) -> Result<PassRow, StorageError> {
    let id = PassId { pass_type: row.try_get("pass_type")?, serial: row.try_get("serial")? };
    let corrupt = |what: &str| StorageError::Corrupt(format!("wallet_passes {} {}: {what}", id.pass_type, id.serial));
    let fields: String = row.try_get("fields")?;
    let user_info: Option<String> = row.try_get("user_info")?;
    Ok(PassRow {
        fields: serde_json::from_str(&fields).map_err(|_| corrupt("fields are no JSON object"))?,
        user_info: user_info
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|_| corrupt("user_info is no JSON"))?,
        token_algorithm: algorithm_of(row)?,
        template: row.try_get("template")?,
        token_hash: row.try_get("token_hash")?,
        token_nonce: row.try_get("token_nonce")?,
        basis: row.try_get("basis")?,
        fingerprint: row.try_get("fingerprint")?,
        last_modified: row.try_get("last_modified")?,
        revision: row.try_get("revision")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        state: PassState {
            voided: row.try_get::<i64, _>("voided")? != 0,
            expires: row.try_get("expires")?,
            personalized: row.try_get::<i64, _>("personalized")? != 0,
        },
        id,
    })
}

fn algorithm_of(row: &AnyRow) -> Result<Algorithm, StorageError> {
    let name: String = row.try_get("token_algorithm")?;
    Algorithm::from_name(&name)
        .ok_or_else(|| StorageError::Corrupt(format!("wallet_passes: token_algorithm {name} is not known")))
}
