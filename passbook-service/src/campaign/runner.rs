//! The task that carries campaigns out. One process at a time has the lease; when it dies, another goes on from the last
//! portion that was stored.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::StorageError;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::gateway::{Answer, Gateway};
use super::governor::{Governor, Pace, Step};
use super::load::{Meter, Sample};
use super::plan::{Campaign, State};
use super::select::select;
use crate::metrics::Metrics;
use crate::store::{CAMPAIGN_LEASE, Candidate, Portion, Pushed, Store};

/// How often it is asked whether there is something to do.
const POLL: Duration = Duration::from_secs(1);
/// A runner that does not say anything for this long is taken for dead.
const LEASE_MS: i64 = 30_000;
/// How often the rate is looked at.
const TICK: Duration = Duration::from_secs(2);
/// What processes told longer ago than this says nothing.
const FRESH_MS: i64 = 10_000;
/// Registrations of a portion: half a second's pushes, between these.
const PORTION: (f64, f64) = (20.0, 500.0);
/// How long a failing database is left alone.
const FAILED: Duration = Duration::from_secs(2);

/// The task. Cheap to clone.
#[derive(Clone)]
pub struct Runner {
    /// The tables.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// Where pushes go.
    pub gateway: Gateway,
    /// Names this process; no other has the same.
    pub process: String,
    /// Somebody started or resumed a campaign.
    pub wake: Arc<Notify>,
}

/// Why a campaign is left for now.
enum Left {
    /// Its sweep is over, or somebody paused or cancelled it.
    Settled,
    /// Another process has the lease, or the process ends.
    Lost,
}

/// Tells the other processes how this one answers, while a campaign runs.
pub async fn report_load(store: Store, clock: Clock, meter: Meter, process: String, shutdown: Shutdown) {
    let mut told = meter.sample();
    while pause(&shutdown, TICK).await {
        let now = clock.now_ms();
        match store.campaign_to_run(now).await {
            Ok(Some(campaign)) if campaign.state == State::Running => {
                let sample = meter.sample();
                let news = sample.since(&told);
                told = sample;
                if let Err(error) = store.tell_load(&process, &news, now).await {
                    tracing::debug!(%error, "how this process answers cannot be told");
                }
            }
            Ok(_) => told = meter.sample(),
            Err(error) => tracing::debug!(%error, "whether a campaign runs cannot be asked"),
        }
    }
}

impl Runner {
    /// Works until the shutdown begins.
    pub async fn run(self, shutdown: Shutdown) {
        while !shutdown.is_down() {
            match self.turn(&shutdown).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "a campaign waits for the database; it goes on where it stands");
                    if !pause(&shutdown, FAILED).await {
                        break;
                    }
                }
            }
            tokio::select! {
                () = shutdown.wait() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
        // Another process need not wait for the lease's end.
        if let Err(error) = self.store.release(CAMPAIGN_LEASE, &self.process).await {
            tracing::debug!(%error, "the lease of campaigns ends by itself");
        }
    }

    /// Works on one campaign, if there is one for this process; whether there may be more.
    async fn turn(&self, shutdown: &Shutdown) -> Result<bool, StorageError> {
        let now = self.clock.now_ms();
        let Some(campaign) = self.store.campaign_to_run(now).await? else { return Ok(false) };
        if !self.store.lease(CAMPAIGN_LEASE, &self.process, now, now + LEASE_MS).await? {
            return Ok(false);
        }
        // As it is now that nobody else works on it.
        let Some(campaign) = self.store.campaign(&campaign.id).await? else { return Ok(false) };
        match campaign.state {
            State::Waiting => self.next_sweep(&campaign).await,
            State::Running => Ok(matches!(self.sweep(campaign, shutdown).await?, Left::Settled)),
            _ => Ok(true),
        }
    }

    /// The next sweep is due: it begins unless enough devices have asked meanwhile.
    async fn next_sweep(&self, campaign: &Campaign) -> Result<bool, StorageError> {
        let coverage = self.store.coverage(&campaign.query, campaign.created_at).await?;
        let now = self.clock.now_ms();
        let enough = campaign.plan.repeat.is_none_or(|repeat| coverage.percent() >= f64::from(repeat.coverage));
        if enough {
            self.store.move_campaign(&campaign.id, &[State::Waiting], State::Done, now).await?;
            tracing::info!(
                campaign = campaign.id,
                percent = coverage.percent(),
                "enough devices have asked; no further sweep"
            );
        } else {
            self.store.begin_sweep(&campaign.id, campaign.sweep, now).await?;
        }
        Ok(true)
    }

    /// Walks on until the sweep is over.
    async fn sweep(&self, mut campaign: Campaign, shutdown: &Shutdown) -> Result<Left, StorageError> {
        tracing::info!(campaign = campaign.id, name = campaign.name, sweep = campaign.sweep, "a campaign goes on");
        if campaign.total.is_none() {
            let (store, counted) = (self.store.clone(), campaign.clone());
            // Only for the progress bar: the walk does not wait for it.
            tokio::spawn(async move {
                if let Err(error) = store.count_walk(&counted).await {
                    tracing::debug!(%error, "how long a sweep will be cannot be counted");
                }
            });
        }
        let mut speed = Speed::new(&campaign);
        loop {
            if shutdown.is_down() {
                return Ok(Left::Lost);
            }
            speed.tick(self).await?;
            // Half a second's pushes: what is chosen is sent before it is old.
            let limit = (speed.governor.rate() / 2.0).clamp(PORTION.0, PORTION.1) as i64;
            let found = self.store.candidates(&campaign.query, &campaign.after, limit).await?;
            let Some(last) = found.last() else { return self.end_sweep(&campaign).await };
            let now = self.clock.now_ms();
            let (pushes, counts) = select(&campaign, &found, now);
            let mut portion = Portion {
                after: last.at.clone(),
                looked_at: i64::try_from(found.len()).unwrap_or(i64::MAX),
                counts,
                ..Portion::default()
            };
            if !pushes.is_empty() {
                speed.wait(pushes.len(), shutdown).await;
                if !self.push(&campaign, pushes, &mut portion, &mut speed, shutdown).await? {
                    // Interrupted: who was pushed is kept, and the walk stays where it was.
                    portion = Portion {
                        after: campaign.after.clone(),
                        looked_at: 0,
                        counts: super::plan::Counts { pushed: portion.counts.pushed, ..Default::default() },
                        ..portion
                    };
                }
            }
            portion.rate = (speed.governor.rate() * 1000.0) as i64;
            portion.rate_reason.clone_from(&speed.reason);
            let now = self.clock.now_ms();
            if !self.store.store_portion(&campaign, &portion, &self.process, now, now + LEASE_MS).await? {
                return Ok(Left::Lost);
            }
            self.metrics.campaign_pushes.inc_by(u64::try_from(portion.counts.pushed).unwrap_or(0));
            campaign.after = portion.after;
            match self.store.campaign(&campaign.id).await? {
                Some(known) if known.state == State::Running && known.sweep == campaign.sweep => {}
                _ => return Ok(Left::Settled),
            }
        }
    }

    /// Hands pushes over until each is taken or refused. `false`: it was interrupted before that.
    async fn push(
        &self,
        campaign: &Campaign,
        mut pushes: Vec<Candidate>,
        portion: &mut Portion,
        speed: &mut Speed,
        shutdown: &Shutdown,
    ) -> Result<bool, StorageError> {
        loop {
            let (why, wait) = match self.gateway.push(&campaign.id, campaign.sweep, &pushes).await {
                Ok(answers) => {
                    let mut later = Vec::new();
                    let mut why = None;
                    for (push, answer) in pushes.into_iter().zip(answers.each) {
                        match answer {
                            Answer::Taken(notification) => {
                                portion.counts.pushed += 1;
                                portion.pushed.push(pushed(push, notification));
                            }
                            Answer::Refused(reason) => {
                                if portion.counts.refused == 0 {
                                    tracing::error!(campaign = campaign.id, reason, "a push of a campaign is given up");
                                }
                                portion.counts.refused += 1;
                            }
                            Answer::Later(reason) => {
                                why = Some(reason);
                                later.push(push);
                            }
                        }
                    }
                    let Some(why) = why else { return Ok(true) };
                    pushes = later;
                    (why, answers.pause)
                }
                Err(wait) => (wait.why, wait.pause),
            };
            speed.held_back = true;
            tracing::warn!(campaign = campaign.id, why, "a campaign waits");
            let now = self.clock.now_ms();
            self.store.note_campaign_error(&campaign.id, &why, now).await?;
            if !pause(shutdown, wait).await {
                return Ok(false);
            }
            speed.tick(self).await?;
            let now = self.clock.now_ms();
            let ours = self.store.lease(CAMPAIGN_LEASE, &self.process, now, now + LEASE_MS).await?;
            let runs = self.store.campaign(&campaign.id).await?.is_some_and(|known| known.state == State::Running);
            if !ours || !runs {
                return Ok(false);
            }
        }
    }

    async fn end_sweep(&self, campaign: &Campaign) -> Result<Left, StorageError> {
        let now = self.clock.now_ms();
        let next_at = campaign
            .plan
            .repeat
            .filter(|repeat| campaign.sweep < i64::from(repeat.at_most))
            .map(|repeat| now + i64::from(repeat.every_seconds) * 1000);
        if self.store.end_sweep(&campaign.id, next_at, now).await? {
            tracing::info!(campaign = campaign.id, sweep = campaign.sweep, "a campaign's sweep is over");
        }
        Ok(Left::Settled)
    }
}

/// How fast a sweep goes.
struct Speed {
    governor: Governor,
    pace: Pace,
    gathered: Instant,
    looked: Instant,
    held_back: bool,
    /// Why it was last reduced.
    reason: String,
}

impl Speed {
    fn new(campaign: &Campaign) -> Self {
        let now = Instant::now();
        Self {
            governor: Governor::new(campaign.plan.rate.limits(), campaign.rate),
            pace: Pace::default(),
            gathered: now,
            looked: now,
            held_back: false,
            reason: campaign.rate_reason.clone(),
        }
    }

    /// Looks at how the service answers, when it is time to.
    async fn tick(&mut self, runner: &Runner) -> Result<(), StorageError> {
        if self.looked.elapsed() < TICK {
            return Ok(());
        }
        self.looked = Instant::now();
        let mut all = Sample::default();
        for sample in runner.store.told_load(runner.clock.now_ms() - FRESH_MS).await? {
            all.add(&sample);
        }
        if let Step::Lowered(reason) = self.governor.step(&all.feedback(std::mem::take(&mut self.held_back))) {
            tracing::info!(rate = self.governor.rate(), reason, "a campaign slows down");
            self.reason = reason;
        }
        runner.metrics.campaign_rate.set(self.governor.rate() as i64);
        Ok(())
    }

    /// Waits until the rate allows `count` more pushes.
    async fn wait(&mut self, count: usize, shutdown: &Shutdown) {
        let rate = self.governor.rate();
        let now = Instant::now();
        self.pace.gather(now.duration_since(self.gathered).as_secs_f64(), rate);
        self.gathered = now;
        let wait = self.pace.take(count, rate);
        if wait > 0.0 {
            pause(shutdown, Duration::from_secs_f64(wait)).await;
        }
    }
}

fn pushed(push: Candidate, notification: Option<String>) -> Pushed {
    Pushed {
        device: push.at.device,
        pass_type: push.at.pass_type,
        tag: push.tag,
        notification,
        token_at: push.token_at,
    }
}

/// `false`: the shutdown came first.
async fn pause(shutdown: &Shutdown, time: Duration) -> bool {
    tokio::select! {
        () = shutdown.wait() => false,
        () = tokio::time::sleep(time) => true,
    }
}
