//! The durable outbox of pushes towards the push-gateway: one row for each device and pass type.

use sqlx::Row;
use tidings_shared::storage::StorageError;

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
}

/// What became of a claimed push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushResult {
    /// The gateway has it, under this name if it told one.
    Sent(Option<String>),
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
        let lock = self.database.dialect().for_update_skip_locked();
        let claimed = sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE wallet_pushes SET due_at = $2 WHERE (device, pass_type) IN \
             (SELECT device, pass_type FROM wallet_pushes WHERE due_at <= $1 ORDER BY due_at LIMIT $3{lock}) \
             RETURNING device, pass_type, tag, attempts, \
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
                    push_token: row.try_get::<Option<String>, _>("push_token")?.unwrap_or_default(),
                    token_at: row.try_get::<Option<i64>, _>("token_at")?.unwrap_or_default(),
                })
            })
            .collect()
    }

    /// Whether a claimed push still has a reason: the device has passes of the type, has not seen the tag, and is not in
    /// quarantine.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_wanted(&self, push: &DuePush) -> Result<bool, StorageError> {
        let row = sqlx::query(
            "SELECT p.device FROM wallet_pushes p JOIN wallet_devices d ON d.device = p.device AND d.quarantined_at IS NULL \
             WHERE p.device = $1 AND p.pass_type = $2 AND p.sent_tag < $3 AND EXISTS \
             (SELECT 1 FROM wallet_registrations r WHERE r.device = p.device AND r.pass_type = p.pass_type)",
        )
        .bind(&push.device)
        .bind(&push.pass_type)
        .bind(push.tag)
        .fetch_optional(self.database.pool())
        .await?;
        Ok(row.is_some())
    }

    /// Notes what became of a claimed push. A change that came meanwhile makes it due again after the interval.
    ///
    /// # Errors
    /// When the database fails; the push comes again when its lease ends, with the same idempotency key.
    pub async fn settle_push(
        &self,
        push: &DuePush,
        result: &PushResult,
        now_ms: i64,
        interval_ms: i64,
    ) -> Result<(), StorageError> {
        let sent = format!(
            "UPDATE wallet_pushes SET sent_tag = $1, pushed_at = $2, attempts = 0, last_error = NULL, notification = $3, \
             notified_token_at = $4, due_at = CASE WHEN tag > $1 THEN $2 + $5 ELSE NULL END, {} \
             WHERE device = $6 AND pass_type = $7 AND sent_tag < $1",
            super::pruning::count_unanswered("$2")
        );
        let query = match result {
            PushResult::Sent(notification) => sqlx::query(sqlx::AssertSqlSafe(sent))
                .bind(push.tag)
                .bind(now_ms)
                .bind(notification.as_deref())
                .bind(push.token_at)
                .bind(interval_ms),
            PushResult::Dropped(why) => sqlx::query(
                "UPDATE wallet_pushes SET sent_tag = $1, pushed_at = $2, attempts = 0, last_error = $3, \
                 due_at = CASE WHEN tag > $1 THEN $2 + $4 ELSE NULL END WHERE device = $5 AND pass_type = $6 AND sent_tag < $1",
            )
            .bind(push.tag)
            .bind(now_ms)
            .bind(why.as_str())
            .bind(interval_ms),
            PushResult::Later(due_at, why) => sqlx::query(
                "UPDATE wallet_pushes SET attempts = attempts + 1, due_at = $2, last_error = $3 \
                 WHERE device = $4 AND pass_type = $5 AND sent_tag < $1",
            )
            .bind(push.tag)
            .bind(*due_at)
            .bind(why.as_str()),
        };
        query.bind(&push.device).bind(&push.pass_type).execute(self.database.pool()).await?;
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
