//! Campaigns: what is asked, how far it is, and the walk over the registrations.

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};
use tidings_shared::storage::{StorageError, rows};

use super::{PassQuery, Store, leases};
use crate::campaign::plan::{Campaign, Counts, Coverage, Plan, Position, State};

/// The lease of whoever runs campaigns.
pub const LEASE: &str = "campaigns";

/// A device that was pushed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pushed {
    /// Device library identifier.
    pub device: String,
    /// Pass type identifier.
    pub pass_type: String,
    /// The tag that it is to hear of.
    pub tag: i64,
    /// The push-gateway's name for the push, if it told one.
    pub notification: Option<String>,
    /// The age of the token.
    pub token_at: i64,
}

/// What a portion of the walk has done.
#[derive(Clone, Debug, Default)]
pub struct Portion {
    /// Where the walk stands now.
    pub after: Position,
    /// How many registrations were looked at.
    pub looked_at: i64,
    /// What became of them.
    pub counts: Counts,
    /// Who was pushed.
    pub pushed: Vec<Pushed>,
    /// The rate at this moment, in thousandths of a push a second.
    pub rate: i64,
    /// Why it was last reduced.
    pub rate_reason: String,
    /// Why pushes were given up, if some were.
    pub last_error: Option<String>,
}

const COLUMNS: &str = "id, name, query, state, plan, created_at, updated_at, finished_at, sweep, sweep_at, next_at, after_type, \
                       after_serial, after_device, total, looked_at, pushed, up_to_date, recent, unpushable, refused, rate, \
                       rate_reason, last_error, coverage";

impl Store {
    /// Stores a new campaign, running.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_campaign(
        &self,
        id: &str,
        name: &str,
        query: &PassQuery,
        plan: &Plan,
        now_ms: i64,
    ) -> Result<(), StorageError> {
        sqlx::query(
            "INSERT INTO wallet_campaigns (id, name, query, state, plan, created_at, updated_at, sweep, sweep_at, rate) \
             VALUES ($1, $2, $3, 'running', $4, $5, $5, 1, $5, $6)",
        )
        .bind(id)
        .bind(name)
        .bind(json(query)?)
        .bind(json(plan)?)
        .bind(now_ms)
        .bind(i64::from(plan.rate.floor) * 1000)
        .execute(self.database.pool())
        .await?;
        Ok(())
    }

    /// A campaign.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn campaign(&self, id: &str) -> Result<Option<Campaign>, StorageError> {
        let text = format!("SELECT {COLUMNS} FROM wallet_campaigns WHERE id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id).fetch_optional(self.database.pool()).await?;
        row.as_ref().map(campaign_from).transpose()
    }

    /// The latest campaigns, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn campaigns(&self, limit: i64) -> Result<Vec<Campaign>, StorageError> {
        let text = format!("SELECT {COLUMNS} FROM wallet_campaigns ORDER BY created_at DESC, id DESC LIMIT $1");
        let rows = sqlx::query(sqlx::AssertSqlSafe(text)).bind(limit).fetch_all(self.database.pool()).await?;
        rows.iter().map(campaign_from).collect()
    }

    /// The campaign that is to be worked on: the oldest that runs, or whose next sweep is due.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn campaign_to_run(&self, now_ms: i64) -> Result<Option<Campaign>, StorageError> {
        let text = format!(
            "SELECT {COLUMNS} FROM wallet_campaigns WHERE state = 'running' OR (state = 'waiting' AND next_at <= $1) \
             ORDER BY created_at, id LIMIT 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(text)).bind(now_ms).fetch_optional(self.database.pool()).await?;
        row.as_ref().map(campaign_from).transpose()
    }

    /// Moves a campaign from one of some states to another. `false`: it was in none of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn move_campaign(&self, id: &str, from: &[State], to: State, now_ms: i64) -> Result<bool, StorageError> {
        let from: Vec<_> = from.iter().map(|state| format!("'{}'", state.as_str())).collect();
        let text = format!(
            "UPDATE wallet_campaigns SET state = $1, updated_at = $2, next_at = NULL, last_error = NULL WHERE id = $3 AND state IN ({})",
            from.join(", ")
        );
        let moved = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(to.as_str())
            .bind(now_ms)
            .bind(id)
            .execute(self.database.pool())
            .await?;
        Ok(moved.rows_affected() == 1)
    }

    /// Begins the next sweep of a campaign. `false`: it has moved on meanwhile.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_sweep(&self, id: &str, after_sweep: i64, now_ms: i64) -> Result<bool, StorageError> {
        let begun = sqlx::query(
            "UPDATE wallet_campaigns SET state = 'running', sweep = sweep + 1, sweep_at = $1, updated_at = $1, next_at = NULL, \
             finished_at = NULL, after_type = '', after_serial = '', after_device = '', total = NULL, looked_at = 0, last_error = NULL \
             WHERE id = $2 AND sweep = $3 AND state IN ('done', 'waiting')",
        )
        .bind(now_ms)
        .bind(id)
        .bind(after_sweep)
        .execute(self.database.pool())
        .await?;
        Ok(begun.rows_affected() == 1)
    }

    /// Ends a sweep: `next_at` says when the next one begins, if there is one. `false`: somebody paused the campaign, or began
    /// another sweep.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_sweep(
        &self,
        id: &str,
        sweep: i64,
        next_at: Option<i64>,
        now_ms: i64,
    ) -> Result<bool, StorageError> {
        let state = if next_at.is_some() { State::Waiting } else { State::Done };
        let ended = sqlx::query(
            "UPDATE wallet_campaigns SET state = $1, updated_at = $2, finished_at = $2, next_at = $3, total = looked_at \
             WHERE id = $4 AND sweep = $5 AND state = 'running'",
        )
        .bind(state.as_str())
        .bind(now_ms)
        .bind(next_at)
        .bind(id)
        .bind(sweep)
        .execute(self.database.pool())
        .await?;
        Ok(ended.rows_affected() == 1)
    }

    /// Stores what a portion of the walk has done, with the lease's renewal, in one transaction. `false`: the lease was
    /// lost: nothing was stored then, and whoever has it walks the portion again; or the campaign does not run any more.
    ///
    /// # Errors
    /// When the database fails; the portion is walked again then, with the same idempotency keys.
    pub async fn store_portion(
        &self,
        campaign: &Campaign,
        portion: &Portion,
        owner: &str,
        now_ms: i64,
        until: i64,
    ) -> Result<bool, StorageError> {
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.begin().await?;
        if !leases::renew(&mut transaction, LEASE, owner, until).await? {
            return Ok(false);
        }
        note_pushed(&mut transaction, &portion.pushed, now_ms).await?;
        // A pause that came meanwhile keeps the cursor of what was done before it.
        let stored = sqlx::query(
            "UPDATE wallet_campaigns SET after_type = $1, after_serial = $2, after_device = $3, looked_at = looked_at + $4, \
             pushed = pushed + $5, up_to_date = up_to_date + $6, recent = recent + $7, unpushable = unpushable + $8, \
             refused = refused + $9, rate = $10, rate_reason = $11, updated_at = $12, last_error = $13 \
             WHERE id = $14 AND sweep = $15 AND state IN ('running', 'paused')",
        )
        .bind(&portion.after.pass_type)
        .bind(&portion.after.serial)
        .bind(&portion.after.device)
        .bind(portion.looked_at)
        .bind(portion.counts.pushed)
        .bind(portion.counts.current)
        .bind(portion.counts.recent)
        .bind(portion.counts.unpushable)
        .bind(portion.counts.refused)
        .bind(portion.rate)
        .bind(&portion.rate_reason)
        .bind(now_ms)
        .bind(portion.last_error.as_deref())
        .bind(&campaign.id)
        .bind(campaign.sweep)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(stored.rows_affected() == 1)
    }

    /// Says what keeps a campaign from going on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_campaign_error(&self, id: &str, error: &str, now_ms: i64) -> Result<(), StorageError> {
        sqlx::query("UPDATE wallet_campaigns SET last_error = $1, updated_at = $2 WHERE id = $3 AND state = 'running'")
            .bind(error)
            .bind(now_ms)
            .bind(id)
            .execute(self.database.pool())
            .await?;
        Ok(())
    }

    /// Counts who of a campaign's devices has asked since it began, and keeps that with the campaign. Takes a minute with
    /// tens of millions of devices.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_coverage(&self, campaign: &Campaign, now_ms: i64) -> Result<Coverage, StorageError> {
        let coverage = Coverage { counted_at: now_ms, ..self.coverage(&campaign.query, campaign.created_at).await? };
        sqlx::query("UPDATE wallet_campaigns SET coverage = $1 WHERE id = $2")
            .bind(json(&coverage)?)
            .bind(&campaign.id)
            .execute(self.database.pool())
            .await?;
        Ok(coverage)
    }

    async fn coverage(&self, query: &PassQuery, since: i64) -> Result<Coverage, StorageError> {
        let dialect = self.database.dialect();
        let condition = query.condition(dialect);
        let text = format!(
            "SELECT COUNT(*) AS devices, COALESCE(SUM(x.asked), 0) AS asked, COALESCE(SUM((1 - x.asked) * x.up_to_date), 0) AS up_to_date, \
             COALESCE(SUM((1 - x.asked) * (1 - x.up_to_date) * x.quarantined), 0) AS quarantined FROM (SELECT \
             MAX(CASE WHEN w.listed_at >= ? THEN 1 ELSE 0 END) AS asked, \
             MIN(CASE WHEN COALESCE(w.listed_tag, -1) >= COALESCE(t.tag, 0) THEN 1 ELSE 0 END) AS up_to_date, \
             MAX(CASE WHEN d.quarantined_at IS NULL AND d.client = 'apple' THEN 0 ELSE 1 END) AS quarantined FROM wallet_registrations r \
             JOIN wallet_passes p ON p.pass_type = r.pass_type AND p.serial = r.serial \
             JOIN wallet_devices d ON d.device = r.device \
             LEFT JOIN wallet_tags t ON t.pass_type = r.pass_type AND t.serial = r.serial \
             LEFT JOIN wallet_pushes w ON w.device = r.device AND w.pass_type = r.pass_type \
             WHERE {} GROUP BY r.device, r.pass_type) x",
            condition.sql
        );
        let mut connection = self.database.pool().acquire().await?;
        let asked = sqlx::query(rows::statement(&connection, &text)).bind(since);
        let row = condition.bind(asked).fetch_one(&mut *connection).await?;
        let mut coverage = Coverage {
            devices: row.try_get("devices")?,
            asked: row.try_get("asked")?,
            current: row.try_get("up_to_date")?,
            uncovered: 0,
            quarantined: row.try_get("quarantined")?,
            counted_at: 0,
        };
        coverage.uncovered = coverage.devices - coverage.asked - coverage.current;
        Ok(coverage)
    }
}

/// Notes who was pushed; a push for a change that waits is left alone.
async fn note_pushed(
    transaction: &mut Transaction<'static, Any>,
    pushed: &[Pushed],
    now_ms: i64,
) -> Result<(), StorageError> {
    // In one order, so that two writers wait for each other and do not lock each other out.
    let mut pushed = pushed.to_vec();
    pushed.sort();
    for portion in rows::portions(&pushed) {
        let text = format!(
            "INSERT INTO wallet_pushes (device, pass_type, tag, sent_tag, attempts, pushed_at, notification, notified_token_at, unanswered, unanswered_since) \
             VALUES {} ON CONFLICT (device, pass_type) DO UPDATE SET \
             sent_tag = CASE WHEN wallet_pushes.sent_tag > excluded.sent_tag THEN wallet_pushes.sent_tag ELSE excluded.sent_tag END, \
             tag = CASE WHEN wallet_pushes.tag > excluded.tag THEN wallet_pushes.tag ELSE excluded.tag END, \
             pushed_at = excluded.pushed_at, notification = excluded.notification, notified_token_at = excluded.notified_token_at, \
             {}",
            rows::values(portion.len(), 10),
            super::pruning::count_unanswered("excluded.pushed_at")
        );
        let mut query = sqlx::query(rows::statement(transaction, &text));
        for push in portion {
            query = query
                .bind(&push.device)
                .bind(&push.pass_type)
                .bind(push.tag)
                .bind(push.tag)
                .bind(0_i64)
                .bind(now_ms)
                .bind(push.notification.as_deref())
                .bind(push.token_at)
                .bind(1_i64)
                .bind(now_ms);
        }
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

fn json(value: &impl serde::Serialize) -> Result<String, StorageError> {
    serde_json::to_string(value).map_err(|error| StorageError::Corrupt(error.to_string()))
}

fn campaign_from(row: &AnyRow) -> Result<Campaign, StorageError> {
    let id: String = row.try_get("id")?;
    let corrupt = |what: &str| StorageError::Corrupt(format!("wallet_campaigns {id}: {what}"));
    let (query, plan, state): (String, String, String) =
        (row.try_get("query")?, row.try_get("plan")?, row.try_get("state")?);
    Ok(Campaign {
        name: row.try_get("name")?,
        query: serde_json::from_str(&query).map_err(|_| corrupt("query cannot be read"))?,
        state: State::from_name(&state).ok_or_else(|| corrupt("state is not known"))?,
        plan: serde_json::from_str(&plan).map_err(|_| corrupt("plan cannot be read"))?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        finished_at: row.try_get("finished_at")?,
        sweep: row.try_get("sweep")?,
        sweep_at: row.try_get("sweep_at")?,
        next_at: row.try_get("next_at")?,
        total: row.try_get("total")?,
        looked_at: row.try_get("looked_at")?,
        counts: Counts {
            pushed: row.try_get("pushed")?,
            current: row.try_get("up_to_date")?,
            recent: row.try_get("recent")?,
            unpushable: row.try_get("unpushable")?,
            refused: row.try_get("refused")?,
        },
        // Far below the numbers that a float cannot hold.
        rate: row.try_get::<i64, _>("rate")? as f64 / 1000.0,
        rate_reason: row.try_get("rate_reason")?,
        coverage: row
            .try_get::<Option<String>, _>("coverage")?
            .map(|text| serde_json::from_str(&text).map_err(|_| corrupt("coverage cannot be read")))
            .transpose()?,
        last_error: row.try_get("last_error")?,
        after: Position {
            pass_type: row.try_get("after_type")?,
            serial: row.try_get("after_serial")?,
            device: row.try_get("after_device")?,
        },
        id,
    })
}
