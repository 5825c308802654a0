//! Devices that do not answer any more: set apart, and forgotten when they stay silent.

use serde::Serialize;
use sqlx::Row;
use tidings_shared::storage::{StorageError, rows};
use utoipa::ToSchema;

use super::Store;

/// `listed_at` is noted about once a minute: a list this long before a push counts as its answer.
const SLACK_MS: i64 = 60_000;

/// Why nothing is sent to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// Apple says that the push token is gone. Ends with a registration.
    TokenGone,
    /// Many pushes over many days, and no question. Ends with a registration or a question.
    Unanswered,
}

impl Quarantine {
    /// The name in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenGone => "token_gone",
            Self::Unanswered => "unanswered",
        }
    }
}

/// Devices by when they were last heard of: by a question or a registration. Each number has those before it in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cohorts {
    /// All of them.
    pub devices: i64,
    /// Heard of within 7 days.
    pub within7_days: i64,
    /// Within 30 days.
    pub within30_days: i64,
    /// Within 365 days.
    pub within365_days: i64,
    /// Longer ago, or never by this service.
    pub older: i64,
    /// Devices that have asked this service at least once.
    pub asked_ever: i64,
    /// In quarantine because Apple says that their token is gone.
    pub token_gone: i64,
    /// In quarantine because they do not answer.
    pub unanswered: i64,
    /// When the first of them is forgotten unless it is heard of (ms since 1970).
    pub next_forgotten_at: Option<i64>,
}

/// What a settled push makes of the count of unanswered ones; `pushed_at` is the SQL for its time.
pub(super) fn count_unanswered(pushed_at: &str) -> String {
    let answered =
        format!("wallet_pushes.pushed_at IS NULL OR wallet_pushes.listed_at + {SLACK_MS} >= wallet_pushes.pushed_at");
    format!(
        "unanswered = CASE WHEN {answered} THEN 1 ELSE wallet_pushes.unanswered + 1 END, \
         unanswered_since = CASE WHEN {answered} THEN {pushed_at} ELSE COALESCE(wallet_pushes.unanswered_since, {pushed_at}) END"
    )
}

impl Store {
    /// A push token is gone: whoever was pushed under this name is set apart, unless the token was brought anew since.
    /// `None`: no such push is known (yet).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_gone(&self, notification: &str, now_ms: i64) -> Result<Option<bool>, StorageError> {
        let row = sqlx::query("SELECT device, notified_token_at FROM wallet_pushes WHERE notification = $1 LIMIT 1")
            .bind(notification)
            .fetch_optional(self.database.pool())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (device, token_at): (String, Option<i64>) = (row.try_get("device")?, row.try_get("notified_token_at")?);
        let _turn = self.database.turn().wait().await;
        let set = sqlx::query(
            "UPDATE wallet_devices SET quarantined_at = COALESCE(quarantined_at, $1), quarantine_reason = $2 \
             WHERE device = $3 AND token_at = $4 AND (quarantine_reason IS NULL OR quarantine_reason <> $2)",
        )
        .bind(now_ms)
        .bind(Quarantine::TokenGone.as_str())
        .bind(device)
        .bind(token_at.unwrap_or(-1))
        .execute(self.database.pool())
        .await?;
        Ok(Some(set.rows_affected() == 1))
    }

    /// Sets apart up to `limit` devices behind `after` with at least `pushes` unanswered pushes that have not been heard of
    /// since `silent_since` (ms since 1970): how many, and the last of them; `None`: there are no more. Devices of an import
    /// that have never been heard of here may still ask the other provider: only Apple says that those are gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn quarantine_silent(
        &self,
        pushes: i64,
        silent_since: i64,
        now_ms: i64,
        after: &str,
        limit: i64,
    ) -> Result<Option<(u64, String)>, StorageError> {
        // In the key's order: no portion looks at what another one has looked at.
        let found = sqlx::query(
            "SELECT DISTINCT w.device FROM wallet_pushes w CROSS JOIN wallet_devices d WHERE d.device = w.device AND w.device > $1 \
             AND w.unanswered >= $2 AND w.unanswered_since <= $3 AND d.quarantined_at IS NULL AND d.token_at <= $3 \
             AND COALESCE(d.last_list_at, 0) <= $3 AND (d.last_list_at IS NOT NULL OR d.token_at >= d.created_at) \
             ORDER BY w.device LIMIT $4",
        )
        .bind(after)
        .bind(pushes)
        .bind(silent_since)
        .bind(limit)
        .fetch_all(self.database.pool())
        .await?;
        let devices: Vec<String> = found.iter().map(|row| row.try_get("device")).collect::<Result<_, _>>()?;
        let Some(last) = devices.last().cloned() else { return Ok(None) };
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        let mut set = 0;
        for portion in rows::portions(&devices) {
            // Unless it was heard of at this moment.
            let text = format!(
                "UPDATE wallet_devices SET quarantined_at = ?, quarantine_reason = ? WHERE quarantined_at IS NULL AND token_at <= ? \
                 AND COALESCE(last_list_at, 0) <= ? AND device IN ({})",
                rows::parameters(portion.len())
            );
            let mut query = sqlx::query(rows::statement(&transaction, &text))
                .bind(now_ms)
                .bind(Quarantine::Unanswered.as_str())
                .bind(silent_since)
                .bind(silent_since);
            for device in portion {
                query = query.bind(device);
            }
            set += query.execute(&mut *transaction).await?.rows_affected();
        }
        transaction.commit().await?;
        Ok(Some((set, last)))
    }

    /// Forgets up to `limit` devices, with their registrations, that are in quarantine since before `before` and have
    /// not asked since; how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_quarantined(&self, before: i64, limit: i64) -> Result<u64, StorageError> {
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        // Held, so that a registration at this moment waits and then makes the device anew.
        let lock = self.database.dialect().for_update_skip_locked();
        let found = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT device FROM wallet_devices WHERE quarantined_at < $1 AND COALESCE(last_list_at, 0) < $1 LIMIT $2{lock}"
        )))
        .bind(before)
        .bind(limit)
        .fetch_all(&mut *transaction)
        .await?;
        let devices: Vec<String> = found.iter().map(|row| row.try_get("device")).collect::<Result<_, _>>()?;
        for portion in rows::portions(&devices) {
            for table in ["wallet_registrations", "wallet_pushes", "wallet_devices"] {
                let text = format!("DELETE FROM {table} WHERE device IN ({})", rows::parameters(portion.len()));
                let mut query = sqlx::query(rows::statement(&transaction, &text));
                for device in portion {
                    query = query.bind(device);
                }
                query.execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        Ok(devices.len() as u64)
    }

    /// Devices by when they were last heard of. `forget_ms`: how long quarantine lasts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cohorts(&self, now_ms: i64, forget_ms: i64) -> Result<Cohorts, StorageError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS devices, COALESCE(SUM(CASE WHEN x.heard > $1 THEN 1 ELSE 0 END), 0) AS week, \
             COALESCE(SUM(CASE WHEN x.heard > $2 THEN 1 ELSE 0 END), 0) AS month, \
             COALESCE(SUM(CASE WHEN x.heard > $3 THEN 1 ELSE 0 END), 0) AS year, \
             COALESCE(SUM(x.asked), 0) AS asked, COALESCE(SUM(x.gone), 0) AS gone, COALESCE(SUM(x.silent), 0) AS silent, \
             MIN(x.forgotten_from) AS forgotten_from FROM (SELECT \
             CASE WHEN last_list_at IS NOT NULL AND last_list_at > token_at THEN last_list_at ELSE token_at END AS heard, \
             CASE WHEN last_list_at IS NULL THEN 0 ELSE 1 END AS asked, \
             CASE WHEN quarantine_reason = 'token_gone' THEN 1 ELSE 0 END AS gone, \
             CASE WHEN quarantine_reason = 'unanswered' THEN 1 ELSE 0 END AS silent, \
             CASE WHEN quarantined_at IS NULL THEN NULL WHEN last_list_at > quarantined_at THEN last_list_at ELSE quarantined_at END AS forgotten_from \
             FROM wallet_devices) x",
        )
        .bind(now_ms - 7 * DAY_MS)
        .bind(now_ms - 30 * DAY_MS)
        .bind(now_ms - 365 * DAY_MS)
        .fetch_one(self.database.pool())
        .await?;
        let (devices, year): (i64, i64) = (row.try_get("devices")?, row.try_get("year")?);
        let forgotten_from: Option<i64> = row.try_get("forgotten_from")?;
        Ok(Cohorts {
            devices,
            within7_days: row.try_get("week")?,
            within30_days: row.try_get("month")?,
            within365_days: year,
            older: devices - year,
            asked_ever: row.try_get("asked")?,
            token_gone: row.try_get("gone")?,
            unanswered: row.try_get("silent")?,
            next_forgotten_at: forgotten_from.map(|from| from.saturating_add(forget_ms)),
        })
    }
}

const DAY_MS: i64 = 86_400_000;
