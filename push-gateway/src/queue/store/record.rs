//! Results: what became of claimed targets, and what that says about their devices.

use sqlx::AnyConnection;
use tidings_shared::push_api::TargetState;
use tidings_shared::storage::{Database, StorageError};

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
pub(crate) async fn record(database: &Database, results: &[SendResult], now_ms: i64) -> Result<(), StorageError> {
    let mut transaction = database.begin().await?;
    for result in results {
        if record_one(&mut transaction, result, now_ms).await? {
            follow_up(&mut transaction, result).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

async fn record_one(connection: &mut AnyConnection, result: &SendResult, now_ms: i64) -> Result<bool, StorageError> {
    let SendResult { target, answer, settlement } = result;
    let environment = if settlement.other_environment { target.environment.other() } else { target.environment };
    let updated = sqlx::query(
        "UPDATE push_targets SET state = $1, due_at = $2, lease = NULL, attempts = attempts - $3, maybe_taken = $4, \
         environment = $5, tried_other = $6, provider_status = COALESCE($7, provider_status), \
         reason = $8, provider_id = COALESCE($9, provider_id), updated_at = $10, token_gone = $11 \
         WHERE id = $12 AND due_at IS NOT NULL AND (lease = $13 OR $14 = 1)",
    )
    .bind(settlement.state.as_str())
    .bind(settlement.due_at)
    .bind(i64::from(settlement.uncounted))
    .bind(i64::from(settlement.maybe_taken))
    .bind(environment.as_str())
    .bind(i64::from(target.tried_other || settlement.other_environment))
    .bind(answer.status.map(i64::from))
    .bind(answer.reason.as_deref())
    .bind(answer.provider_id.as_deref())
    .bind(now_ms)
    .bind(i64::from(settlement.token_gone.is_some()))
    .bind(target.id.as_str())
    .bind(target.lease.as_str())
    .bind(i64::from(settlement.state == TargetState::Accepted))
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() > 0)
}

/// What a result says about the device itself.
async fn follow_up(connection: &mut AnyConnection, result: &SendResult) -> Result<(), StorageError> {
    let SendResult { target, settlement, .. } = result;
    let Recipient::Device { id, generation, .. } = &target.recipient else { return Ok(()) };
    match settlement.token_gone {
        Some(TokenGone::Now) => {
            sqlx::query("DELETE FROM push_devices WHERE id = $1 AND generation = $2")
                .bind(id.as_str())
                .bind(*generation)
                .execute(&mut *connection)
                .await?;
        }
        Some(TokenGone::At(gone_at)) => {
            sqlx::query("DELETE FROM push_devices WHERE id = $1 AND generation = $2 AND registered_at < $3")
                .bind(id.as_str())
                .bind(*generation)
                .bind(gone_at)
                .execute(&mut *connection)
                .await?;
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
        // The wake push never reached the phone: the next missed message makes a new one.
        TargetState::Dead | TargetState::Expired => {
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
