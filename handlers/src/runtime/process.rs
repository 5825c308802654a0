//! One message from its arrival to its end: handled once, tried again, or kept as a dead letter.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tidings_shared::clock::Clock;
use tidings_shared::health::Dependency;
use tidings_shared::message_id::MessageId;
use tidings_shared::storage::{Database, StorageError};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{Instrument as _, error, warn};

use super::backoff::{Backoff, Jitter};
use super::error::{HandlerError, Retry};
use super::marker::Marker;
use super::message::Message;
use super::metrics::{ByRoute, Finished, Metrics, Outcome};
use super::mqtt::{Outlet, Refused};
use super::publisher::{self, Outgoing};
use super::request::{Request, Response};
use super::router::{Route, Routes};
use super::store::dead_letters::{self, DeadLetter};
use super::store::processed::{self, Processed};
use super::transaction::Claim;

/// How often and how fast a message is tried again.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Attempts in all, before a message becomes a dead letter.
    pub attempts: u32,
    /// The wait after the first failure; it doubles from there.
    pub first: Duration,
    /// The longest wait between two attempts.
    pub longest: Duration,
    /// How long in all to wait for something that is away ([`HandlerError::unavailable`]).
    pub unavailable_for: Duration,
}

/// Everything that handling a message needs.
pub(super) struct Processor {
    pub(super) routes: Routes,
    pub(super) database: Database,
    pub(super) group: Arc<str>,
    pub(super) clock: Clock,
    pub(super) jitter: Jitter,
    pub(super) retry: RetryPolicy,
    pub(super) permits: Semaphore,
    pub(super) outlet: Outlet,
    pub(super) marker: Marker,
    pub(super) metrics: Metrics,
    pub(super) database_health: Dependency,
    /// The service stops: nothing new is begun, waits end.
    pub(super) stop: CancellationToken,
}

/// A message to be handled.
pub(super) struct Job {
    pub(super) message: Message,
    pub(super) id: MessageId,
    /// The dead letter that this is a replay of.
    pub(super) replay: Option<DeadLetter>,
}

/// The service stops before the message was handled.
struct Stopping;

/// The course of one message.
struct Course<'a> {
    processor: &'a Processor,
    job: &'a Job,
    claim: Claim,
    route_name: String,
    attempts: u32,
    first_attempt_at_ms: i64,
}

impl Processor {
    /// Handles a message; returns when it may be acknowledged, or when the service stops.
    pub(super) async fn handle(&self, job: &Job) -> Finished {
        let claim = Claim::new(self.database.clone(), self.group.clone(), job.id.clone(), self.clock.clone());
        let request = Request::new(job.message.clone()).with_claim(claim.clone());
        let found = self.routes.find(request);
        let route_name = found.as_ref().map_or_else(|| "none".to_owned(), |(pattern, ..)| pattern.to_string());
        let span = tracing::info_span!("message", topic = %job.message.topic, id = %job.id);
        let begun = Instant::now();
        let mut course = Course {
            processor: self,
            job,
            claim,
            route_name: route_name.clone(),
            attempts: 0,
            first_attempt_at_ms: self.clock.now_ms(),
        };
        let finished = course.run(found).instrument(span).await.unwrap_or(Finished::Abandoned);
        let by_route = ByRoute { route: route_name.clone() };
        self.metrics.seconds.get_or_create(&by_route).observe(begun.elapsed().as_secs_f64());
        self.metrics.messages.get_or_create(&Outcome { route: route_name, outcome: finished }).inc();
        finished
    }

    /// Repeats what needs the database until the database answers.
    pub(super) async fn steadily<T, F>(&self, mut work: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StorageError>>,
    {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), self.jitter.clone());
        let mut failed = false;
        loop {
            match work().await {
                Ok(value) => {
                    if failed {
                        self.database_health.ready();
                    }
                    return Some(value);
                }
                Err(error) => {
                    if !failed {
                        warn!(%error, "the database does not answer as it should; trying until it does");
                    }
                    failed = true;
                    self.database_health.missing(error.to_string());
                    self.pause(backoff.next()).await.ok()?;
                }
            }
        }
    }

    async fn pause(&self, wait: Duration) -> Result<(), Stopping> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = self.stop.cancelled() => Err(Stopping),
        }
    }
}

impl Course<'_> {
    async fn run(&mut self, found: Option<(&super::Pattern, Route, Request)>) -> Result<Finished, Stopping> {
        let processor = self.processor;
        let retry = &processor.retry;
        let mut backoff = Backoff::new(retry.first, retry.longest, processor.jitter.clone());
        let mut limited = 0;
        let mut waited = Duration::ZERO;
        loop {
            match self.steadily(|| processed::lookup(&processor.database, &processor.group, &self.job.id)).await? {
                Some(Processed::Done) => return Ok(Finished::Duplicate),
                Some(Processed::ToPublish(outbox)) => return self.publish(&outbox).await,
                None => {}
            }
            let Some((_, route, request)) = &found else {
                let error = HandlerError::permanent(format!("no handler takes the topic {}", self.job.message.topic));
                if let Some(outbox) = self.bury(&error).await? {
                    return self.publish(&outbox).await.map(|_| Finished::Dead);
                }
                continue;
            };
            self.attempts += 1;
            let error = match self.attempt(route.clone(), request.clone().with_attempt(self.attempts)).await? {
                Ok(response) => match self.complete(response).await? {
                    Ok(outbox) => return self.publish(&outbox).await,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            let wait = backoff.next();
            let again = match error.when_to_retry() {
                Retry::AlreadyHandled => continue,
                Retry::Never => false,
                Retry::Limited => {
                    limited += 1;
                    limited < retry.attempts
                }
                Retry::WhileUnavailable => {
                    waited += wait;
                    waited <= retry.unavailable_for
                }
            };
            if again {
                warn!(attempt = self.attempts, %error, again_in = ?wait, "the handler failed and is tried again");
                processor.metrics.retries.get_or_create(&ByRoute { route: self.route_name.clone() }).inc();
                processor.pause(wait).await?;
            } else if let Some(outbox) = self.bury(&error).await? {
                return self.publish(&outbox).await.map(|_| Finished::Dead);
            }
        }
    }

    async fn attempt(&self, route: Route, request: Request) -> Result<Result<Response, HandlerError>, Stopping> {
        let permit = tokio::select! {
            permit = self.processor.permits.acquire() => permit.map_err(|_| Stopping)?,
            () = self.processor.stop.cancelled() => return Err(Stopping),
        };
        let outcome = AssertUnwindSafe(route.oneshot(request)).catch_unwind().await;
        drop(permit);
        Ok(match outcome {
            Ok(result) => result.map_err(HandlerError::from_layers),
            Err(panic) => Err(HandlerError::retry(format!("the handler panicked: {}", panic_text(&*panic)))),
        })
    }

    /// Commits what the handler did. An error here means that nothing was committed and the handler may run again.
    async fn complete(&self, response: Response) -> Result<Result<Vec<Outgoing>, HandlerError>, Stopping> {
        let Response { mut publishes, transaction } = response;
        publisher::name_all(&mut publishes, &self.job.id);
        if let Err(refused) = self.processor.outlet.check(&publishes) {
            return Ok(Err(HandlerError::permanent(refused)));
        }
        if let Some(held) = transaction {
            return Ok(held.commit_with(&publishes).await.map(|()| publishes).map_err(HandlerError::from));
        }
        // The handler has no transaction and is through: only the mark is tried again, never the handler.
        let marked = self
            .steadily(|| async {
                match self.claim.begin().await? {
                    Some(held) => held.commit_with(&publishes).await.map(|()| true),
                    None => Ok(false),
                }
            })
            .await?;
        Ok(if marked { Ok(publishes) } else { Err(HandlerError::already_handled()) })
    }

    async fn publish(&self, outbox: &[Outgoing]) -> Result<Finished, Stopping> {
        let processor = self.processor;
        if outbox.is_empty() {
            return Ok(Finished::Handled);
        }
        if let Err(refused) = processor.outlet.publish_all(outbox).await {
            self.keep_refused(&refused).await?;
            return Ok(Finished::Dead);
        }
        processor.marker.published(&self.job.id).await.ok_or(Stopping)?;
        Ok(Finished::Handled)
    }

    /// Keeps the message as a dead letter and marks it as done; gives back what a device should hear about it.
    /// `None` when somebody else has handled the message meanwhile.
    async fn bury(&self, error: &HandlerError) -> Result<Option<Vec<Outgoing>>, Stopping> {
        let mut answers = error.answers().to_vec();
        publisher::name_all(&mut answers, &self.job.id);
        let letter = self.letter(error.to_string());
        let buried = self
            .steadily(|| async {
                let Some(mut held) = self.claim.begin().await? else { return Ok(false) };
                dead_letters::bury(held.transaction(), &letter).await?;
                held.commit_with(&answers).await.map(|()| true)
            })
            .await?;
        if buried {
            error!(attempts = self.attempts, %error, "the message could not be handled and is kept as a dead letter");
        }
        Ok(buried.then_some(answers))
    }

    /// The handler succeeded but the broker will not take what it published: that is kept for people to see.
    async fn keep_refused(&self, refused: &Refused) -> Result<(), Stopping> {
        let processor = self.processor;
        let letter = self.letter(format!("the handler succeeded, but {refused}"));
        error!(%refused, "what a handler published was refused; the message is kept as a dead letter");
        self.steadily(|| async {
            let mut transaction = processor.database.begin().await?;
            dead_letters::bury(&mut transaction, &letter).await?;
            transaction.commit().await?;
            processed::published(&processor.database, &processor.group, std::slice::from_ref(&self.job.id)).await
        })
        .await
    }

    fn letter(&self, error: String) -> DeadLetter {
        let original = self.job.replay.as_ref();
        DeadLetter {
            message_id: original.map_or_else(|| self.job.id.clone(), |letter| letter.message_id.clone()),
            group: self.processor.group.to_string(),
            message: self.job.message.clone(),
            error,
            attempts: i64::from(self.attempts),
            first_attempt_at_ms: self.first_attempt_at_ms,
            died_at_ms: self.processor.clock.now_ms(),
            replays: original.map_or(0, |letter| letter.replays),
            state: dead_letters::State::Dead,
        }
    }

    async fn steadily<T, F>(&self, work: impl FnMut() -> F) -> Result<T, Stopping>
    where
        F: Future<Output = Result<T, StorageError>>,
    {
        self.processor.steadily(work).await.ok_or(Stopping)
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}
