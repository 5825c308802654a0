//! The task that carries campaigns out. One process at a time has the lease; when it dies, another goes on from the last
//! portion that was stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::StorageError;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::gateway::{Answer, Gateway};
use super::governor::{Feedback, Governor, Pace, Step};
use super::load::{Meter, Sample};
use super::plan::{Campaign, State};
use super::select::select;
use crate::metrics::Metrics;
use crate::store::{CAMPAIGN_LEASE, Candidate, Portion, Pushed, Store};

/// How often it is asked whether there is something to do.
const POLL: Duration = Duration::from_secs(1);
/// A runner that does not say anything for this long is taken for dead.
const LEASE_MS: i64 = 30_000;
/// How often it says something, however long what it does takes.
const RENEW: Duration = Duration::from_secs(10);
/// A pass type that the push-gateway does not know is waited for this long; then its pushes are given up until it does.
const UNSERVED: Duration = Duration::from_secs(300);
/// Single pushes that the push-gateway cannot take while it takes others are given up after this.
const STUCK: Duration = Duration::from_secs(600);
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

/// Renews the lease as long as it lives.
struct Keeper(tokio::task::JoinHandle<()>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
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
        let _keeper = self.keep_lease();
        // As it is now that nobody else works on it.
        let Some(campaign) = self.store.campaign(&campaign.id).await? else { return Ok(false) };
        match campaign.state {
            State::Waiting => self.next_sweep(&campaign).await,
            State::Running => Ok(matches!(self.sweep(campaign, shutdown).await?, Left::Settled)),
            _ => Ok(true),
        }
    }

    fn keep_lease(&self) -> Keeper {
        let runner = self.clone();
        Keeper(tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEW).await;
                let now = runner.clock.now_ms();
                match runner.store.lease(CAMPAIGN_LEASE, &runner.process, now, now + LEASE_MS).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => tracing::debug!(%error, "the lease of campaigns is renewed later"),
                }
            }
        }))
    }

    /// The next sweep is due: it begins unless enough devices have asked meanwhile.
    async fn next_sweep(&self, campaign: &Campaign) -> Result<bool, StorageError> {
        let coverage = self.store.count_coverage(campaign, self.clock.now_ms()).await?;
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
            let step = self.store.walk(&campaign.query, &campaign.after, limit).await?;
            if step.over && step.found.is_empty() {
                return self.end_sweep(&campaign).await;
            }
            let now = self.clock.now_ms();
            let (pushes, counts) = select(&campaign, &step.found, now);
            let mut portion = Portion {
                after: step.after,
                looked_at: i64::try_from(step.found.len()).unwrap_or(i64::MAX),
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
        let begun = Instant::now();
        speed.pushed += pushes.len() as u64;
        loop {
            let (why, wait) = match self.gateway.push(&campaign.id, campaign.sweep, &pushes).await {
                Ok(answers) => {
                    let mut later = Vec::new();
                    let mut why = None;
                    for (push, answer) in pushes.into_iter().zip(answers.each) {
                        let answer =
                            speed.patient(answer, &push, portion.counts.pushed > 0 && begun.elapsed() >= STUCK);
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
                                portion.last_error = Some(reason);
                            }
                            Answer::Later(reason) | Answer::Unserved(reason) => {
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
        if self.store.end_sweep(&campaign.id, campaign.sweep, next_at, now).await? {
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
    /// Pushes since it was last looked.
    pushed: u64,
    /// Pass types that the push-gateway does not know, and since when.
    unserved: BTreeMap<String, Instant>,
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
            pushed: 0,
            unserved: BTreeMap::new(),
            reason: campaign.rate_reason.clone(),
        }
    }

    /// What is waited for too long is refused. `stuck`: the push-gateway has taken others for long.
    fn patient(&mut self, answer: Answer, push: &Candidate, stuck: bool) -> Answer {
        match answer {
            Answer::Taken(notification) => {
                self.unserved.remove(&push.at.pass_type);
                Answer::Taken(notification)
            }
            Answer::Unserved(why) => {
                let since = self.unserved.entry(push.at.pass_type.clone()).or_insert_with(Instant::now);
                if since.elapsed() >= UNSERVED { Answer::Refused(why) } else { Answer::Unserved(why) }
            }
            Answer::Later(why) if stuck => Answer::Refused(why),
            other => other,
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
        let pushed = std::mem::take(&mut self.pushed);
        let feedback = Feedback { pushed, ..all.feedback(std::mem::take(&mut self.held_back)) };
        if let Step::Lowered(reason) = self.governor.step(&feedback) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::governor::Limits;
    use crate::campaign::plan::Position;

    #[tokio::test(start_paused = true)]
    async fn a_pass_type_that_the_gateway_does_not_know_is_not_waited_for_for_ever() {
        let limits = Limits { floor: 1.0, ceiling: 1.0, list_ms: 1.0, get_ms: 1.0, errors_per_mille: 1.0 };
        let now = Instant::now();
        let mut speed = Speed {
            governor: Governor::new(limits, 1.0),
            pace: Pace::default(),
            gathered: now,
            looked: now,
            held_back: false,
            pushed: 0,
            unserved: BTreeMap::new(),
            reason: String::new(),
        };
        let push = Candidate {
            at: Position { pass_type: "pass.a".to_owned(), ..Position::default() },
            push_token: String::new(),
            token_at: 0,
            quarantined: false,
            tag: 0,
            listed_tag: -1,
            listed_at: None,
            pushed_at: None,
            due: false,
        };
        let unserved = || Answer::Unserved("no app".to_owned());
        assert_eq!(speed.patient(unserved(), &push, false), unserved());
        tokio::time::advance(UNSERVED).await;
        assert_eq!(speed.patient(unserved(), &push, false), Answer::Refused("no app".to_owned()));
        assert_eq!(speed.patient(Answer::Taken(None), &push, false), Answer::Taken(None));
        assert_eq!(speed.patient(unserved(), &push, false), unserved(), "it was known meanwhile: waited for again");
        assert_eq!(speed.patient(Answer::Later("429".to_owned()), &push, true), Answer::Refused("429".to_owned()));
    }
}
