//! A lane: one app at one provider. It claims what is due, by priority, sends it, and is paused when the provider
//! refuses the app's credentials or is away. The queue of a paused lane stays; one push now and then asks whether it
//! is repaired.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::push_api::{Environment, Provider};
use tidings_shared::storage::Database;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::load::Load;
use super::work::Work;
use super::{Recorder, RetryPolicy, lane_name};
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::provider::{Answer, Outcome, PushProvider};
use crate::send::BreakerSettings;

/// How lanes work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneSettings {
    /// Pushes at once.
    pub(crate) concurrency: usize,
    /// Of those, what each class of priority leaves to each one above it.
    pub(crate) reserved: usize,
    /// Pushes a second; 0: no limit.
    pub(crate) per_second: u64,
    /// Pushes to one device in a window; 0: no limit.
    pub(crate) per_device: u64,
    pub(crate) device_window: Duration,
    pub(crate) breaker: BreakerSettings,
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
    /// The provider's last word on the credentials in production, where most people are, was good.
    production_is_good: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    /// When one push may ask again.
    ask_at_ms: i64,
    /// One push is about to ask.
    asking: bool,
    /// What was sent before says nothing about the credentials now.
    since: Instant,
    /// Where the credentials are refused.
    environment: Environment,
}

/// What a lane needs of the rest.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) database: Database,
    pub(crate) load: Arc<Load>,
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
            production_is_good: AtomicBool::new(false),
        }
    }

    /// Works until the shutdown, then waits a little for what is under way.
    pub(crate) async fn run(self: Arc<Self>, around: Surroundings, shutdown: Shutdown) {
        let drain = around.settings.drain;
        let work = Arc::new(Work::new(Arc::clone(&self), around, shutdown.clone()));
        let mut sending = JoinSet::new();
        while !shutdown.is_down() {
            // Never cut off halfway: what was claimed is sent, or it would come back as perhaps sent twice.
            work.round(&mut sending).await;
            while sending.try_join_next().is_some() {}
        }
        let all = async { while sending.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, all).await.is_err() {
            tracing::warn!(
                lane = self.name,
                "pushes under way are given up; they are sent again when their leases end"
            );
        }
    }

    /// Pauses the lane, or ends its pause, by what the provider said of the app's credentials to a push that was sent
    /// at `sent`. Whether the push is to wait alone: Apple may refuse them in the sandbox and take them in production,
    /// where nobody is to wait for that.
    pub(super) fn note_credentials(
        &self,
        around: &Surroundings,
        environment: Environment,
        sent: Instant,
        answer: &Answer,
    ) -> bool {
        let mut pause = self.lock();
        let late = matches!(&*pause, Some(pause) if sent < pause.since);
        match answer.outcome {
            Outcome::Pause | Outcome::SignAnew => {
                let elsewhere = matches!(&*pause, Some(pause) if pause.environment == Environment::Production);
                if environment == Environment::Sandbox
                    && self.client.serves(Environment::Production)
                    && (elsewhere || self.production_is_good.load(Ordering::Relaxed))
                {
                    // If it was the one that was to ask, another one asks.
                    ask_now(pause.as_mut().filter(|_| !late));
                    return true;
                }
                self.production_is_good.store(false, Ordering::Relaxed);
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
                let since = pause.as_ref().map_or_else(Instant::now, |pause| pause.since);
                *pause = Some(Pause { ask_at_ms, asking: false, since, environment });
                around.metrics.paused(self.provider, &self.app, true);
            }
            // Says nothing about the credentials.
            Outcome::Retry(_) => {}
            // Was under way when they were refused.
            _ if late => {}
            // Says nothing about them either, and its push is not there to ask again.
            Outcome::ForeignToken => ask_now(pause.as_mut()),
            _ if answer.status.is_none() => ask_now(pause.as_mut()),
            _ if environment == Environment::Sandbox
                && matches!(&*pause, Some(pause) if pause.environment == Environment::Production) =>
            {
                ask_now(pause.as_mut());
            }
            _ => {
                if environment == Environment::Production {
                    self.production_is_good.store(true, Ordering::Relaxed);
                }
                if pause.take().is_some() {
                    tracing::info!(lane = self.name, "the provider takes the app's pushes again");
                    around.metrics.paused(self.provider, &self.app, false);
                }
            }
        }
        false
    }

    /// The credentials have changed: a paused lane asks at once.
    pub(crate) fn ask_again(&self) {
        ask_now(self.lock().as_mut());
        self.wake.notify_one();
    }

    pub(super) fn allowance(&self, now_ms: i64) -> Allowance {
        match self.lock().as_ref() {
            None => Allowance::Free,
            Some(pause) if now_ms < pause.ask_at_ms => Allowance::Nothing(pause.ask_at_ms),
            Some(_) => Allowance::One,
        }
    }

    /// One push asks whether the credentials are accepted again; the next asks only when this one has had its
    /// answer, or its time.
    pub(super) fn asked(&self, now_ms: i64, patience: Duration) {
        if let Some(pause) = self.lock().as_mut() {
            (pause.ask_at_ms, pause.asking) = (now_ms + millis(patience), true);
        }
    }

    /// The push that was to ask was not sent after all: whether the next one may ask now.
    pub(super) fn unasked(&self, now_ms: i64) -> bool {
        match self.lock().as_mut() {
            Some(pause) if pause.asking => {
                (pause.ask_at_ms, pause.asking) = (now_ms, false);
                true
            }
            _ => false,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Pause>> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The push that was to ask said nothing about the credentials: the next one may ask.
fn ask_now(pause: Option<&mut Pause>) {
    if let Some(pause) = pause {
        (pause.ask_at_ms, pause.asking) = (0, false);
    }
}

/// How much a lane may send.
pub(super) enum Allowance {
    Free,
    One,
    Nothing(i64),
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
