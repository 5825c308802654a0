//! Changes that many callers make at the same moment share one transaction: the first that comes writes what has gathered
//! meanwhile. A change is decided on a pass as it was read, and written only if the pass is still like that; else its caller
//! decides again, while nobody else can change the pass.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::Row;
use tidings_shared::storage::rows::{statement, values};
use tidings_shared::storage::{Database, StorageError};
use tokio::sync::{Semaphore, oneshot};

use super::passes::object_text;
use super::{PassId, PassRow};

/// Most changes of one transaction.
const LARGEST: usize = 128;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is committed.
    Done,
    /// The pass is another one by now, or the database had trouble with the whole group: nothing was written.
    Stale,
}

/// A change that was decided.
pub(super) struct Change {
    /// The row that the sequencer gives a tag to.
    pub(super) id: String,
    /// The pass as it was read.
    pub(super) before: PassRow,
    /// The pass as it becomes.
    pub(super) after: PassRow,
    /// How many former versions are kept; 0: none.
    pub(super) keep: i64,
}

struct Waiting {
    change: Change,
    written: oneshot::Sender<Written>,
}

/// The changes that wait for a transaction. Cheap to clone.
#[derive(Clone)]
pub(super) struct Group {
    database: Database,
    waiting: Arc<Mutex<Vec<Waiting>>>,
    writers: Arc<Semaphore>,
}

impl Group {
    pub(super) fn new(database: Database) -> Self {
        let writers = Arc::new(Semaphore::new(database.turn().writers()));
        Self { database, waiting: Arc::default(), writers }
    }

    /// Writes a change together with those of others.
    pub(super) async fn write(&self, change: Change) -> Written {
        let (written, mut answer) = oneshot::channel();
        self.waiting().push(Waiting { change, written });
        loop {
            tokio::select! {
                biased;
                written = &mut answer => return written.unwrap_or(Written::Stale),
                permit = self.writers.clone().acquire_owned() => {
                    // The semaphore is never closed.
                    let Ok(permit) = permit else { continue };
                    let portion = self.portion();
                    if portion.is_empty() {
                        // Somebody else is writing it.
                        drop(permit);
                        return answer.await.unwrap_or(Written::Stale);
                    }
                    let database = self.database.clone();
                    // On its own: whoever waits may go away at any moment, the others' changes must not. At a shutdown
                    // nobody awaits it, but closing the database waits for its connection.
                    tokio::spawn(async move {
                        let _permit = permit;
                        commit(&database, portion).await;
                    });
                }
            }
        }
    }

    /// As many as a prepared statement takes, the oldest first. A change whose caller has gone away before its turn came is
    /// not made: nobody was told of it, and nobody would expect it later.
    fn portion(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        waiting.retain(|one| !one.written.is_closed());
        let size = waiting.len().min(LARGEST);
        let size = if size == 0 { 0 } else { 1 << size.ilog2() };
        waiting.drain(..size).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn commit(database: &Database, portion: Vec<Waiting>) {
    let changes: Vec<&Change> = portion.iter().map(|waiting| &waiting.change).collect();
    let done = match write(database, &changes).await {
        Ok(done) => done,
        Err(error) => {
            tracing::warn!(%error, changes = changes.len(), "changes could not be written together; each is tried alone");
            vec![false; changes.len()]
        }
    };
    for (waiting, done) in portion.into_iter().zip(done) {
        // Whoever has gone needs no answer.
        let _ = waiting.written.send(if done { Written::Done } else { Written::Stale });
    }
}

/// Writes those changes whose passes are still as they were read; which ones.
async fn write(database: &Database, changes: &[&Change]) -> Result<Vec<bool>, StorageError> {
    let _turn = database.turn().wait().await;
    let mut transaction = database.begin().await?;
    // In one order, so that two groups never wait for each other.
    let text = format!(
        "SELECT pass_type, serial, revision, created_at, basis, fingerprint, fields FROM wallet_passes WHERE (pass_type, serial) IN (VALUES {}) \
         ORDER BY pass_type, serial{}",
        values(changes.len(), 2),
        database.dialect().for_update()
    );
    let mut query = sqlx::query(statement(&transaction, &text));
    for change in changes {
        query = query.bind(&change.after.id.pass_type).bind(&change.after.id.serial);
    }
    let mut present = HashMap::new();
    for row in query.fetch_all(&mut *transaction).await? {
        let id = PassId { pass_type: row.try_get("pass_type")?, serial: row.try_get("serial")? };
        let numbers: (i64, i64) = (row.try_get("revision")?, row.try_get("created_at")?);
        let texts: (String, String, String) =
            (row.try_get("basis")?, row.try_get("fingerprint")?, row.try_get("fields")?);
        present.insert(id, (numbers, texts));
    }
    // Each pass once: what comes second was decided on what the first replaces.
    let same: Vec<bool> = changes
        .iter()
        .map(|change| {
            let before = &change.before;
            // A pass of the same name that was made anew has another time of birth.
            present.remove(&change.after.id).is_some_and(|(numbers, (basis, fingerprint, fields))| {
                numbers == (before.revision, before.created_at)
                    && basis == before.basis
                    && fingerprint == before.fingerprint
                    && fields == object_text(&before.fields)
            })
        })
        .collect();
    let fresh: Vec<&Change> = changes.iter().zip(&same).filter(|(_, same)| **same).map(|(change, _)| *change).collect();
    // Sizes that stay prepared.
    for portion in tidings_shared::storage::rows::portions(&fresh) {
        keep(&mut transaction, portion).await?;
        update(&mut transaction, portion).await?;
        append(&mut transaction, portion).await?;
    }
    transaction.commit().await?;
    Ok(same)
}

type Transaction = sqlx::Transaction<'static, sqlx::Any>;

async fn keep(transaction: &mut Transaction, changes: &[&Change]) -> Result<(), StorageError> {
    let kept: Vec<_> = changes.iter().filter(|change| change.keep > 0).collect();
    for portion in tidings_shared::storage::rows::portions(&kept) {
        let text = format!(
            "INSERT INTO wallet_versions (pass_type, serial, revision, template, fields, user_info, voided, expires, fingerprint, \
             last_modified, updated_at) SELECT pass_type, serial, revision, template, fields, user_info, voided, expires, fingerprint, \
             last_modified, updated_at FROM wallet_passes WHERE (pass_type, serial) IN (VALUES {}) \
             ON CONFLICT (pass_type, serial, revision) DO NOTHING",
            values(portion.len(), 2)
        );
        let mut query = sqlx::query(statement(transaction, &text));
        for change in portion {
            query = query.bind(&change.after.id.pass_type).bind(&change.after.id.serial);
        }
        query.execute(&mut **transaction).await?;
    }
    for change in kept {
        super::versions::trim(transaction, &change.after.id, change.after.revision, change.keep).await?;
    }
    Ok(())
}

async fn update(transaction: &mut Transaction, changes: &[&Change]) -> Result<(), StorageError> {
    let text = format!(
        "WITH v (pass_type, serial, fields, user_info, basis, fingerprint, last_modified, revision, updated_at, voided, expires, \
         personalized) AS (VALUES {}) UPDATE wallet_passes SET fields = v.fields, user_info = v.user_info, basis = v.basis, \
         fingerprint = v.fingerprint, last_modified = v.last_modified, revision = v.revision, updated_at = v.updated_at, \
         voided = v.voided, expires = v.expires, personalized = v.personalized FROM v \
         WHERE wallet_passes.pass_type = v.pass_type AND wallet_passes.serial = v.serial",
        values(changes.len(), 12)
    );
    let mut query = sqlx::query(statement(transaction, &text));
    for Change { after, .. } in changes.iter().copied() {
        query = query
            .bind(&after.id.pass_type)
            .bind(&after.id.serial)
            .bind(object_text(&after.fields))
            .bind(after.user_info.as_ref().map(serde_json::Value::to_string))
            .bind(&after.basis)
            .bind(&after.fingerprint)
            .bind(after.last_modified)
            .bind(after.revision)
            .bind(after.updated_at)
            .bind(i64::from(after.state.voided))
            .bind(after.state.expires.as_deref())
            .bind(i64::from(after.state.personalized));
    }
    query.execute(&mut **transaction).await?;
    Ok(())
}

async fn append(transaction: &mut Transaction, changes: &[&Change]) -> Result<(), StorageError> {
    let text =
        format!("INSERT INTO wallet_changes (id, pass_type, serial, changed_at) VALUES {}", values(changes.len(), 4));
    let mut query = sqlx::query(statement(transaction, &text));
    for change in changes {
        query = query
            .bind(&change.id)
            .bind(&change.after.id.pass_type)
            .bind(&change.after.id.serial)
            .bind(change.after.updated_at);
    }
    query.execute(&mut **transaction).await?;
    Ok(())
}
