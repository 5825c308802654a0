//! The walk over the registrations: portions that end soon, however few of them match.

use sqlx::Row;
use sqlx::any::AnyRow;
use tidings_shared::storage::{Dialect, StorageError, rows};

use super::query::{Bound, Condition};
use super::{Client, PassQuery, Store};
use crate::campaign::plan::{Campaign, Position};

/// Registrations that one step looks at, at most.
const WINDOW: i64 = 20_000;

/// A registration that the walk has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub at: Position,
    /// The device's push token.
    pub push_token: String,
    /// When the device brought it, ms since 1970.
    pub token_at: i64,
    /// Nothing is sent to it: it is in quarantine, or its push token is not Apple's.
    pub quarantined: bool,
    /// The tag of the pass's latest listed change; 0 when it was never changed.
    pub tag: i64,
    /// The clock's tag when the device last got its list; -1 when it never asked here.
    pub listed_tag: i64,
    /// When that was.
    pub listed_at: Option<i64>,
    /// When it was last pushed.
    pub pushed_at: Option<i64>,
    /// A push for a change is waiting.
    pub due: bool,
}

/// One step of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Registrations that match.
    pub found: Vec<Candidate>,
    /// Where the walk stands now.
    pub after: Position,
    /// Nothing is behind that.
    pub over: bool,
}

impl Store {
    /// Counts the registrations that a sweep will look at.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_walk(&self, campaign: &Campaign) -> Result<(), StorageError> {
        let dialect = self.database.dialect();
        let condition = campaign.query.condition(dialect);
        let text = format!(
            "SELECT COUNT(*) AS n FROM wallet_registrations r JOIN wallet_passes p ON p.pass_type = r.pass_type AND p.serial = r.serial WHERE {}",
            condition.sql
        );
        let mut connection = self.database.pool().acquire().await?;
        let asked = condition.bind(sqlx::query(rows::statement(&connection, &text)));
        let row = asked.fetch_one(&mut *connection).await?;
        drop(connection);
        sqlx::query("UPDATE wallet_campaigns SET total = $1 WHERE id = $2 AND sweep = $3")
            .bind(row.try_get::<i64, _>("n")?)
            .bind(&campaign.id)
            .bind(campaign.sweep)
            .execute(self.database.pool())
            .await?;
        Ok(())
    }

    /// The next registrations of the walk, `limit` at most; none may match although the walk is not over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn walk(&self, query: &PassQuery, after: &Position, limit: i64) -> Result<Step, StorageError> {
        // Serial numbers are a thousand at most: they are looked up.
        let end = if query.serials.is_some() { None } else { self.window_end(query, after).await? };
        let found = self.candidates(query, after, end.as_ref(), limit).await?;
        let full = i64::try_from(found.len()).is_ok_and(|count| count >= limit);
        let last = found.last().map(|last| last.at.clone());
        Ok(match (last, end) {
            (Some(last), _) if full => Step { found, after: last, over: false },
            (_, Some(end)) => Step { found, after: end, over: false },
            (last, None) => Step { found, after: last.unwrap_or_else(|| after.clone()), over: true },
        })
    }

    /// The last registration of a step; `None`: there are fewer.
    async fn window_end(&self, query: &PassQuery, after: &Position) -> Result<Option<Position>, StorageError> {
        let mut condition = Condition::all();
        range(&mut condition, query, after, None);
        let text = format!(
            "SELECT r.pass_type, r.serial, r.device FROM wallet_registrations r WHERE {} \
             ORDER BY r.pass_type, r.serial, r.device LIMIT 1 OFFSET ?",
            condition.sql
        );
        let mut connection = self.database.pool().acquire().await?;
        let asked = condition.bind(sqlx::query(rows::statement(&connection, &text))).bind(WINDOW - 1);
        asked.fetch_optional(&mut *connection).await?.as_ref().map(position_from).transpose()
    }

    async fn candidates(
        &self,
        query: &PassQuery,
        after: &Position,
        end: Option<&Position>,
        limit: i64,
    ) -> Result<Vec<Candidate>, StorageError> {
        let (text, condition) = candidates_text(self.database.dialect(), query, after, end);
        let mut connection = self.database.pool().acquire().await?;
        let asked = condition.bind(sqlx::query(rows::statement(&connection, &text))).bind(limit);
        asked.fetch_all(&mut *connection).await?.iter().map(candidate_from).collect()
    }
}

fn candidates_text(
    dialect: Dialect,
    query: &PassQuery,
    after: &Position,
    end: Option<&Position>,
) -> (String, Condition) {
    let mut condition = query.condition(dialect);
    range(&mut condition, query, after, end);
    // SQLite takes tables in this order when it is told to: beginning with all passes of a template it would sort them for
    // each step. PostgreSQL knows better by itself.
    let join = if query.serials.is_some() && dialect == Dialect::Sqlite { "INNER JOIN" } else { "CROSS JOIN" };
    let text = format!(
        "SELECT r.pass_type, r.serial, r.device, d.push_token, d.token_at, d.quarantined_at, d.client, COALESCE(t.tag, 0) AS tag, \
         COALESCE(w.listed_tag, -1) AS listed_tag, w.listed_at, w.pushed_at, w.due_at FROM wallet_registrations r \
         {join} wallet_passes p {join} wallet_devices d \
         LEFT JOIN wallet_tags t ON t.pass_type = r.pass_type AND t.serial = r.serial \
         LEFT JOIN wallet_pushes w ON w.device = r.device AND w.pass_type = r.pass_type \
         WHERE {} AND p.pass_type = r.pass_type AND p.serial = r.serial AND d.device = r.device \
         ORDER BY r.pass_type, r.serial, r.device LIMIT ?",
        condition.sql
    );
    (text, condition)
}

/// Behind one registration, and up to another one.
fn range(condition: &mut Condition, query: &PassQuery, after: &Position, end: Option<&Position>) {
    let bounds = [(Some(after), ">"), (end, "<=")];
    if let Some(pass_type) = &query.pass_type {
        // By itself, so that the index is used for all of it.
        condition.and("r.pass_type = ?", [Bound::Text(pass_type.clone())]);
        for (at, comparison) in bounds {
            let Some(at) = at.filter(|at| at.pass_type == *pass_type) else { continue };
            let texts = [&at.serial, &at.device].map(|text| Bound::Text(text.clone()));
            condition.and(&format!("(r.serial, r.device) {comparison} (?, ?)"), texts);
        }
        return;
    }
    for (at, comparison) in bounds {
        let Some(at) = at else { continue };
        let texts = [&at.pass_type, &at.serial, &at.device].map(|text| Bound::Text(text.clone()));
        condition.and(&format!("(r.pass_type, r.serial, r.device) {comparison} (?, ?, ?)"), texts);
    }
}

fn position_from(row: &AnyRow) -> Result<Position, StorageError> {
    Ok(Position {
        pass_type: row.try_get("pass_type")?,
        serial: row.try_get("serial")?,
        device: row.try_get("device")?,
    })
}

fn candidate_from(row: &AnyRow) -> Result<Candidate, StorageError> {
    Ok(Candidate {
        at: position_from(row)?,
        push_token: row.try_get("push_token")?,
        token_at: row.try_get("token_at")?,
        quarantined: row.try_get::<Option<i64>, _>("quarantined_at")?.is_some()
            || row.try_get::<String, _>("client")? != Client::Apple.as_str(),
        tag: row.try_get("tag")?,
        listed_tag: row.try_get("listed_tag")?,
        listed_at: row.try_get("listed_at")?,
        pushed_at: row.try_get("pushed_at")?,
        due: row.try_get::<Option<i64>, _>("due_at")?.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidings_shared::storage::testing::databases;

    use super::*;

    #[tokio::test]
    async fn no_step_sorts_or_begins_anew_on_either_database() {
        let at = |serial: &str| Position {
            pass_type: "pass.a".to_owned(),
            serial: serial.to_owned(),
            device: "d".to_owned(),
        };
        for database in databases().await {
            let store = Store::new(database.clone());
            for query in [
                json!({}),
                json!({"template": "card"}),
                json!({"passType": "pass.a", "template": "card", "fields": {"tier": "gold"}}),
                json!({"serials": ["1", "2"]}),
            ] {
                let query: PassQuery = serde_json::from_value(query).unwrap();
                let step = store.walk(&query, &Position::default(), 10).await.unwrap();
                assert!(step.over && step.found.is_empty());
                store.candidates(&query, &at("1"), Some(&at("9")), 10).await.unwrap();
                if database.dialect() != Dialect::Sqlite || query.serials.is_some() {
                    continue;
                }
                let (text, condition) = candidates_text(Dialect::Sqlite, &query, &at("1"), Some(&at("9")));
                let text = format!("EXPLAIN QUERY PLAN {text}");
                let asked = condition.bind(sqlx::query(sqlx::AssertSqlSafe(text))).bind(10_i64);
                let plan: Vec<String> =
                    asked.fetch_all(database.pool()).await.unwrap().iter().map(|row| row.get("detail")).collect();
                assert!(!plan.iter().any(|line| line.contains("TEMP B-TREE")), "{plan:?}");
                assert!(plan[0].contains("SEARCH r") && plan[0].contains("wallet_registrations_walk"), "{plan:?}");
            }
        }
    }
}
