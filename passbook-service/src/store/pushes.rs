//! The durable outbox of pushes towards the push-gateway: one row for each device and pass type.

use sqlx::{Any, Row, Transaction};
use tidings_shared::storage::rows::{portions, statement, values};
use tidings_shared::storage::{Dialect, StorageError};

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
    /// It has a reason: the device has passes of the type, has not seen the tag, and is not in quarantine.
    pub wanted: bool,
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

/// The longest that a push waits for anything but the interval, ms: what the gateway asks for in Retry-After at most, and
/// the lease. A time that is further away was written by a clock that has been set back since.
pub(super) const LONGEST_WAIT_MS: i64 = 3_700_000;

impl Store {
    /// Claims up to `limit` pushes that are due, until `lease_until`: then somebody else may try. `interval_ms` lies between
    /// two pushes to a device.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim_pushes(
        &self,
        now_ms: i64,
        lease_until: i64,
        limit: i64,
        interval_ms: i64,
    ) -> Result<Vec<DuePush>, StorageError> {
        let far = now_ms + interval_ms + LONGEST_WAIT_MS;
        let due = sqlx::query("SELECT device FROM wallet_pushes WHERE due_at <= $1 OR due_at > $2 LIMIT 1")
            .bind(now_ms)
            .bind(far)
            .fetch_optional(self.database.pool())
            .await?;
        if due.is_none() {
            return Ok(Vec::new());
        }
        let _turn = self.database.turn().wait().await;
        let lock = self.database.dialect().for_update_skip_locked();
        let claimed = sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE wallet_pushes SET due_at = $2 WHERE (device, pass_type) IN \
             (SELECT device, pass_type FROM wallet_pushes WHERE due_at <= $1 OR due_at > $4 ORDER BY due_at LIMIT $3{lock}) \
             RETURNING device, pass_type, tag, attempts, \
             (SELECT COUNT(*) FROM wallet_registrations r WHERE r.device = wallet_pushes.device \
              AND r.pass_type = wallet_pushes.pass_type AND wallet_pushes.sent_tag < wallet_pushes.tag \
              AND NOT EXISTS (SELECT 1 FROM wallet_devices d WHERE d.device = r.device AND d.quarantined_at IS NOT NULL)) AS held, \
             (SELECT push_token FROM wallet_devices d WHERE d.device = wallet_pushes.device) AS push_token, \
             (SELECT token_at FROM wallet_devices d WHERE d.device = wallet_pushes.device) AS token_at"
        )))
        .bind(now_ms)
        .bind(lease_until)
        .bind(limit)
        .bind(far)
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
        let mut left = super::REPEATS;
        loop {
            let outcome = self.settle_once(settled, now_ms, interval_ms).await;
            if !super::again(&outcome, &mut left) {
                return outcome;
            }
        }
    }

    async fn settle_once(
        &self,
        settled: &[(DuePush, PushResult)],
        now_ms: i64,
        interval_ms: i64,
    ) -> Result<(), StorageError> {
        let of = |kind: fn(&PushResult) -> bool| settled.iter().filter(|(_, result)| kind(result)).collect::<Vec<_>>();
        let sent = of(|result| matches!(result, PushResult::Sent(_)));
        let dropped = of(|result| matches!(result, PushResult::Dropped(_)));
        let later = of(|result| matches!(result, PushResult::Later(..)));
        let which = "WHERE wallet_pushes.device = v.device AND wallet_pushes.pass_type = v.pass_type AND wallet_pushes.sent_tag < v.tag";
        let done = "sent_tag = v.tag, pushed_at = v.now, attempts = 0, \
                    due_at = CASE WHEN wallet_pushes.tag > v.tag THEN v.at ELSE NULL END";
        let unanswered = super::pruning::count_unanswered("v.now");
        let replaced = "(SELECT 1 FROM wallet_devices d WHERE d.device = v.device AND d.push_token <> v.push_token)";
        // It registered since the push was claimed: the reason to drop it may be gone.
        let returned = "(SELECT 1 FROM wallet_devices d WHERE d.device = v.device AND d.token_at <> v.token_at)";
        let statements = [
            (
                &sent,
                format!(
                    "{done}, last_error = NULL, notification = NULLIF(v.word, ''), notified_token_at = v.token_at, {unanswered} \
                     FROM v {which} AND NOT EXISTS {replaced}"
                ),
            ),
            // What is left of them waits for nothing but the new token.
            (&sent, format!("attempts = 0, due_at = v.now FROM v {which}")),
            (&dropped, format!("{done}, last_error = v.word FROM v {which} AND NOT EXISTS {returned}")),
            (&dropped, format!("attempts = 0, due_at = v.now FROM v {which}")),
            (&later, format!("attempts = attempts + 1, due_at = v.at, last_error = v.word FROM v {which}")),
        ];
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        self.lock_pushes(&mut transaction, settled).await?;
        for (settled, set) in statements {
            for portion in portions(settled) {
                let values = values(portion.len(), 8);
                let text = format!(
                    "WITH v (device, pass_type, tag, push_token, token_at, word, at, now) AS (VALUES {values}) UPDATE wallet_pushes SET {set}"
                );
                let mut query = sqlx::query(statement(&transaction, &text));
                for (push, result) in portion {
                    let (word, at) = match result {
                        PushResult::Sent(name) => (name.as_deref().unwrap_or_default(), now_ms + interval_ms),
                        PushResult::Dropped(why) => (why.as_str(), now_ms + interval_ms),
                        PushResult::Later(at, why) => (why.as_str(), *at),
                    };
                    query = query.bind(&push.device).bind(&push.pass_type).bind(push.tag).bind(&push.push_token);
                    query = query.bind(push.token_at).bind(word).bind(at).bind(now_ms);
                }
                query.execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Locks the rows of pushes in the order in which the sequencer does, so that neither waits for the other.
    async fn lock_pushes(
        &self,
        transaction: &mut Transaction<'static, Any>,
        settled: &[(DuePush, PushResult)],
    ) -> Result<(), StorageError> {
        if self.database.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let mut rows: Vec<_> = settled.iter().map(|(push, _)| (&push.device, &push.pass_type)).collect();
        rows.sort_unstable();
        let bytes = self.database.dialect().by_bytes();
        for portion in portions(&rows) {
            let text = format!(
                "SELECT 1 FROM wallet_pushes WHERE (device, pass_type) IN (VALUES {}) ORDER BY device{bytes}, pass_type{bytes}{}",
                values(portion.len(), 2),
                self.database.dialect().for_update()
            );
            let mut query = sqlx::query(statement(transaction, &text));
            for (device, pass_type) in portion {
                query = query.bind(*device).bind(*pass_type);
            }
            query.execute(&mut **transaction).await?;
        }
        Ok(())
    }

    /// Makes what waits for another attempt due now. A push that is under way may be sent twice then, with the same
    /// idempotency key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hurry_pushes(&self, now_ms: i64) -> Result<(), StorageError> {
        let _turn = self.database.turn().wait().await;
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
