//! What a request for a notification goes through before it is answered, whether it came alone or in a batch.

use std::collections::HashMap;

use http::StatusCode;
use sha2::{Digest, Sha256};
use tidings_shared::http::ApiError;
use tidings_shared::push_api::{Priority, SendNotification, Ttl};

use super::addressees::{self, Known, expiry};
use super::{Gateway, content, refusal};
use crate::queue::NewNotification;
use crate::queue::intake::IntakeError;
use crate::queue::load::Full;
use crate::queue::store::idempotency;
use crate::queue::store::{Stored, Submission};

/// A notification that somebody asks for.
pub(super) struct Wanted {
    pub(super) request: SendNotification,
    pub(super) key: Option<String>,
}

/// The answer to its sender as JSON, or why there is none.
pub(super) type Outcome = Result<String, ApiError>;

/// Stores what can be stored, in one transaction, and says what came of each, in their order.
pub(super) async fn accept(gateway: &Gateway, wanted: Vec<Result<Wanted, ApiError>>) -> Result<Vec<Outcome>, ApiError> {
    let now_ms = gateway.clock.now_ms();
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(wanted.len());
    let mut open = Vec::new();
    for (index, wanted) in wanted.into_iter().enumerate() {
        match wanted {
            Err(refusal) => outcomes.push(Some(Err(refusal))),
            Ok(Wanted { request, key }) => {
                outcomes.push(None);
                let idempotency = key.map(|key| Ok::<_, ApiError>((key, hash(&request)?))).transpose()?;
                open.push(Open { index, request, idempotency });
            }
        }
    }
    let asks = open.iter().any(|open| open.idempotency.is_some() || !addressees::known_by_heart(&open.request));
    let mut connection = match asks {
        true => Some(gateway.database()?.pool().acquire().await.map_err(refusal::storage)?),
        false => None,
    };
    let mut known = Known::new();
    if let Some(connection) = &mut connection {
        answer_repeated(connection, &mut open, &mut outcomes, now_ms).await?;
        known = addressees::look_up(connection, open.iter().map(|open| &open.request)).await?;
    }
    let mut submissions = Vec::with_capacity(open.len());
    for open in open {
        let index = open.index;
        let connection = connection.as_deref_mut();
        match submission(gateway, connection, &known, open, now_ms).await {
            Ok(submission) => submissions.push((index, submission)),
            Err(refusal) => outcomes[index] = Some(Err(refusal)),
        }
    }
    drop(connection);
    store(gateway, submissions, &mut outcomes).await?;
    Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(ApiError::internal()))).collect())
}

struct Open {
    index: usize,
    request: SendNotification,
    idempotency: Option<(String, String)>,
}

/// Answers what was answered before: before its addressee is looked for, who may be gone meanwhile.
async fn answer_repeated(
    connection: &mut sqlx::AnyConnection,
    open: &mut Vec<Open>,
    outcomes: &mut [Option<Outcome>],
    now_ms: i64,
) -> Result<(), ApiError> {
    let keys: Vec<(&str, &str)> = open
        .iter()
        .filter_map(|open| open.idempotency.as_ref())
        .map(|(key, hash)| (key.as_str(), hash.as_str()))
        .collect();
    if keys.is_empty() {
        return Ok(());
    }
    let found = idempotency::find(connection, &keys, now_ms).await.map_err(refusal::storage)?;
    open.retain(|open| {
        let Some((key, hash)) = &open.idempotency else { return true };
        let Some(seen) = found.get(key) else { return true };
        outcomes[open.index] = Some(if seen.hash == *hash { Ok(seen.answer.clone()) } else { Err(key_reused()) });
        false
    });
    Ok(())
}

async fn submission(
    gateway: &Gateway,
    mut connection: Option<&mut sqlx::AnyConnection>,
    known: &Known,
    open: Open,
    now_ms: i64,
) -> Result<Submission, ApiError> {
    let Open { request, idempotency, .. } = open;
    let id = gateway.ids.next();
    let content = content::of(gateway, connection.as_deref_mut(), &request, &id).await?;
    let expansion = content::expansion(gateway, connection.as_deref_mut(), &request, &content).await?;
    let mut targets = match expansion {
        Some(_) => Vec::new(),
        None => addressees::targets(gateway, connection.as_deref_mut(), known, &request, &content).await?,
    };
    addressees::prepare(gateway, connection, &request, &mut targets, now_ms).await?;
    let until = match expansion {
        Some(_) => addressees::latest_end(gateway, &request, now_ms)?,
        None => targets.iter().filter_map(|target| target.expires_at).max(),
    };
    let expires_at = until.unwrap_or_else(|| expiry(request.ttl.unwrap_or(Ttl::new(gateway.ttl)), now_ms));
    let dedup_until = request.dedup.as_ref().map_or(0, |dedup| now_ms.saturating_add(dedup.window.as_ms()));
    let notification = NewNotification {
        id,
        push: content.push,
        localized: content.localized,
        collapse_id: request.collapse_id,
        created_at: now_ms,
        expires_at,
        // Every device of a segment is a campaign, unless the sender says that it is urgent.
        priority: match (&expansion, request.priority) {
            (Some(_), Priority::Normal) => Priority::Bulk,
            (_, priority) => priority,
        },
    };
    Ok(Submission { notification, targets, dedup_until, idempotency, expansion })
}

async fn store(
    gateway: &Gateway,
    submissions: Vec<(usize, Submission)>,
    outcomes: &mut [Option<Outcome>],
) -> Result<(), ApiError> {
    let mut admitted = Vec::with_capacity(submissions.len());
    let mut lanes: HashMap<String, i64> = HashMap::new();
    let mut places = Vec::with_capacity(submissions.len());
    for (index, submission) in submissions {
        let mut more: HashMap<String, i64> = HashMap::new();
        for target in &submission.targets {
            *more.entry(target.lane()).or_default() += 1;
        }
        match gateway.load.admit(&more) {
            Ok(()) => {
                for (lane, count) in more {
                    *lanes.entry(lane).or_default() += count;
                }
                places.push(index);
                admitted.push(submission);
            }
            Err(full) => outcomes[index] = Some(Err(queue_full(gateway, &full))),
        }
    }
    if admitted.is_empty() {
        return Ok(());
    }
    let expands = admitted.iter().any(|submission| submission.expansion.is_some());
    let counts: Vec<HashMap<String, i64>> = admitted.iter().map(per_lane).collect();
    let stored = gateway.intake()?.submit(admitted).await;
    let give_back = |lanes: &HashMap<String, i64>| {
        for (lane, count) in lanes {
            gateway.load.ended(lane, *count);
        }
    };
    let stored = stored.map_err(|error| {
        give_back(&lanes);
        not_stored(error)
    })?;
    for ((index, stored), count) in places.into_iter().zip(stored).zip(&counts) {
        outcomes[index] = Some(match stored {
            Stored::New(answer) => {
                gateway.metrics.taken();
                Ok(answer)
            }
            Stored::Repeated(answer) => {
                give_back(count);
                Ok(answer)
            }
            Stored::KeyReused => {
                give_back(count);
                Err(key_reused())
            }
        });
    }
    gateway.apps.wake_lanes(&lanes.into_keys().collect::<Vec<_>>());
    if expands {
        gateway.rooms.expand.notify_one();
    }
    Ok(())
}

fn per_lane(submission: &Submission) -> HashMap<String, i64> {
    let mut lanes = HashMap::new();
    for target in &submission.targets {
        *lanes.entry(target.lane()).or_default() += 1;
    }
    lanes
}

fn not_stored(error: IntakeError) -> ApiError {
    match error {
        IntakeError::Unavailable => refusal::database_unavailable(),
        IntakeError::Refused => ApiError::internal(),
    }
}

fn key_reused() -> ApiError {
    let message = "this Idempotency-Key was used with another body; use a new key for a new notification";
    ApiError::new(StatusCode::CONFLICT, "idempotency_key_reused", message)
}

/// One app's queue is that app's sender's affair (429); a full gateway is not (503).
fn queue_full(gateway: &Gateway, full: &Full) -> ApiError {
    let Full { lane, length, bound, retry_after_s } = full;
    let (status, code, message) = match lane {
        Some(lane) => {
            gateway.metrics.refused("app");
            let message = format!("{length} pushes of {lane} wait and {bound} may; try again after Retry-After");
            (StatusCode::TOO_MANY_REQUESTS, "app_queue_full", message)
        }
        None => {
            gateway.metrics.refused("all");
            let message = format!("{length} pushes wait and {bound} may; try again after Retry-After");
            (StatusCode::SERVICE_UNAVAILABLE, "queue_full", message)
        }
    };
    ApiError::new(status, code, message)
        .retry_after(*retry_after_s)
        .detail("queue_length", *length)
        .detail("queue_bound", *bound)
}

/// Of what the request means, not of how it is written.
fn hash(request: &SendNotification) -> Result<String, ApiError> {
    let canonical = serde_json::to_vec(request).map_err(|_| ApiError::internal())?;
    Ok(Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect())
}
