//! Storing what was submitted: many requests, one transaction.

use std::collections::HashMap;

use sqlx::AnyConnection;
use tidings_shared::storage::{Database, StorageError};

use super::idempotency::{self, Seen};
use super::{insert_notifications, insert_targets, once};
use crate::queue::intake::first_answer;
use crate::queue::{NewNotification, NewTarget};
use crate::segments::store::expansions;

/// A notification as one request, or one item of a batch, wants it to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Submission {
    pub(crate) notification: NewNotification,
    pub(crate) targets: Vec<NewTarget>,
    /// Until when the `dedup_key` of its targets is remembered.
    pub(crate) dedup_until: i64,
    /// The key of the request, and the hash of what it means.
    pub(crate) idempotency: Option<(String, String)>,
    /// It goes to a segment: its targets are made later.
    pub(crate) expansion: Option<NewExpansion>,
}

/// The devices of a notification to a segment.
#[derive(Clone, Debug)]
pub(crate) struct NewExpansion {
    /// The segment's name, if it has one.
    pub(crate) segment: Option<String>,
    /// Its expression now (JSON).
    pub(crate) expression: String,
    /// The request (JSON), which says when and how its targets are made.
    pub(crate) request: String,
}

/// Ends those of a portion of a segment's targets that their devices are not to get, as [`submit`] does for others.
pub(crate) async fn settle_portion(
    connection: &mut AnyConnection,
    targets: &mut [NewTarget],
    dedup_until: i64,
    created_at: i64,
    now_ms: i64,
) -> Result<(), StorageError> {
    let mut with_key: Vec<_> =
        targets.iter_mut().filter(|target| target.dedup_key.is_some()).map(|target| (target, dedup_until)).collect();
    if !with_key.is_empty() {
        once::leave_out_duplicates(connection, &mut with_key, now_ms).await?;
    }
    let mut replacing: Vec<_> =
        targets.iter_mut().filter(|target| target.collapse_key.is_some()).map(|target| (target, created_at)).collect();
    if !replacing.is_empty() {
        once::take_the_place(connection, &mut replacing, now_ms).await?;
    }
    Ok(())
}

/// What came of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is stored; the answer to its sender.
    New(String),
    /// A request with the same key was answered with this.
    Repeated(String),
    /// Its key was used with another body.
    KeyReused,
}

/// Stores submissions in one transaction and says what came of each, in their order.
pub(crate) async fn submit(
    database: &Database,
    submissions: &[Submission],
    now_ms: i64,
) -> Result<Vec<Stored>, StorageError> {
    let mut attempts = 0;
    loop {
        // On PostgreSQL another process may use one of the keys at the same time; the second look finds what it stored.
        match try_submit(database, submissions, now_ms).await {
            Ok(Some(stored)) => return Ok(stored),
            Ok(None) if attempts < 3 => attempts += 1,
            Ok(None) => return Err(super::corrupt("an idempotency key is neither taken nor free")),
            Err(error) if error.is_retryable() && attempts < 3 && deadlock(&error) => attempts += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Two processes waited for each other and PostgreSQL ended one of the two transactions: it is whole the next time.
fn deadlock(error: &StorageError) -> bool {
    matches!(error, StorageError::Query(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == "40P01"))
}

/// `None`: one of the keys was taken meanwhile.
async fn try_submit(
    database: &Database,
    submissions: &[Submission],
    now_ms: i64,
) -> Result<Option<Vec<Stored>>, StorageError> {
    let mut transaction = database.begin().await?;
    let mut stored = seen(&mut transaction, submissions, now_ms).await?;
    let mut fresh: Vec<(usize, Vec<NewTarget>)> = (0..submissions.len())
        .filter(|index| stored[*index].is_none())
        .map(|index| (index, submissions[index].targets.clone()))
        .collect();
    if !fresh.is_empty() {
        settle_once(&mut transaction, submissions, &mut fresh, now_ms).await?;
        let notifications: Vec<_> = fresh.iter().map(|(index, _)| &submissions[*index].notification).collect();
        insert_notifications(&mut transaction, &notifications).await?;
        let rows: Vec<_> = fresh
            .iter()
            .flat_map(|(index, targets)| {
                (0..).zip(targets).map(|(position, target)| (&submissions[*index].notification, target, position))
            })
            .collect();
        insert_targets(&mut transaction, &rows).await?;
        for (index, _) in &fresh {
            let submission = &submissions[*index];
            if let Some(expansion) = &submission.expansion {
                expansions::insert(&mut transaction, &submission.notification.id, expansion, now_ms).await?;
            }
        }
    }
    let mut keys = Vec::new();
    for (index, targets) in &fresh {
        let submission = &submissions[*index];
        let answer = first_answer(&submission.notification, targets, submission.expansion.as_ref());
        let answer = serde_json::to_string(&answer).map_err(super::corrupt)?;
        if let Some((key, hash)) = &submission.idempotency {
            keys.push((key.as_str(), hash.as_str(), answer.clone()));
        }
        stored[*index] = Some(Stored::New(answer));
    }
    if !idempotency::keep(&mut transaction, &mut keys, now_ms).await? {
        return Ok(None);
    }
    transaction.commit().await?;
    repeat_within(submissions, &mut stored);
    Ok(Some(stored.into_iter().flatten().collect()))
}

/// The submissions that repeat an earlier request, and, as [`Stored::Repeated`] without an answer yet, those that
/// repeat another one of the same transaction.
async fn seen(
    connection: &mut AnyConnection,
    submissions: &[Submission],
    now_ms: i64,
) -> Result<Vec<Option<Stored>>, StorageError> {
    let mut first: HashMap<&str, &str> = HashMap::new();
    let mut stored = vec![None; submissions.len()];
    for (submission, stored) in submissions.iter().zip(&mut stored) {
        let Some((key, hash)) = &submission.idempotency else { continue };
        match first.get(key.as_str()) {
            None => drop(first.insert(key, hash)),
            Some(other) if other == hash => *stored = Some(Stored::Repeated(String::new())),
            Some(_) => *stored = Some(Stored::KeyReused),
        }
    }
    let keys: Vec<(&str, &str)> = first.into_iter().collect();
    let found = idempotency::find(connection, &keys, now_ms).await?;
    for (submission, stored) in submissions.iter().zip(&mut stored) {
        let Some((key, hash)) = &submission.idempotency else { continue };
        match found.get(key.as_str()) {
            Some(Seen { hash: known, answer }) if known == hash => *stored = Some(Stored::Repeated(answer.clone())),
            Some(_) => *stored = Some(Stored::KeyReused),
            None => {}
        }
    }
    Ok(stored)
}

/// Gives those that repeat another one of the same transaction its answer.
fn repeat_within(submissions: &[Submission], stored: &mut [Option<Stored>]) {
    let mut answers: HashMap<&str, String> = HashMap::new();
    for (submission, stored) in submissions.iter().zip(stored) {
        let Some((key, _)) = &submission.idempotency else { continue };
        match stored {
            Some(Stored::New(answer)) => drop(answers.insert(key, answer.clone())),
            Some(Stored::Repeated(answer)) if answer.is_empty() => {
                *answer = answers.get(key.as_str()).cloned().unwrap_or_default();
            }
            _ => {}
        }
    }
}

async fn settle_once(
    connection: &mut AnyConnection,
    submissions: &[Submission],
    fresh: &mut [(usize, Vec<NewTarget>)],
    now_ms: i64,
) -> Result<(), StorageError> {
    let mut with_key: Vec<(&mut NewTarget, i64)> = Vec::new();
    for (index, targets) in fresh.iter_mut() {
        let until = submissions[*index].dedup_until;
        with_key.extend(targets.iter_mut().filter(|target| target.dedup_key.is_some()).map(|target| (target, until)));
    }
    if !with_key.is_empty() {
        once::leave_out_duplicates(connection, &mut with_key, now_ms).await?;
    }
    let mut replacing: Vec<(&mut NewTarget, i64)> = Vec::new();
    for (index, targets) in fresh.iter_mut() {
        let created_at = submissions[*index].notification.created_at;
        let those = targets.iter_mut().filter(|target| target.collapse_key.is_some());
        replacing.extend(those.map(|target| (target, created_at)));
    }
    if !replacing.is_empty() {
        once::take_the_place(connection, &mut replacing, now_ms).await?;
    }
    Ok(())
}
