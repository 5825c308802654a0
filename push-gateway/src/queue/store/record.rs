//! Results: what became of claimed targets, and what that says about their devices.

use std::collections::HashSet;

use sqlx::{AnyConnection, Row};
use tidings_shared::push_api::TargetState;
use tidings_shared::storage::{Database, StorageError};

use super::rows;
use crate::devices::store::prune::quarantine;
use crate::events;
use crate::provider::{Answer, TokenGone};
use crate::queue::settle::Settlement;
use crate::queue::{Claimed, Recipient};

/// A result to be recorded.
#[derive(Clone, Debug)]
pub(crate) struct SendResult {
    pub(crate) target: Claimed,
    pub(crate) answer: Answer,
    pub(crate) settlement: Settlement,
}

/// Records results in one transaction. A result whose lease has passed to somebody else changes nothing, unless it
/// is an acceptance: that is true whoever holds the lease.
///
/// Gives the number of the last event, where `write_events` says that somebody reads them.
pub(crate) async fn record(
    database: &Database,
    results: &[SendResult],
    write_events: bool,
    now_ms: i64,
) -> Result<Option<i64>, StorageError> {
    let mut transaction = database.begin().await?;
    let mut taken = HashSet::with_capacity(results.len());
    for portion in rows::portions(results) {
        write(&mut transaction, portion, now_ms, &mut taken).await?;
    }
    for result in results.iter().filter(|result| taken.contains(&result.target.id)) {
        follow_up(&mut transaction, result, now_ms).await?;
    }
    let last = if write_events {
        let taken: Vec<&str> = ended(results, &taken);
        events::store::of_ended(&mut transaction, &taken, now_ms).await?
    } else {
        None
    };
    transaction.commit().await?;
    Ok(last)
}

/// The names of the targets that are final now.
fn ended<'a>(results: &'a [SendResult], taken: &HashSet<String>) -> Vec<&'a str> {
    let ended = results.iter().filter(|result| result.settlement.state.is_final());
    ended.map(|result| result.target.id.as_str()).filter(|id| taken.contains(*id)).collect()
}

/// Writes results in one statement, and adds the names of those that it took.
async fn write(
    connection: &mut AnyConnection,
    results: &[SendResult],
    now_ms: i64,
    taken: &mut HashSet<String>,
) -> Result<(), StorageError> {
    // Both databases call the columns of VALUES column1, column2 and so on. What was not counted was no attempt: the
    // time in which a provider refuses pushes does not begin with it, nor anew. An acceptance whose lease has passed
    // on comes while somebody else sends the push again, or after that.
    let text = format!(
        "UPDATE push_targets SET lease = NULL, updated_at = ?, state = v.column3, due_at = v.column4, \
         attempts = attempts - v.column5, \
         first_attempt_at = CASE WHEN attempts - v.column5 = 0 THEN NULL ELSE first_attempt_at END, \
         maybe_taken = CASE WHEN push_targets.lease = v.column2 THEN v.column6 ELSE 1 END, environment = v.column7, tried_other = v.column8, \
         provider_status = COALESCE(v.column9, provider_status), reason = v.column10, \
         provider_id = COALESCE(v.column11, provider_id), token_gone = v.column12 \
         FROM (VALUES {}) AS v \
         WHERE push_targets.id = v.column1 AND push_targets.due_at IS NOT NULL \
         AND (push_targets.lease = v.column2 OR v.column3 = 'accepted') \
         RETURNING id",
        rows::values(results.len(), 12)
    );
    let mut query = sqlx::query(rows::statement(connection, &text)).bind(now_ms);
    for SendResult { target, answer, settlement } in results {
        let environment = if settlement.other_environment { target.environment.other() } else { target.environment };
        query = query
            .bind(target.id.as_str())
            .bind(target.lease.as_str())
            .bind(settlement.state.as_str())
            .bind(settlement.due_at)
            .bind(i64::from(settlement.uncounted))
            .bind(i64::from(settlement.maybe_taken))
            .bind(environment.as_str())
            .bind(i64::from(target.tried_other || settlement.other_environment))
            .bind(answer.status.map(i64::from))
            .bind(answer.reason.as_deref())
            .bind(answer.provider_id.as_deref())
            .bind(i64::from(settlement.token_gone.is_some()));
    }
    for row in query.fetch_all(connection).await? {
        taken.insert(row.try_get("id")?);
    }
    Ok(())
}

/// What a result says about the device itself.
async fn follow_up(connection: &mut AnyConnection, result: &SendResult, now_ms: i64) -> Result<(), StorageError> {
    let SendResult { target, settlement, .. } = result;
    let Recipient::Device { id, generation, .. } = &target.recipient else { return Ok(()) };
    match settlement.token_gone {
        Some(TokenGone::Now) => _ = quarantine(&mut *connection, id, *generation, None, now_ms).await?,
        Some(TokenGone::At(gone_at)) => {
            quarantine(&mut *connection, id, *generation, Some(gone_at), now_ms).await?;
        }
        None => {}
    }
    match settlement.state {
        TargetState::Accepted if target.tried_other => {
            sqlx::query("UPDATE push_devices SET environment = $1 WHERE id = $2 AND generation = $3")
                .bind(target.environment.as_str())
                .bind(id.as_str())
                .bind(*generation)
                .execute(connection)
                .await?;
        }
        // The wake push did not reach the phone, as far as is known: the next missed message makes a new one.
        TargetState::Dead | TargetState::Expired | TargetState::Unknown => {
            sqlx::query(
                "UPDATE push_devices SET wake_at = NULL, wake_target = NULL WHERE id = $1 AND wake_target = $2",
            )
            .bind(id.as_str())
            .bind(target.id.as_str())
            .execute(connection)
            .await?;
        }
        _ => {}
    }
    Ok(())
}
