//! Messages that could not be handled: kept with everything needed to see why, and to try them again.

use bytes::Bytes;
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{Any, Row as _, Transaction};
use tidings_shared::message_id::MessageId;
use tidings_shared::storage::{Database, StorageError};

use crate::runtime::message::{Message, Properties};

/// A message that could not be handled.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The message's id: together with the group it names the dead letter.
    pub message_id: MessageId,
    /// The group of handlers that could not handle it (setting `handlers.group`).
    pub group: String,
    /// The message, whole.
    pub message: Message,
    /// What the last attempt said.
    pub error: String,
    /// How often it was tried, replays included.
    pub attempts: i64,
    /// When it was first tried (ms since 1970, UTC).
    pub first_attempt_at_ms: i64,
    /// When it was given up (ms since 1970, UTC).
    pub died_at_ms: i64,
    /// How often it was replayed.
    pub replays: i64,
    /// Where it is.
    pub state: State,
}

/// Where a dead letter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing happens to it until somebody asks for a replay.
    Dead,
    /// A replay is asked for; the handlers' service takes it up within seconds.
    Replay,
    /// It is being tried again.
    Replaying,
}

impl State {
    const ALL: [Self; 3] = [Self::Dead, Self::Replay, Self::Replaying];

    fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Replay => "replay",
            Self::Replaying => "replaying",
        }
    }
}

/// Which dead letters [`list`] shows, newest first.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Only those of this topic.
    pub topic: Option<String>,
    /// Only those that died before this time (ms since 1970): the `died_at_ms` of the last one shows the next page.
    pub before_ms: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

impl Default for Filter {
    fn default() -> Self {
        Self { topic: None, before_ms: None, limit: 50 }
    }
}

const COLUMNS: &str = "message_id, group_name, topic, payload, properties, error, attempts, first_attempt_at_ms, died_at_ms, replays, state";

/// Dead letters, newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(database: &Database, filter: &Filter) -> Result<Vec<DeadLetter>, StorageError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM handlers_dead_letters
         WHERE died_at_ms < $1 AND ($2 = '' OR topic = $2) ORDER BY died_at_ms DESC, message_id DESC LIMIT $3"
    )))
    .bind(filter.before_ms.unwrap_or(i64::MAX))
    .bind(filter.topic.clone().unwrap_or_default())
    .bind(i64::from(filter.limit))
    .fetch_all(database.pool())
    .await?;
    rows.iter().map(dead_letter).collect()
}

/// One dead letter; the newest when several groups could not handle the message.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(database: &Database, id: &MessageId) -> Result<Option<DeadLetter>, StorageError> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM handlers_dead_letters WHERE message_id = $1 ORDER BY died_at_ms DESC LIMIT 1"
    )))
    .bind(id.as_str())
    .fetch_optional(database.pool())
    .await?;
    row.as_ref().map(dead_letter).transpose()
}

/// How many there are.
///
/// # Errors
/// When the database cannot be read.
pub async fn count(database: &Database) -> Result<i64, StorageError> {
    let row = sqlx::query("SELECT COUNT(*) AS dead FROM handlers_dead_letters").fetch_one(database.pool()).await?;
    Ok(row.try_get("dead")?)
}

/// Asks for a replay: the running handlers' service tries the message again within seconds, as a message of its own.
/// `false` when there is no such dead letter, or a replay is under way.
///
/// # Errors
/// When the database cannot be written.
pub async fn replay(database: &Database, id: &MessageId, now_ms: i64) -> Result<bool, StorageError> {
    Ok(ask_for_replay(database, "message_id", id.as_str(), now_ms).await? > 0)
}

/// Asks for a replay of every dead letter of a topic; says how many.
///
/// # Errors
/// When the database cannot be written.
pub async fn replay_topic(database: &Database, topic: &str, now_ms: i64) -> Result<u64, StorageError> {
    ask_for_replay(database, "topic", topic, now_ms).await
}

async fn ask_for_replay(
    database: &Database,
    column: &'static str,
    value: &str,
    now_ms: i64,
) -> Result<u64, StorageError> {
    let result = sqlx::query(sqlx::AssertSqlSafe(format!(
        "UPDATE handlers_dead_letters SET state = 'replay', state_since_ms = $2 WHERE {column} = $1 AND state = 'dead'"
    )))
    .bind(value)
    .bind(now_ms)
    .execute(database.pool())
    .await?;
    Ok(result.rows_affected())
}

/// Deletes a dead letter; `false` when there is none.
///
/// # Errors
/// When the database cannot be written.
pub async fn delete(database: &Database, id: &MessageId) -> Result<bool, StorageError> {
    let result = sqlx::query("DELETE FROM handlers_dead_letters WHERE message_id = $1")
        .bind(id.as_str())
        .execute(database.pool())
        .await?;
    Ok(result.rows_affected() > 0)
}

/// Keeps a message that could not be handled. A dead letter of the same message is replaced.
pub(crate) async fn bury(transaction: &mut Transaction<'_, Any>, letter: &DeadLetter) -> Result<(), StorageError> {
    let properties =
        serde_json::to_string(&letter.message.properties).map_err(|error| StorageError::Corrupt(error.to_string()))?;
    sqlx::query(
        "INSERT INTO handlers_dead_letters
           (group_name, message_id, topic, payload, properties, error, attempts, first_attempt_at_ms, died_at_ms, replays, state, state_since_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'dead', $9)
         ON CONFLICT (group_name, message_id) DO UPDATE SET
           error = excluded.error, attempts = handlers_dead_letters.attempts + excluded.attempts,
           died_at_ms = excluded.died_at_ms, replays = excluded.replays, state = 'dead', state_since_ms = excluded.state_since_ms",
    )
    .bind(&letter.group)
    .bind(letter.message_id.as_str())
    .bind(&letter.message.topic)
    .bind(letter.message.payload.to_vec())
    .bind(properties)
    .bind(&letter.error)
    .bind(letter.attempts)
    .bind(letter.first_attempt_at_ms)
    .bind(letter.died_at_ms)
    .bind(letter.replays)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Takes up the oldest replay that was asked for, or that nobody has finished since `abandoned_before_ms`.
pub(crate) async fn take_replay(
    database: &Database,
    group: &str,
    abandoned_before_ms: i64,
    now_ms: i64,
) -> Result<Option<DeadLetter>, StorageError> {
    let mut transaction = database.begin().await?;
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM handlers_dead_letters
         WHERE group_name = $1 AND (state = 'replay' OR (state = 'replaying' AND state_since_ms < $2))
         ORDER BY state_since_ms LIMIT 1{}",
        database.dialect().for_update_skip_locked()
    )))
    .bind(group)
    .bind(abandoned_before_ms)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let mut letter = dead_letter(&row)?;
    // A replay that was abandoned keeps its number: what it had committed is then found under its own message id.
    if letter.state == State::Replay {
        letter.replays += 1;
    }
    letter.state = State::Replaying;
    sqlx::query(
        "UPDATE handlers_dead_letters SET state = 'replaying', replays = $3, state_since_ms = $4
         WHERE group_name = $1 AND message_id = $2",
    )
    .bind(group)
    .bind(letter.message_id.as_str())
    .bind(letter.replays)
    .bind(now_ms)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Some(letter))
}

/// The replay has succeeded: the dead letter is gone.
pub(crate) async fn resolved(database: &Database, group: &str, id: &MessageId) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM handlers_dead_letters WHERE group_name = $1 AND message_id = $2")
        .bind(group)
        .bind(id.as_str())
        .execute(database.pool())
        .await?;
    Ok(())
}

/// Forgets dead letters that died before `before_ms`; says how many.
pub(crate) async fn forget(database: &Database, group: &str, before_ms: i64) -> Result<u64, StorageError> {
    let result =
        sqlx::query("DELETE FROM handlers_dead_letters WHERE group_name = $1 AND state = 'dead' AND died_at_ms < $2")
            .bind(group)
            .bind(before_ms)
            .execute(database.pool())
            .await?;
    Ok(result.rows_affected())
}

fn dead_letter(row: &AnyRow) -> Result<DeadLetter, StorageError> {
    let damaged = StorageError::Corrupt;
    let id: String = row.try_get("message_id")?;
    let state: String = row.try_get("state")?;
    let properties: Properties =
        serde_json::from_str(&row.try_get::<String, _>("properties")?).map_err(|error| damaged(error.to_string()))?;
    Ok(DeadLetter {
        message_id: MessageId::new(&id).map_err(|error| damaged(error.to_string()))?,
        group: row.try_get("group_name")?,
        message: Message {
            topic: row.try_get("topic")?,
            payload: Bytes::from(row.try_get::<Vec<u8>, _>("payload")?),
            properties,
        },
        error: row.try_get("error")?,
        attempts: row.try_get("attempts")?,
        first_attempt_at_ms: row.try_get("first_attempt_at_ms")?,
        died_at_ms: row.try_get("died_at_ms")?,
        replays: row.try_get("replays")?,
        state: State::ALL
            .into_iter()
            .find(|known| known.as_str() == state)
            .ok_or_else(|| damaged(format!("unknown state {state:?} of a dead letter")))?,
    })
}
