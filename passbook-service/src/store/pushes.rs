//! The durable outbox of pushes towards the push-gateway: one row for each device and pass type.

use sqlx::Row;
use tidings_shared::storage::StorageError;
use tidings_shared::storage::rows::{portions, statement, values};

use super::Store;

/// A push that this process has claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuePush {
    /// Device library identifier.
    pub device: String,
    /// Pass type identifier.
    pub pass_type: String,
    /// The tag that it announces.
    pub tag: i64,
    /// The device's present push token.
    pub push_token: String,
    /// When the device brought it, ms since 1970.
    pub token_at: i64,
    /// Failed attempts so far.
    pub attempts: i64,
    /// It has a reason: the device has passes of the type, and has not seen the tag.
    pub wanted: bool,
}

/// What became of a claimed push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushResult {
    /// The gateway has it.
    Sent,
    /// It will never be sent, and why.
    Dropped(String),
    /// Try again at this time (ms since 1970), and why.
    Later(i64, String),
}

impl Store {
    /// Claims up to `limit` pushes that are due, until `lease_until`: then somebody else may try.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_pushes(&self, now_ms: i64, lease_until: i64, limit: i64) -> Result<Vec<DuePush>, StorageError> {
        let due = sqlx::query("SELECT device FROM wallet_pushes WHERE due_at <= $1 LIMIT 1")
            .bind(now_ms)
            .fetch_optional(self.database.pool())
            .await?;
        if due.is_none() {
            return Ok(Vec::new());
        }
        let _turn = self.database.turn().wait().await;
        let lock = self.database.dialect().for_update_skip_locked();
        let claimed = sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE wallet_pushes SET due_at = $2 WHERE (device, pass_type) IN \
             (SELECT device, pass_type FROM wallet_pushes WHERE due_at <= $1 ORDER BY due_at LIMIT $3{lock}) \
             RETURNING device, pass_type, tag, attempts, \
             (SELECT COUNT(*) FROM wallet_registrations r WHERE r.device = wallet_pushes.device \
              AND r.pass_type = wallet_pushes.pass_type AND wallet_pushes.sent_tag < wallet_pushes.tag) AS held, \
             (SELECT push_token FROM wallet_devices d WHERE d.device = wallet_pushes.device) AS push_token, \
             (SELECT token_at FROM wallet_devices d WHERE d.device = wallet_pushes.device) AS token_at"
        )))
        .bind(now_ms)
        .bind(lease_until)
        .bind(limit)
        .fetch_all(self.database.pool())
        .await?;
        claimed
            .iter()
            .map(|row| {
                Ok(DuePush {
                    device: row.try_get("device")?,
                    pass_type: row.try_get("pass_type")?,
                    tag: row.try_get("tag")?,
                    attempts: row.try_get("attempts")?,
                    wanted: row.try_get::<i64, _>("held")? > 0,
                    push_token: row.try_get::<Option<String>, _>("push_token")?.unwrap_or_default(),
                    token_at: row.try_get::<Option<i64>, _>("token_at")?.unwrap_or_default(),
                })
            })
            .collect()
    }

    /// Notes what became of claimed pushes. A change that came meanwhile makes one due again after the interval; one that
    /// was sent with a push token that the device has replaced meanwhile is due at once.
    ///
    /// # Errors
    /// When the database fails; the pushes come again when their lease ends, with the same idempotency keys.
    pub async fn settle_pushes(
        &self,
        settled: &[(DuePush, PushResult)],
        now_ms: i64,
        interval_ms: i64,
    ) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        for portion in portions(settled) {
            let values = values(portion.len(), 6);
            // A push that was sent with the device's present token, or dropped, is done.
            let done = format!(
                "WITH v (device, pass_type, tag, push_token, due_at, why) AS (VALUES {values}) \
                 UPDATE wallet_pushes SET sent_tag = v.tag, pushed_at = ?, attempts = 0, last_error = NULLIF(v.why, ''), \
                 due_at = CASE WHEN wallet_pushes.tag > v.tag THEN ? ELSE NULL END FROM v \
                 WHERE wallet_pushes.device = v.device AND wallet_pushes.pass_type = v.pass_type AND wallet_pushes.sent_tag < v.tag \
                 AND v.due_at = 0 AND (v.why <> '' OR NOT EXISTS \
                 (SELECT 1 FROM wallet_devices d WHERE d.device = v.device AND d.push_token <> v.push_token))"
            );
            let query = sqlx::query(statement(&transaction, &done));
            bind(query, portion).bind(now_ms).bind(now_ms + interval_ms).execute(&mut *transaction).await?;
            // What is left of them waits for its time, or for the new token.
            let later = format!(
                "WITH v (device, pass_type, tag, push_token, due_at, why) AS (VALUES {values}) \
                 UPDATE wallet_pushes SET attempts = CASE WHEN v.due_at = 0 THEN 0 ELSE attempts + 1 END, \
                 due_at = CASE WHEN v.due_at = 0 THEN ? ELSE v.due_at END, last_error = NULLIF(v.why, '') FROM v \
                 WHERE wallet_pushes.device = v.device AND wallet_pushes.pass_type = v.pass_type AND wallet_pushes.sent_tag < v.tag"
            );
            let query = sqlx::query(statement(&transaction, &later));
            bind(query, portion).bind(now_ms).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Makes what waits for another attempt due now. A push that is under way may be sent twice then, with the same
    /// idempotency key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hurry_pushes(&self, now_ms: i64) -> Result<(), StorageError> {
        sqlx::query("UPDATE wallet_pushes SET due_at = $1 WHERE due_at > $1 AND attempts > 0")
            .bind(now_ms)
            .execute(self.database.pool())
            .await?;
        Ok(())
    }

    /// How many pushes wait, for the metric.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pending_pushes(&self) -> Result<i64, StorageError> {
        let row = sqlx::query("SELECT COUNT(*) AS pending FROM wallet_pushes WHERE due_at IS NOT NULL")
            .fetch_one(self.database.pool())
            .await?;
        Ok(row.try_get("pending")?)
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Any, <sqlx::Any as sqlx::Database>::Arguments>;

fn bind<'q>(mut query: Query<'q>, portion: &'q [(DuePush, PushResult)]) -> Query<'q> {
    for (push, result) in portion {
        let (due_at, why) = match result {
            PushResult::Sent => (0, ""),
            PushResult::Dropped(why) => (0, why.as_str()),
            PushResult::Later(due_at, why) => (*due_at, why.as_str()),
        };
        query = query
            .bind(push.device.as_str())
            .bind(push.pass_type.as_str())
            .bind(push.tag)
            .bind(push.push_token.as_str())
            .bind(due_at)
            .bind(why);
    }
    query
}
