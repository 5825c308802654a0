//! What Google Wallet is to be told: an outbox of its own, which the sequencer fills in the transaction that gives a change
//! its tag. So Google never hears of a change that is not committed, and always of one that is.

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};
use tidings_shared::storage::StorageError;

use super::{PassId, Store};

const COLUMNS: &str = "pass_type, serial, kind, object_id, sent, sent_revision, wanted, done, due_at, attempts, \
                       message_id, notified, last_error, told_at, created_at";

/// What Google was told about a pass, and what it has yet to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoogleObject {
    /// The pass.
    pub id: PassId,
    /// Google's word for its kind: `loyalty`, `offer`, …
    pub kind: String,
    /// The object's id at Google.
    pub object_id: String,
    /// The object as Google has it, JSON; `None`: it was not told yet.
    pub sent: Option<String>,
    /// The pass's revision that `sent` shows.
    pub sent_revision: i64,
    /// Counts what is to be told.
    pub wanted: i64,
    /// The greatest count that was told.
    pub done: i64,
    /// When Google may be told, ms since 1970; `None`: nothing to tell.
    pub due_at: Option<i64>,
    /// Failed attempts so far.
    pub attempts: i64,
    /// The latest message that was handed over.
    pub message_id: Option<String>,
    /// Times of the notifications of the last 24 hours, ms since 1970.
    pub notified: Vec<i64>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When Google was last told something, ms since 1970.
    pub told_at: Option<i64>,
    /// When the pass was first offered to Google Wallet, ms since 1970.
    pub created_at: i64,
}

/// What became of an attempt to tell Google.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Google has it: the kind, the object's id and the object, and the pass's revision that it shows.
    Done {
        /// Google's word for its kind.
        kind: String,
        /// The object's id.
        object_id: String,
        /// The object, JSON.
        sent: String,
        /// The pass's revision.
        revision: i64,
    },
    /// The pass is gone, and Google knows: nothing is left to tell.
    Gone,
    /// Google refuses it; tried again when the pass changes, when a link is made, and by [`Store::retry_google`].
    Refused(String),
    /// Try again at this time (ms since 1970), and why.
    Later(i64, String),
}

impl Store {
    /// Offers a pass to Google Wallet: from now on Google hears of its changes. Does nothing when it was offered before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn offer_google(
        &self,
        id: &PassId,
        kind: &str,
        object_id: &str,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        sqlx::query(
            "INSERT INTO wallet_google_objects (pass_type, serial, kind, object_id, sent_revision, wanted, done, leased_until, \
             attempts, notified, created_at) VALUES ($1, $2, $3, $4, 0, 1, 0, 0, 0, '[]', $5) \
             ON CONFLICT (pass_type, serial) DO NOTHING",
        )
        .bind(&id.pass_type)
        .bind(&id.serial)
        .bind(kind)
        .bind(object_id)
        .bind(now_ms)
        .execute(self.database.pool())
        .await?;
        Ok(())
    }

    /// Notes what a link says of a pass of which Google was never told: what whoever opens it will have.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_google_link(&self, id: &PassId, sent: &str, revision: i64) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        sqlx::query(
            "UPDATE wallet_google_objects SET sent = $1, sent_revision = $2 WHERE pass_type = $3 AND serial = $4 AND told_at IS NULL AND sent IS NULL",
        )
        .bind(sent)
        .bind(revision)
        .bind(&id.pass_type)
        .bind(&id.serial)
        .execute(self.database.pool())
        .await?;
        Ok(())
    }

    /// Has Google told of a pass now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hurry_google(&self, id: &PassId, now_ms: i64) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        sqlx::query("UPDATE wallet_google_objects SET due_at = $1 WHERE pass_type = $2 AND serial = $3")
            .bind(now_ms)
            .bind(&id.pass_type)
            .bind(&id.serial)
            .execute(self.database.pool())
            .await?;
        Ok(())
    }

    /// Has Google told again of up to `limit` passes that it refused: those first that were tried least.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retry_google(&self, now_ms: i64, limit: i64) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        sqlx::query(
            "UPDATE wallet_google_objects SET due_at = $1 WHERE (pass_type, serial) IN \
             (SELECT pass_type, serial FROM wallet_google_objects WHERE due_at IS NULL AND last_error IS NOT NULL \
             ORDER BY attempts LIMIT $2)",
        )
        .bind(now_ms)
        .bind(limit)
        .execute(self.database.pool())
        .await?;
        Ok(())
    }

    /// What Google was told about a pass.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn google_object(&self, id: &PassId) -> Result<Option<GoogleObject>, StorageError> {
        let text = format!("SELECT {COLUMNS} FROM wallet_google_objects WHERE pass_type = $1 AND serial = $2");
        let row = sqlx::query(AssertSqlSafe(text))
            .bind(&id.pass_type)
            .bind(&id.serial)
            .fetch_optional(self.database.pool())
            .await?;
        row.as_ref().map(object_from).transpose()
    }

    /// Claims up to `limit` objects that Google is to be told about, until `lease_until`: then somebody else may try.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_google(
        &self,
        now_ms: i64,
        lease_until: i64,
        limit: i64,
    ) -> Result<Vec<GoogleObject>, StorageError> {
        let due =
            sqlx::query("SELECT serial FROM wallet_google_objects WHERE due_at <= $1 AND leased_until <= $1 LIMIT 1")
                .bind(now_ms)
                .fetch_optional(self.database.pool())
                .await?;
        if due.is_none() {
            return Ok(Vec::new());
        }
        let _turn = self.database.turn().wait().await;
        let lock = self.database.dialect().for_update_skip_locked();
        let claimed = sqlx::query(AssertSqlSafe(format!(
            "UPDATE wallet_google_objects SET leased_until = $2 WHERE (pass_type, serial) IN \
             (SELECT pass_type, serial FROM wallet_google_objects WHERE due_at <= $1 AND leased_until <= $1 \
             ORDER BY due_at LIMIT $3{lock}) RETURNING {COLUMNS}"
        )))
        .bind(now_ms)
        .bind(lease_until)
        .bind(limit)
        .fetch_all(self.database.pool())
        .await?;
        claimed.iter().map(object_from).collect()
    }

    /// Notes that a message is handed over now, and the notifications of the last 24 hours with it: before Google gets
    /// it, so that nobody is ever notified twice of one change.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_google_message(
        &self,
        id: &PassId,
        message_id: Option<&str>,
        notified: &[i64],
    ) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        sqlx::query(
            "UPDATE wallet_google_objects SET message_id = $1, notified = $2 WHERE pass_type = $3 AND serial = $4",
        )
        .bind(message_id)
        .bind(times_text(notified))
        .bind(&id.pass_type)
        .bind(&id.serial)
        .execute(self.database.pool())
        .await?;
        Ok(())
    }

    /// Notes what became of a claimed object. A change that came meanwhile makes it due again at once.
    ///
    /// # Errors
    /// When the database fails; the object comes again when its lease ends.
    pub async fn settle_google(&self, object: &GoogleObject, told: &Told, now_ms: i64) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        let query = match told {
            Told::Gone => return self.end_google(&object.id, now_ms).await,
            Told::Done { kind, object_id, sent, revision } => sqlx::query(
                "UPDATE wallet_google_objects SET done = $1, due_at = CASE WHEN wanted > $1 THEN $2 ELSE NULL END, leased_until = 0, \
                 attempts = 0, last_error = NULL, told_at = $2, kind = $3, object_id = $4, sent = $5, sent_revision = $6 \
                 WHERE pass_type = $7 AND serial = $8",
            )
            .bind(object.wanted)
            .bind(now_ms)
            .bind(kind)
            .bind(object_id)
            .bind(sent)
            .bind(*revision)
            .bind(&object.id.pass_type)
            .bind(&object.id.serial),
            Told::Refused(why) => sqlx::query(
                "UPDATE wallet_google_objects SET due_at = CASE WHEN wanted > $1 THEN $2 ELSE NULL END, leased_until = 0, \
                 attempts = attempts + 1, last_error = $3 WHERE pass_type = $4 AND serial = $5",
            )
            .bind(object.wanted)
            .bind(now_ms)
            .bind(why)
            .bind(&object.id.pass_type)
            .bind(&object.id.serial),
            Told::Later(due_at, why) => sqlx::query(
                "UPDATE wallet_google_objects SET due_at = $1, leased_until = 0, attempts = attempts + 1, last_error = $2 \
                 WHERE pass_type = $3 AND serial = $4",
            )
            .bind(*due_at)
            .bind(why)
            .bind(&object.id.pass_type)
            .bind(&object.id.serial),
        };
        query.execute(self.database.pool()).await?;
        Ok(())
    }

    /// Forgets what Google was told of a pass that is gone. One that was made again meanwhile is told from the start.
    async fn end_google(&self, id: &PassId, now_ms: i64) -> Result<(), StorageError> {
        let deleted = sqlx::query(
            "DELETE FROM wallet_google_objects WHERE pass_type = $1 AND serial = $2 \
             AND NOT EXISTS (SELECT 1 FROM wallet_passes WHERE pass_type = $1 AND serial = $2)",
        )
        .bind(&id.pass_type)
        .bind(&id.serial)
        .execute(self.database.pool())
        .await?;
        if deleted.rows_affected() == 0 {
            sqlx::query(
                "UPDATE wallet_google_objects SET due_at = $1, leased_until = 0, attempts = 0, sent = NULL, \
                 sent_revision = 0, told_at = NULL, message_id = NULL, last_error = NULL \
                 WHERE pass_type = $2 AND serial = $3",
            )
            .bind(now_ms)
            .bind(&id.pass_type)
            .bind(&id.serial)
            .execute(self.database.pool())
            .await?;
        }
        Ok(())
    }

    /// The digest of a class as Google has it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn google_class(&self, class_id: &str) -> Result<Option<String>, StorageError> {
        let row = sqlx::query("SELECT digest FROM wallet_google_classes WHERE class_id = $1")
            .bind(class_id)
            .fetch_optional(self.database.pool())
            .await?;
        Ok(row.map(|row| row.try_get("digest")).transpose()?)
    }

    /// Notes a class as Google has it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_google_class(
        &self,
        class_id: &str,
        kind: &str,
        digest: &str,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        sqlx::query(
            "INSERT INTO wallet_google_classes (class_id, kind, digest, told_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (class_id) DO UPDATE SET digest = excluded.digest, told_at = excluded.told_at",
        )
        .bind(class_id)
        .bind(kind)
        .bind(digest)
        .bind(now_ms)
        .execute(self.database.pool())
        .await?;
        Ok(())
    }

    /// Forgets a class that Google says it does not have.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_google_class(&self, class_id: &str) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        sqlx::query("DELETE FROM wallet_google_classes WHERE class_id = $1")
            .bind(class_id)
            .execute(self.database.pool())
            .await?;
        Ok(())
    }

    /// How many objects wait to be told, for the metric.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pending_google(&self) -> Result<i64, StorageError> {
        let row = sqlx::query("SELECT COUNT(*) AS pending FROM wallet_google_objects WHERE due_at IS NOT NULL")
            .fetch_one(self.database.pool())
            .await?;
        Ok(row.try_get("pending")?)
    }
}

fn times_text(times: &[i64]) -> String {
    serde_json::Value::from(times).to_string()
}

fn object_from(row: &AnyRow) -> Result<GoogleObject, StorageError> {
    let id = PassId { pass_type: row.try_get("pass_type")?, serial: row.try_get("serial")? };
    let notified: String = row.try_get("notified")?;
    let notified = serde_json::from_str(&notified).map_err(|_| {
        let text = format!("wallet_google_objects {} {}: notified is no list of times", id.pass_type, id.serial);
        StorageError::Corrupt(text)
    })?;
    Ok(GoogleObject {
        kind: row.try_get("kind")?,
        object_id: row.try_get("object_id")?,
        sent: row.try_get("sent")?,
        sent_revision: row.try_get("sent_revision")?,
        wanted: row.try_get("wanted")?,
        done: row.try_get("done")?,
        due_at: row.try_get("due_at")?,
        attempts: row.try_get("attempts")?,
        message_id: row.try_get("message_id")?,
        notified,
        last_error: row.try_get("last_error")?,
        told_at: row.try_get("told_at")?,
        created_at: row.try_get("created_at")?,
        id,
    })
}
