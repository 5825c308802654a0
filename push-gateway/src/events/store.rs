//! The tables of events and of their numbers.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use tidings_shared::push_api::{Outcome, TargetState};
use tidings_shared::storage::{Database, StorageError};

use super::{NewEvent, kind_of};
use crate::devices::store::{corrupt, provider};
use crate::queue::store::rows;

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) seq: i64,
    pub(crate) kind: String,
    /// JSON.
    pub(crate) data: String,
    pub(crate) created_at: i64,
}

/// Writes events at the end of the caller's transaction; gives the last number. Whoever writes holds the numbers until its
/// commit: a reader that has seen a number has seen all before it. Call it last, so that nobody waits for rows meanwhile.
pub(crate) async fn write(
    connection: &mut AnyConnection,
    events: &[NewEvent],
    now_ms: i64,
) -> Result<i64, StorageError> {
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let row = sqlx::query("UPDATE push_event_clock SET last_seq = last_seq + $1 WHERE id = 1 RETURNING last_seq")
        .bind(count)
        .fetch_one(&mut *connection)
        .await?;
    let last: i64 = row.try_get("last_seq")?;
    let mut seq = last - count;
    for portion in rows::portions(events) {
        let text =
            format!("INSERT INTO push_events (seq, kind, data, created_at) VALUES {}", rows::values(portion.len(), 4));
        let mut query = sqlx::query(rows::statement(connection, &text));
        for event in portion {
            seq += 1;
            let data = serde_json::to_string(&event.outcome).map_err(corrupt)?;
            query = query.bind(seq).bind(event.kind).bind(data).bind(now_ms);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(last)
}

/// The last number, and whether events are wanted.
pub(crate) async fn clock(database: &Database, now_ms: i64) -> Result<(i64, bool), StorageError> {
    let row = sqlx::query(
        "SELECT last_seq, wanted_until, (SELECT COUNT(*) FROM push_webhooks WHERE enabled = 1) AS webhooks \
         FROM push_event_clock WHERE id = 1",
    )
    .fetch_one(database.pool())
    .await?;
    let wanted = row.try_get::<i64, _>("wanted_until")? > now_ms || row.try_get::<i64, _>("webhooks")? > 0;
    Ok((row.try_get("last_seq")?, wanted))
}

/// Events are wanted until then (and stay wanted where that is later); gives the last number. Where nobody has wanted events for
/// a while, none were written: an event [`super::MISSED`] says so, for readers that go on from before.
pub(crate) async fn want_until(database: &Database, until: i64, now_ms: i64) -> Result<i64, StorageError> {
    let mut transaction = database.begin().await?;
    let row = sqlx::query(
        "UPDATE push_event_clock SET wanted_until = wanted_until WHERE id = 1 RETURNING last_seq, wanted_until, \
         (SELECT COUNT(*) FROM push_webhooks WHERE enabled = 1) AS webhooks",
    )
    .fetch_one(&mut *transaction)
    .await?;
    let (mut last, known): (i64, i64) = (row.try_get("last_seq")?, row.try_get("wanted_until")?);
    let lapsed = known <= now_ms && row.try_get::<i64, _>("webhooks")? == 0;
    if lapsed && last > 0 {
        last += 1;
        sqlx::query("INSERT INTO push_events (seq, kind, data, created_at) VALUES ($1, $2, $3, $4)")
            .bind(last)
            .bind(super::MISSED)
            .bind(serde_json::json!({ "since_ms": known, "until_ms": now_ms }).to_string())
            .bind(now_ms)
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query("UPDATE push_event_clock SET last_seq = $1, wanted_until = $2 WHERE id = 1")
        .bind(last)
        .bind(known.max(until))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(last)
}

/// The events behind a number, in order.
pub(crate) async fn after(database: &Database, seq: i64, limit: i64) -> Result<Vec<Event>, StorageError> {
    let rows = sqlx::query("SELECT seq, kind, data, created_at FROM push_events WHERE seq > $1 ORDER BY seq LIMIT $2")
        .bind(seq)
        .bind(limit)
        .fetch_all(database.pool())
        .await?;
    rows.iter().map(read).collect()
}

/// The number of the first event that is kept.
pub(crate) async fn first(database: &Database) -> Result<Option<i64>, StorageError> {
    let row = sqlx::query("SELECT MIN(seq) AS first FROM push_events").fetch_one(database.pool()).await?;
    Ok(row.try_get("first")?)
}

/// Forgets events from before this time, in portions.
pub(crate) async fn forget(database: &Database, before: i64) -> Result<(), StorageError> {
    loop {
        let mut transaction = database.begin().await?;
        let removed = sqlx::query(
            "DELETE FROM push_events WHERE seq IN (SELECT seq FROM push_events WHERE created_at < $1 ORDER BY seq LIMIT 1000)",
        )
        .bind(before)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        if removed.rows_affected() < 1000 {
            return Ok(());
        }
    }
}

fn read(row: &AnyRow) -> Result<Event, StorageError> {
    Ok(Event {
        seq: row.try_get("seq")?,
        kind: row.try_get("kind")?,
        data: row.try_get("data")?,
        created_at: row.try_get("created_at")?,
    })
}

/// Writes an event for each of these targets, which have just become final in the caller's transaction; gives the last number,
/// `None` when nobody wants events. The outcome is read from the target itself: one form, however it ended.
pub(crate) async fn of_ended(
    connection: &mut AnyConnection,
    targets: &[&str],
    now_ms: i64,
) -> Result<Option<i64>, StorageError> {
    if targets.is_empty() || !is_wanted(connection, now_ms).await? {
        return Ok(None);
    }
    let mut events = Vec::with_capacity(targets.len());
    for portion in rows::portions(targets) {
        let text = format!(
            "SELECT id, notification_id, device_id, provider, app, state, updated_at, provider_status, reason, provider_id, \
             token_gone FROM push_targets WHERE id IN ({}) ORDER BY updated_at, id",
            rows::parameters(portion.len())
        );
        let mut query = sqlx::query(rows::statement(connection, &text));
        for target in portion {
            query = query.bind(*target);
        }
        for row in query.fetch_all(&mut *connection).await? {
            events.extend(outcome(&row)?);
        }
    }
    if events.is_empty() { Ok(None) } else { write(connection, &events, now_ms).await.map(Some) }
}

async fn is_wanted(connection: &mut AnyConnection, now_ms: i64) -> Result<bool, StorageError> {
    let row = sqlx::query(
        "SELECT CASE WHEN wanted_until > $1 OR EXISTS (SELECT 1 FROM push_webhooks WHERE enabled = 1) THEN 1 ELSE 0 END AS wanted \
         FROM push_event_clock WHERE id = 1",
    )
    .bind(now_ms)
    .fetch_one(connection)
    .await?;
    // PostgreSQL counts a literal as INTEGER.
    Ok(row.try_get::<i64, _>("wanted").or_else(|_| row.try_get::<i32, _>("wanted").map(i64::from))? != 0)
}

fn outcome(row: &AnyRow) -> Result<Option<NewEvent>, StorageError> {
    let name: String = row.try_get("state")?;
    let state = TargetState::from_name(&name).ok_or_else(|| corrupt(format!("no state is called {name}")))?;
    let Some(kind) = kind_of(state) else { return Ok(None) };
    Ok(Some(NewEvent {
        kind,
        outcome: Outcome {
            notification: row.try_get("notification_id")?,
            target: row.try_get("id")?,
            device: row.try_get("device_id")?,
            provider: provider(row, "provider")?,
            app: row.try_get("app")?,
            state: Some(state),
            receipt: None,
            at_ms: row.try_get("updated_at")?,
            provider_status: row
                .try_get::<Option<i64>, _>("provider_status")?
                .and_then(|status| u16::try_from(status).ok()),
            reason: row.try_get("reason")?,
            provider_id: row.try_get("provider_id")?,
            token_gone: row.try_get::<i64, _>("token_gone")? != 0,
        },
    }))
}
