//! The tables of events and of their numbers.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, QueryBuilder, Row};
use tidings_shared::storage::{Database, StorageError};

use super::NewEvent;
use crate::devices::store::corrupt;

/// Rows of one statement.
const ROWS: usize = 200;

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
    for portion in events.chunks(ROWS) {
        let mut rows = Vec::with_capacity(portion.len());
        for event in portion {
            seq += 1;
            rows.push((seq, event.kind, serde_json::to_string(&event.outcome).map_err(corrupt)?));
        }
        let mut insert = QueryBuilder::new("INSERT INTO push_events (seq, kind, data, created_at) ");
        insert.push_values(rows, |mut values, (seq, kind, data)| {
            values.push_bind(seq).push_bind(kind).push_bind(data).push_bind(now_ms);
        });
        insert.build().execute(&mut *connection).await?;
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
    let rows =
        sqlx::query("SELECT seq, kind, data, created_at FROM push_events WHERE seq > $1 ORDER BY seq LIMIT $2")
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
