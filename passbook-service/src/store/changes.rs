//! Tags: an outbox of committed changes, and one lock holder that gives them out in batches.
//!
//! A tag that is given when a change is *written* loses updates: a later tag may be committed, and seen by a device,
//! before an earlier one. Here a tag is given to changes that are committed already, by whoever holds the lock of
//! `wallet_clock`; so a tag is visible only when every smaller one is.

use sqlx::{Any, Row, Transaction};
use tidings_shared::storage::StorageError;
use uuid::{ContextV7, Timestamp, Uuid};

use super::pushes::LONGEST_WAIT_MS;
use super::{PassId, Store};

/// The epoch and the greatest tag that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Names this database's run of tags.
    pub epoch: String,
    /// The greatest tag.
    pub last_tag: i64,
}

/// What a turn of the sequencer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// There is nothing to do.
    Empty,
    /// Another process is the sequencer at this moment.
    Busy,
    /// Changes got a tag.
    Given {
        /// The tag.
        tag: i64,
        /// How many changes share it.
        changes: u64,
        /// How many (device, pass type) pairs are to hear of it.
        pushes: u64,
    },
}

/// Names a change; names of later moments are greater.
pub(super) fn new_id(now_ms: i64) -> String {
    let seconds = u64::try_from(now_ms.div_euclid(1000)).unwrap_or_default();
    let nanos = u32::try_from(now_ms.rem_euclid(1000)).unwrap_or_default() * 1_000_000;
    Uuid::new_v7(Timestamp::from_unix(ContextV7::new(), seconds, nanos)).to_string()
}

/// Notes a change in the transaction that makes it; the answer names the row.
pub(super) async fn append(
    transaction: &mut Transaction<'static, Any>,
    id: &PassId,
    now_ms: i64,
) -> Result<String, StorageError> {
    let change = new_id(now_ms);
    sqlx::query("INSERT INTO wallet_changes (id, pass_type, serial, changed_at) VALUES ($1, $2, $3, $4)")
        .bind(&change)
        .bind(&id.pass_type)
        .bind(&id.serial)
        .bind(now_ms)
        .execute(&mut **transaction)
        .await?;
    Ok(change)
}

impl Store {
    /// Makes sure that there is a clock; `epoch` is used for a new one, which goes on from the greatest stored tag.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn start_clock(&self, epoch: &str) -> Result<Clocks, StorageError> {
        sqlx::query(
            "INSERT INTO wallet_clock (id, epoch, last_tag) SELECT 1, $1, COALESCE(MAX(tag), 0) FROM wallet_tags WHERE true \
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(epoch)
        .execute(self.database.pool())
        .await?;
        self.clock().await
    }

    /// The clock.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn clock(&self) -> Result<Clocks, StorageError> {
        let row = sqlx::query("SELECT epoch, last_tag FROM wallet_clock WHERE id = 1")
            .fetch_one(self.database.pool())
            .await?;
        Ok(Clocks { epoch: row.try_get("epoch")?, last_tag: row.try_get("last_tag")? })
    }

    /// The epoch: the same as long as a service runs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn epoch(&self) -> Result<String, StorageError> {
        if let Some(epoch) = self.epoch.get() {
            return Ok(epoch.clone());
        }
        let epoch = self.clock().await?.epoch;
        Ok(self.epoch.get_or_init(|| epoch).clone())
    }

    /// The tag of a pass's latest listed change; 0 when it was never changed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tag_of(&self, id: &PassId) -> Result<i64, StorageError> {
        let row = sqlx::query("SELECT tag FROM wallet_tags WHERE pass_type = $1 AND serial = $2")
            .bind(&id.pass_type)
            .bind(&id.serial)
            .fetch_optional(self.database.pool())
            .await?;
        Ok(row.map(|row| row.try_get("tag")).transpose()?.unwrap_or(0))
    }

    /// Whether a change still waits for its tag.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_waiting(&self, change: &str) -> Result<bool, StorageError> {
        let row = sqlx::query("SELECT id FROM wallet_changes WHERE id = $1")
            .bind(change)
            .fetch_optional(self.database.pool())
            .await?;
        Ok(row.is_some())
    }

    /// One turn of the sequencer: the next tag for up to `limit` committed changes, and pushes for the devices that
    /// have them, in one transaction. `push_interval_ms` lies between two pushes to the same device.
    ///
    /// # Errors
    /// When the database fails; nothing is done then.
    pub async fn give_tags(&self, limit: i64, now_ms: i64, push_interval_ms: i64) -> Result<Batch, StorageError> {
        Ok(self.give_tags_to(limit, now_ms, push_interval_ms).await?.0)
    }

    /// The same; and the changes that have the tag now.
    ///
    /// # Errors
    /// When the database fails; nothing is done then.
    pub async fn give_tags_to(
        &self,
        limit: i64,
        now_ms: i64,
        push_interval_ms: i64,
    ) -> Result<(Batch, Vec<String>), StorageError> {
        let mut left = super::REPEATS;
        loop {
            let outcome = self.give_tags_once(limit, now_ms, push_interval_ms).await;
            if !super::again(&outcome, &mut left) {
                return outcome;
            }
        }
    }

    async fn give_tags_once(
        &self,
        limit: i64,
        now_ms: i64,
        push_interval_ms: i64,
    ) -> Result<(Batch, Vec<String>), StorageError> {
        let waiting = sqlx::query("SELECT id FROM wallet_changes LIMIT 1").fetch_optional(self.database.pool()).await?;
        if waiting.is_none() {
            return Ok((Batch::Empty, Vec::new()));
        }
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        let lock = self.database.dialect().for_update_skip_locked();
        let clock = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT last_tag FROM wallet_clock WHERE id = 1{lock}")))
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(clock) = clock else { return Ok((Batch::Busy, Vec::new())) };
        if let Some(limit) = self.database.dialect().statement_limit() {
            sqlx::query(limit).execute(&mut *transaction).await?;
        }
        let tag = clock.try_get::<i64, _>("last_tag")? + 1;
        let changes = sqlx::query(
            "UPDATE wallet_changes SET batch = $1 WHERE id IN (SELECT id FROM wallet_changes WHERE batch IS NULL ORDER BY id LIMIT $2)",
        )
        .bind(tag)
        .bind(limit)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        if changes == 0 {
            return Ok((Batch::Empty, Vec::new()));
        }
        sqlx::query(
            "INSERT INTO wallet_tags (pass_type, serial, tag) SELECT DISTINCT pass_type, serial, $1 FROM wallet_changes WHERE batch = $1 \
             ON CONFLICT (pass_type, serial) DO UPDATE SET tag = excluded.tag",
        )
        .bind(tag)
        .execute(&mut *transaction)
        .await?;
        // In the order in which everybody locks pushes. Times that no clock of today can have written are none: a clock was
        // set back.
        let bytes = self.database.dialect().by_bytes();
        let pushes = sqlx::query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO wallet_pushes (device, pass_type, tag, sent_tag, due_at, attempts) \
             SELECT device, pass_type, $1, 0, $2, 0 FROM (SELECT DISTINCT r.device AS device, r.pass_type AS pass_type FROM wallet_changes c \
             JOIN wallet_registrations r ON r.pass_type = c.pass_type AND r.serial = c.serial \
             JOIN wallet_devices d ON d.device = r.device AND d.client = 'apple' WHERE c.batch = $1) AS told \
             WHERE true ORDER BY device{bytes}, pass_type{bytes} \
             ON CONFLICT (device, pass_type) DO UPDATE SET tag = excluded.tag, due_at = CASE \
             WHEN wallet_pushes.due_at <= $2 + $3 + {LONGEST_WAIT_MS} THEN wallet_pushes.due_at \
             WHEN wallet_pushes.pushed_at + $3 > $2 AND wallet_pushes.pushed_at <= $2 + $3 THEN wallet_pushes.pushed_at + $3 ELSE $2 END"
        )))
        .bind(tag)
        .bind(now_ms)
        .bind(push_interval_ms)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        // Google Wallet hears of passes that were offered to it (store/google.rs).
        sqlx::query(
            "UPDATE wallet_google_objects SET wanted = wanted + 1, due_at = COALESCE(due_at, $2) \
             WHERE (pass_type, serial) IN (SELECT pass_type, serial FROM wallet_changes WHERE batch = $1)",
        )
        .bind(tag)
        .bind(now_ms)
        .execute(&mut *transaction)
        .await?;
        let given = sqlx::query("DELETE FROM wallet_changes WHERE batch = $1 RETURNING id")
            .bind(tag)
            .fetch_all(&mut *transaction)
            .await?;
        sqlx::query("UPDATE wallet_clock SET last_tag = $1 WHERE id = 1").bind(tag).execute(&mut *transaction).await?;
        transaction.commit().await?;
        let given = given.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>()?;
        Ok((Batch::Given { tag, changes, pushes }, given))
    }
}
