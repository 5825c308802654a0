//! Imports: portions of a file, each stored once with the line that it goes up to.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};
use tidings_shared::storage::{StorageError, rows};
use utoipa::ToSchema;

use super::passes::object_text;
use super::{PassId, Store};
use crate::import::{Checked, ImportRows, ImportedDevice, ImportedPass, KnownToken, Refusal};
use crate::token::Algorithm;

/// Refusals of one import that are kept; further ones are only counted.
const MOST_REFUSALS: i64 = 100_000;

/// What came of a portion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportResult {
    /// The line that the import stands at.
    pub line: i64,
    /// Passes that are new.
    pub passes: i64,
    /// Passes that were there, with this token.
    pub known_passes: i64,
    /// Registrations that are new.
    pub registrations: i64,
    /// Registrations that were there.
    pub known_registrations: i64,
    /// Devices that were there and have another push token now.
    pub push_tokens: i64,
    /// What was not taken.
    pub refused: Vec<Refusal>,
}

/// An import. Times are ms since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportState {
    /// Names it.
    pub id: String,
    /// The file's name.
    pub name: String,
    /// The last line that was taken.
    pub line: i64,
    /// Whether that was the file's last one.
    pub complete: bool,
    /// Passes that were new.
    pub passes: i64,
    /// Passes that were there.
    pub known_passes: i64,
    /// Registrations that were new.
    pub registrations: i64,
    /// Registrations that were there.
    pub known_registrations: i64,
    /// Devices that were there and have another push token now.
    pub push_tokens: i64,
    /// What was not taken: lines, or registrations of a line.
    pub refused: i64,
    /// When it began.
    pub created_at: i64,
    /// When the last rows came.
    pub updated_at: i64,
}

impl Store {
    /// Stores a portion and where it ends, in one transaction; a dry run is taken back. The inner error is the line that
    /// the import stands at, when that is not the one before the portion.
    ///
    /// # Errors
    /// When the database fails; nothing was stored then.
    pub async fn import(
        &self,
        id: &str,
        asked: &ImportRows,
        checked: Checked,
        now_ms: i64,
    ) -> Result<Result<ImportResult, i64>, StorageError> {
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        if !asked.dry_run {
            let line = self.import_line(&mut transaction, id, &asked.name, now_ms).await?;
            if line != asked.after {
                return Ok(Err(line));
            }
        }
        let mut result = ImportResult { line: asked.last, refused: checked.refused, ..ImportResult::default() };
        result.passes = insert_passes(&mut transaction, &checked.passes, now_ms).await?;
        let strangers = refuse_other_tokens(&mut transaction, &checked.passes, &mut result.refused).await?;
        let devices: Vec<_> = checked.devices.iter().filter(|one| !strangers.contains(&one.pass)).collect();
        refuse_registrations(&checked.devices, &strangers, &mut result.refused);
        result.known_passes = count(checked.passes.len()) - count(strangers.len()) - result.passes;
        result.push_tokens = upsert_devices(&mut transaction, &devices, now_ms).await?;
        let (new, all) = insert_registrations(&mut transaction, &devices, now_ms).await?;
        (result.registrations, result.known_registrations) = (new, all - new);
        result.refused.sort_by_key(|refusal| refusal.line);
        if asked.dry_run {
            transaction.rollback().await?;
            return Ok(Ok(result));
        }
        keep_refusals(&mut transaction, id, &result.refused).await?;
        sqlx::query(
            "UPDATE wallet_imports SET line = $1, complete = $2, passes = passes + $3, known_passes = known_passes + $4, \
             registrations = registrations + $5, known_registrations = known_registrations + $6, refused = refused + $7, \
             updated_at = $8, push_tokens = push_tokens + $9 WHERE id = $10",
        )
        .bind(asked.last)
        .bind(i64::from(asked.complete))
        .bind(result.passes)
        .bind(result.known_passes)
        .bind(result.registrations)
        .bind(result.known_registrations)
        .bind(count(result.refused.len()))
        .bind(now_ms)
        .bind(result.push_tokens)
        .bind(id)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Ok(result))
    }

    /// The line that an import stands at, held until the transaction ends; a new import begins at 0.
    async fn import_line(
        &self,
        transaction: &mut Transaction<'static, Any>,
        id: &str,
        name: &str,
        now_ms: i64,
    ) -> Result<i64, StorageError> {
        sqlx::query(
            "INSERT INTO wallet_imports (id, name, line, created_at, updated_at) VALUES ($1, $2, 0, $3, $3) ON CONFLICT (id) DO NOTHING",
        )
        .bind(id)
        .bind(name)
        .bind(now_ms)
        .execute(&mut **transaction)
        .await?;
        let lock = self.database.dialect().for_update();
        let text = format!("SELECT line FROM wallet_imports WHERE id = $1{lock}");
        let row = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id).fetch_one(&mut **transaction).await?;
        Ok(row.try_get("line")?)
    }

    /// An import.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn import_state(&self, id: &str) -> Result<Option<ImportState>, StorageError> {
        let row = sqlx::query("SELECT * FROM wallet_imports WHERE id = $1")
            .bind(id)
            .fetch_optional(self.database.pool())
            .await?;
        row.as_ref().map(state_from).transpose()
    }

    /// The latest imports, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn imports(&self, limit: i64) -> Result<Vec<ImportState>, StorageError> {
        let rows = sqlx::query("SELECT * FROM wallet_imports ORDER BY created_at DESC, id LIMIT $1")
            .bind(limit)
            .fetch_all(self.database.pool())
            .await?;
        rows.iter().map(state_from).collect()
    }

    /// Lines of an import that were refused, behind a line.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn import_refusals(&self, id: &str, after: i64, limit: i64) -> Result<Vec<Refusal>, StorageError> {
        let rows = sqlx::query(
            "SELECT line, field, found, rule FROM wallet_import_refusals WHERE import = $1 AND line > $2 ORDER BY line, ordinal LIMIT $3",
        )
        .bind(id)
        .bind(after)
        .bind(limit)
        .fetch_all(self.database.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Refusal {
                    line: row.try_get("line")?,
                    field: row.try_get("field")?,
                    found: row.try_get("found")?,
                    rule: row.try_get("rule")?,
                })
            })
            .collect()
    }
}

/// Stores passes that are not there; how many.
async fn insert_passes(
    transaction: &mut Transaction<'static, Any>,
    passes: &[ImportedPass],
    now_ms: i64,
) -> Result<i64, StorageError> {
    let mut new = 0;
    // In one order, so that two imports wait for each other and do not lock each other out.
    let mut passes: Vec<_> = passes.iter().collect();
    passes.sort_by(|a, b| a.pass.id.cmp(&b.pass.id));
    for portion in rows::portions(&passes) {
        let text = format!(
            "INSERT INTO wallet_passes (pass_type, serial, template, fields, user_info, token_algorithm, token_hash, basis, \
             fingerprint, last_modified, revision, created_at, updated_at, voided, expires) VALUES {} \
             ON CONFLICT (pass_type, serial) DO NOTHING",
            rows::values(portion.len(), 15)
        );
        let mut query = sqlx::query(rows::statement(transaction, &text));
        for ImportedPass { pass, token, .. } in portion {
            query = query
                .bind(&pass.id.pass_type)
                .bind(&pass.id.serial)
                .bind(&pass.template)
                .bind(object_text(&pass.fields))
                .bind(pass.user_info.as_ref().map(Value::to_string))
                .bind(token.algorithm.as_str())
                .bind(&token.hash)
                .bind(&pass.basis)
                .bind(&pass.fingerprint)
                .bind(now_ms.div_euclid(1000))
                .bind(1_i64)
                .bind(now_ms)
                .bind(now_ms)
                .bind(i64::from(pass.state.voided))
                .bind(pass.state.expires.as_deref());
        }
        new += i64::try_from(query.execute(&mut **transaction).await?.rows_affected()).unwrap_or(i64::MAX);
    }
    Ok(new)
}

/// Refuses passes that are there with another token: their phones would be turned away.
async fn refuse_other_tokens(
    transaction: &mut Transaction<'static, Any>,
    passes: &[ImportedPass],
    refused: &mut Vec<Refusal>,
) -> Result<HashSet<PassId>, StorageError> {
    let mut stored: HashMap<PassId, (String, String)> = HashMap::new();
    for portion in rows::portions(passes) {
        let text = format!(
            "SELECT pass_type, serial, token_algorithm, token_hash FROM wallet_passes WHERE (pass_type, serial) IN (VALUES {})",
            rows::values(portion.len(), 2)
        );
        let mut query = sqlx::query(rows::statement(transaction, &text));
        for one in portion {
            query = query.bind(&one.pass.id.pass_type).bind(&one.pass.id.serial);
        }
        for row in query.fetch_all(&mut **transaction).await? {
            let id = PassId { pass_type: row.try_get("pass_type")?, serial: row.try_get("serial")? };
            stored.insert(id, (row.try_get("token_algorithm")?, row.try_get("token_hash")?));
        }
    }
    let mut strangers = HashSet::new();
    for one in passes {
        if stored.get(&one.pass.id).is_some_and(|(algorithm, hash)| !agrees(&one.token, algorithm, hash)) {
            refused.push(other_token(one.line));
            strangers.insert(one.pass.id.clone());
        }
    }
    Ok(strangers)
}

/// Further lines of a refused pass are refused like its first.
fn refuse_registrations(devices: &[ImportedDevice], strangers: &HashSet<PassId>, refused: &mut Vec<Refusal>) {
    let mut told: HashSet<i64> = refused.iter().map(|refusal| refusal.line).collect();
    for one in devices {
        if strangers.contains(&one.pass) && told.insert(one.line) {
            refused.push(other_token(one.line));
        }
    }
}

fn other_token(line: i64) -> Refusal {
    let rule =
        "the pass is here with another token; its phones have that one. Delete the pass first if this file is right";
    Refusal { line, field: "authenticationToken".to_owned(), found: String::new(), rule: rule.to_owned() }
}

fn agrees(token: &KnownToken, algorithm: &str, hash: &str) -> bool {
    Algorithm::from_name(algorithm).is_some_and(|algorithm| token.agrees_with(algorithm, hash))
}

/// Stores devices; how many that were there have another push token now. A token that the device brought later stays: it may
/// have registered here meanwhile.
async fn upsert_devices(
    transaction: &mut Transaction<'static, Any>,
    devices: &[&ImportedDevice],
    now_ms: i64,
) -> Result<i64, StorageError> {
    let mut latest: BTreeMap<&str, &ImportedDevice> = BTreeMap::new();
    for one in devices {
        let known = latest.entry(&one.device).or_insert(one);
        if one.registered_at >= known.registered_at {
            *known = one;
        }
    }
    let latest: Vec<_> = latest.into_values().collect();
    let mut replaced = 0;
    for portion in rows::portions(&latest) {
        // Who registered here did so later than whatever an export says (its time is 0 when it says nothing); of two
        // exports the later one knows more.
        for conflict in [
            "NOTHING",
            "UPDATE SET push_token = excluded.push_token, token_at = excluded.token_at, quarantined_at = NULL, quarantine_reason = NULL \
             WHERE excluded.token_at >= wallet_devices.token_at AND excluded.push_token <> wallet_devices.push_token",
        ] {
            let text = format!(
                "INSERT INTO wallet_devices (device, push_token, token_at, created_at) VALUES {} ON CONFLICT (device) DO {conflict}",
                rows::values(portion.len(), 4)
            );
            let mut query = sqlx::query(rows::statement(transaction, &text));
            for one in portion {
                query = query.bind(&one.device).bind(&one.push_token).bind(one.registered_at).bind(now_ms);
            }
            let done = query.execute(&mut **transaction).await?.rows_affected();
            if conflict != "NOTHING" {
                replaced += i64::try_from(done).unwrap_or(i64::MAX);
            } else if done == portion.len() as u64 {
                break;
            }
        }
    }
    Ok(replaced)
}

/// Stores registrations that are not there; how many, and of how many.
async fn insert_registrations(
    transaction: &mut Transaction<'static, Any>,
    devices: &[&ImportedDevice],
    now_ms: i64,
) -> Result<(i64, i64), StorageError> {
    let mut seen = HashSet::new();
    let mut distinct: Vec<_> = devices.iter().filter(|one| seen.insert((&one.device, &one.pass))).collect();
    distinct.sort_by(|a, b| (&a.device, &a.pass).cmp(&(&b.device, &b.pass)));
    let mut new = 0;
    for portion in rows::portions(&distinct) {
        let text = format!(
            "INSERT INTO wallet_registrations (device, pass_type, serial, registered_at) VALUES {} \
             ON CONFLICT (device, pass_type, serial) DO NOTHING",
            rows::values(portion.len(), 4)
        );
        let mut query = sqlx::query(rows::statement(transaction, &text));
        for one in portion {
            let at = if one.registered_at == 0 { now_ms } else { one.registered_at };
            query = query.bind(&one.device).bind(&one.pass.pass_type).bind(&one.pass.serial).bind(at);
        }
        new += i64::try_from(query.execute(&mut **transaction).await?.rows_affected()).unwrap_or(i64::MAX);
    }
    Ok((new, count(distinct.len())))
}

/// Keeps what was refused, for the report.
async fn keep_refusals(
    transaction: &mut Transaction<'static, Any>,
    id: &str,
    refused: &[Refusal],
) -> Result<(), StorageError> {
    if refused.is_empty() {
        return Ok(());
    }
    let row =
        sqlx::query("SELECT refused FROM wallet_imports WHERE id = $1").bind(id).fetch_one(&mut **transaction).await?;
    let room = MOST_REFUSALS - row.try_get::<i64, _>("refused")?;
    let kept = &refused[..refused.len().min(usize::try_from(room).unwrap_or(0))];
    // Of one line there may be several.
    let kept: Vec<_> = (0_i64..).zip(kept).collect();
    for portion in rows::portions(&kept) {
        let text = format!(
            "INSERT INTO wallet_import_refusals (import, line, ordinal, field, found, rule) VALUES {} \
             ON CONFLICT (import, line, ordinal) DO NOTHING",
            rows::values(portion.len(), 6)
        );
        let mut query = sqlx::query(rows::statement(transaction, &text));
        for (ordinal, one) in portion {
            query = query.bind(id).bind(one.line).bind(*ordinal).bind(&one.field).bind(&one.found).bind(&one.rule);
        }
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn state_from(row: &AnyRow) -> Result<ImportState, StorageError> {
    Ok(ImportState {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        line: row.try_get("line")?,
        complete: row.try_get::<i64, _>("complete")? != 0,
        passes: row.try_get("passes")?,
        known_passes: row.try_get("known_passes")?,
        registrations: row.try_get("registrations")?,
        known_registrations: row.try_get("known_registrations")?,
        push_tokens: row.try_get("push_tokens")?,
        refused: row.try_get("refused")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
