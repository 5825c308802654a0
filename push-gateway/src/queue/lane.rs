//! A lane: one app at one provider. It claims what is due, sends it, and is paused when the provider refuses the
//! app's credentials. The queue of a paused lane stays; one push now and then asks whether it is repaired.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::push_api::Provider;
use tidings_shared::storage::Database;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::store::{self, SendResult};
use super::{Claimed, Recipient, Recorder, RetryPolicy, lane_name, settle};
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::provider::{Answer, Message, Outcome, PushProvider, Retry};

/// A lane looks into the database at least this often: another process may have left something.
const LOOK: Duration = Duration::from_secs(5);
/// The most targets that one claim takes.
const BATCH: usize = 128;

/// How lanes work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneSettings {
    /// Pushes at once.
    pub(crate) concurrency: usize,
    /// How long a claim holds.
    pub(crate) lease: Duration,
    /// How often a paused lane asks again.
    pub(crate) recheck: Duration,
    /// How long a stop waits for pushes under way.
    pub(crate) drain: Duration,
    pub(crate) retry: RetryPolicy,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) name: String,
    pub(crate) provider: Provider,
    pub(crate) app: String,
    pub(crate) client: Arc<dyn PushProvider>,
    /// Something may be due.
    pub(crate) wake: Arc<Notify>,
    pause: Mutex<Option<Pause>>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    /// When one push may ask again.
    ask_at_ms: i64,
}

/// What a lane needs of the rest.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) database: Database,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: LaneSettings,
}

impl Lane {
    pub(crate) fn new(provider: Provider, app: &str, client: Arc<dyn PushProvider>) -> Self {
        Self {
            name: lane_name(provider, app),
            provider,
            app: app.to_owned(),
            client,
            wake: Arc::new(Notify::new()),
            pause: Mutex::default(),
        }
    }

    /// Works until the shutdown, then waits a little for what is under way.
    pub(crate) async fn run(self: Arc<Self>, around: Surroundings, shutdown: Shutdown) {
        let slots = Arc::new(Semaphore::new(around.settings.concurrency));
        let mut sending = JoinSet::new();
        while !shutdown.is_down() {
            tokio::select! {
                () = shutdown.wait() => break,
                () = self.round(&around, &slots, &mut sending) => {}
            }
            while sending.try_join_next().is_some() {}
        }
        let all = async { while sending.join_next().await.is_some() {} };
        if tokio::time::timeout(around.settings.drain, all).await.is_err() {
            tracing::warn!(
                lane = self.name,
                "pushes under way are given up; they are sent again when their leases end"
            );
        }
    }

    /// Waits for a free slot, claims what is due and starts sending it; waits for the next event if nothing is due.
    async fn round(self: &Arc<Self>, around: &Surroundings, slots: &Arc<Semaphore>, sending: &mut JoinSet<()>) {
        let Ok(first) = Arc::clone(slots).acquire_owned().await else { return };
        let mut permits = vec![first];
        let limit = match self.allowance(around.clock.now_ms()) {
            Allowance::Nothing(until) => return self.rest(around, Some(until)).await,
            Allowance::One => 1,
            Allowance::Free => BATCH,
        };
        while permits.len() < limit
            && let Ok(permit) = Arc::clone(slots).try_acquire_owned()
        {
            permits.push(permit);
        }
        let now = around.clock.now_ms();
        let lease_until = now + millis(around.settings.lease);
        let limit = i64::try_from(permits.len()).unwrap_or(1);
        let claim = store::claim(&around.database, &self.name, &around.ids.next(), limit, now, lease_until).await;
        let claimed = match claim {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::error!(%error, lane = self.name, "the queue cannot be read; trying again");
                return tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        if claimed.is_empty() {
            drop(permits);
            let due = store::next_due(&around.database, &self.name).await.ok().flatten();
            return self.rest(around, due).await;
        }
        if limit == 1 {
            self.asked(now, around.settings.lease / 2);
        }
        for (target, permit) in claimed.into_iter().zip(permits) {
            sending.spawn(Arc::clone(self).work(around.clone(), target, permit));
        }
    }

    /// Until something is enqueued, the next target is due, or it is time to look.
    async fn rest(&self, around: &Surroundings, due: Option<i64>) {
        let until_due = due.map_or(LOOK, |due| {
            Duration::from_millis(u64::try_from(due - around.clock.now_ms()).unwrap_or(0))
                .clamp(Duration::from_millis(5), LOOK)
        });
        let _ = tokio::time::timeout(until_due, self.wake.notified()).await;
    }

    async fn work(self: Arc<Self>, around: Surroundings, target: Claimed, _permit: OwnedSemaphorePermit) {
        let now = around.clock.now_ms();
        let (settlement, answer) = match settle::before_sending(&target, now) {
            Some(settled) => settled,
            None => {
                let answer = self.send(&around, &target).await;
                self.note_credentials(&around, &answer);
                let serves_other = self.client.serves(target.environment.other());
                let settlement =
                    settle::settle(&target, &answer, serves_other, &around.settings.retry, around.clock.now_ms());
                (settlement, answer)
            }
        };
        around.metrics.outcome(self.provider, &self.app, settlement.state, answer.reason.as_deref());
        let at_once = settlement.due_at.is_some_and(|due| due <= around.clock.now_ms());
        let wake = at_once.then(|| Arc::clone(&self.wake));
        around.recorder.record(SendResult { target, answer, settlement }, wake).await;
    }

    async fn send(&self, around: &Surroundings, target: &Claimed) -> Answer {
        let (token, registered_at_ms) = match &target.recipient {
            Recipient::Device { token, registered_at, .. } => (token.clone(), Some(*registered_at)),
            Recipient::Token { token, registered_at } => (token.clone(), *registered_at),
            Recipient::Gone => (String::new(), None),
        };
        let message = Message {
            id: target.id.clone(),
            token,
            environment: target.environment,
            registered_at_ms,
            push: Arc::clone(&target.push),
            collapse_id: target.collapse_id.clone(),
            expires_at_ms: target.expires_at,
        };
        // The result must be known while the lease still holds.
        let bound = around.settings.lease / 2;
        let started = tokio::time::Instant::now();
        let answer = tokio::time::timeout(bound, self.client.send(&message)).await;
        around.metrics.sent(self.provider, started.elapsed());
        answer.unwrap_or_else(|_| Answer {
            outcome: Retry::unanswered(),
            status: None,
            reason: Some("timeout".to_owned()),
            provider_id: None,
        })
    }

    /// Pauses the lane, or ends its pause, by what the provider said of the app's credentials.
    fn note_credentials(&self, around: &Surroundings, answer: &Answer) {
        let mut pause = self.lock();
        match answer.outcome {
            Outcome::Pause | Outcome::SignAnew => {
                if pause.is_none() {
                    tracing::error!(
                        lane = self.name,
                        reason = answer.reason,
                        status = answer.status,
                        "{} refuses the credentials of the app \"{}\": its pushes wait until that is repaired (push.apps.{}.{})",
                        self.provider,
                        self.app,
                        self.app,
                        self.provider
                    );
                }
                let ask_at_ms = around.clock.now_ms() + millis(around.settings.recheck);
                *pause = Some(Pause { ask_at_ms });
                around.metrics.paused(self.provider, &self.app, true);
            }
            // Says nothing about the credentials.
            Outcome::Retry(_) => {}
            _ => {
                if pause.take().is_some() {
                    tracing::info!(lane = self.name, "the provider takes the app's pushes again");
                    around.metrics.paused(self.provider, &self.app, false);
                }
            }
        }
    }

    /// The credentials have changed: a paused lane asks at once.
    pub(crate) fn ask_again(&self) {
        if let Some(pause) = self.lock().as_mut() {
            pause.ask_at_ms = 0;
        }
        self.wake.notify_one();
    }

    fn allowance(&self, now_ms: i64) -> Allowance {
        match self.lock().as_ref() {
            None => Allowance::Free,
            Some(pause) if now_ms < pause.ask_at_ms => Allowance::Nothing(pause.ask_at_ms),
            Some(_) => Allowance::One,
        }
    }

    /// One push asks whether the credentials are accepted again; the next asks only when this one has had its
    /// answer, or its time.
    fn asked(&self, now_ms: i64, patience: Duration) {
        if let Some(pause) = self.lock().as_mut() {
            pause.ask_at_ms = now_ms + millis(patience);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Pause>> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Allowance {
    Free,
    One,
    Nothing(i64),
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
