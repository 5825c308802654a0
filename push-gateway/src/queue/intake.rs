//! Takes what is submitted and stores it: whatever comes while a transaction is being written goes into the next one.
//! A submission is answered after its commit.

use std::sync::Arc;

use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Expansion, Notification, Target, TargetState};
use tidings_shared::storage::{Database, StorageError};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

use super::store::{self, NewExpansion, Stored, Submission};
use super::{Address, NewNotification, NewTarget};

/// Requests that wait; more wait in front of the door.
const WAITING: usize = 1024;
/// Requests that one transaction takes, and targets, unless a single request has more.
const JOBS: usize = 256;
const TARGETS: usize = 1024;

/// Why nothing was stored. It has been logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IntakeError {
    /// The same request may succeed later.
    #[error("the database does not answer")]
    Unavailable,
    /// It will not.
    #[error("the database refuses the request")]
    Refused,
}

struct Job {
    submissions: Vec<Submission>,
    done: oneshot::Sender<Result<Vec<Stored>, IntakeError>>,
}

/// The door to the queue's tables. Cheap to clone; its tasks end with the last clone, after everything is stored.
#[derive(Clone, Debug)]
pub(crate) struct Intake(mpsc::Sender<Job>);

impl Intake {
    /// Starts the tasks that store.
    pub(crate) fn start(database: &Database, clock: &Clock) -> (Self, JoinSet<()>) {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let mut tasks = JoinSet::new();
        for _ in 0..database.turn().writers() {
            let writer = Writer { database: database.clone(), clock: clock.clone() };
            tasks.spawn(writer.work(Arc::clone(&waiting)));
        }
        (Self(jobs), tasks)
    }

    /// Stores submissions in one transaction and says what came of each, in their order.
    pub(crate) async fn submit(&self, submissions: Vec<Submission>) -> Result<Vec<Stored>, IntakeError> {
        let (done, answer) = oneshot::channel();
        // Both fail only when the tasks have panicked or the service has stopped.
        self.0.send(Job { submissions, done }).await.map_err(|_| IntakeError::Unavailable)?;
        answer.await.unwrap_or(Err(IntakeError::Unavailable))
    }
}

struct Writer {
    database: Database,
    clock: Clock,
}

impl Writer {
    async fn work(self, waiting: Arc<Mutex<mpsc::Receiver<Job>>>) {
        let mut jobs = Vec::new();
        loop {
            let turn = {
                let mut waiting = waiting.lock().await;
                let Some(first) = waiting.recv().await else { return };
                jobs.push(first);
                // What comes while it waits for its turn goes along.
                let turn = self.database.turn().wait().await;
                gather(&mut waiting, &mut jobs);
                turn
            };
            self.write(std::mem::take(&mut jobs)).await;
            drop(turn);
        }
    }

    async fn write(&self, mut jobs: Vec<Job>) {
        let counts: Vec<usize> = jobs.iter().map(|job| job.submissions.len()).collect();
        let all: Vec<Submission> = jobs.iter_mut().flat_map(|job| std::mem::take(&mut job.submissions)).collect();
        match store::submit(&self.database, &all, self.clock.now_ms()).await {
            Ok(mut stored) => {
                for (job, count) in jobs.into_iter().zip(counts) {
                    let rest = stored.split_off(count.min(stored.len()));
                    // Whoever asked may be gone; it is stored all the same.
                    let _ = job.done.send(Ok(std::mem::replace(&mut stored, rest)));
                }
            }
            Err(error) if jobs.len() == 1 || error.is_retryable() => {
                let answer = refused(&error);
                for job in jobs {
                    let _ = job.done.send(Err(answer));
                }
            }
            // One of them is at fault: each by itself.
            Err(_) => {
                let mut all = all.into_iter();
                for (job, count) in jobs.into_iter().zip(counts) {
                    let own: Vec<Submission> = all.by_ref().take(count).collect();
                    let stored = store::submit(&self.database, &own, self.clock.now_ms()).await;
                    let _ = job.done.send(stored.map_err(|error| refused(&error)));
                }
            }
        }
    }
}

fn gather(waiting: &mut mpsc::Receiver<Job>, jobs: &mut Vec<Job>) {
    let targets = |job: &Job| job.submissions.iter().map(|submission| submission.targets.len().max(1)).sum::<usize>();
    let mut total: usize = jobs.iter().map(targets).sum();
    while jobs.len() < JOBS
        && total < TARGETS
        && let Ok(job) = waiting.try_recv()
    {
        total += targets(&job);
        jobs.push(job);
    }
}

fn refused(error: &StorageError) -> IntakeError {
    if error.is_retryable() {
        tracing::warn!(%error, "notifications could not be stored; their senders are told to try again");
        IntakeError::Unavailable
    } else {
        tracing::error!(%error, "notifications could not be stored");
        IntakeError::Refused
    }
}

/// What the sender is told when a notification is stored.
pub(super) fn first_answer(
    notification: &NewNotification,
    targets: &[NewTarget],
    expansion: Option<&NewExpansion>,
) -> Notification {
    let target = |target: &NewTarget| Target {
        id: target.id.clone(),
        device: match &target.to {
            Address::Device { name, .. } => Some(name.clone()),
            Address::Token { .. } => None,
        },
        provider: target.provider,
        app: target.app.clone(),
        state: if target.ended.is_some() { TargetState::Expired } else { TargetState::Queued },
        attempts: 0,
        provider_status: None,
        reason: target.ended.map(str::to_owned),
        provider_id: None,
        token_gone: false,
        maybe_repeated: false,
        next_attempt_at_ms: target.ended.is_none().then(|| target.due_at.unwrap_or(notification.created_at)),
    };
    let expansion = expansion.map(|expansion| Expansion {
        segment: expansion.segment.clone(),
        targets: 0,
        skipped: 0,
        complete: false,
    });
    Notification { id: notification.id.clone(), targets: targets.iter().map(target).collect(), expansion }
}
