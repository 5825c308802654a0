//! A lane at work: how much it may send now, what it claims, and what becomes of each push.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidings_shared::lifecycle::Shutdown;
use tidings_shared::push_api::Priority;
use tidings_shared::storage::StorageError;
use tokio::task::JoinSet;

use super::lane::{Allowance, Lane, Surroundings, millis};
use super::limits::{AppLimit, DeviceLimit};
use super::settle::{CIRCUIT_OPEN, RATE_LIMITED};
use super::slots::{Room, Slot, Slots};
use super::store::{self, Claim, SendResult};
use super::{Claimed, Recipient, settle};
use crate::provider::{Answer, Message};
use crate::send::{self, Breaker, PathSettings, SendPath, State};

/// A lane looks into the database at least this often: another process may have left something.
const LOOK: Duration = Duration::from_secs(5);
/// The most targets that one claim takes.
const BATCH: usize = 256;
/// When every slot is taken, the next claim waits until so many are free (at most a quarter of all), or a moment: a
/// claim of one push costs as much as a claim of many.
const WORTH_A_CLAIM: usize = 64;
const MOMENT: Duration = Duration::from_millis(5);
/// Claims begin so far apart at least.
const PACE: Duration = Duration::from_millis(3);

/// See the head of this file.
pub(super) struct Work {
    lane: Arc<Lane>,
    around: Surroundings,
    slots: Arc<Slots>,
    path: SendPath,
    breaker: Arc<Breaker>,
    pace: AppLimit,
    devices: DeviceLimit,
    /// The state of the circuit that was last shown.
    shown: AtomicI64,
    shutdown: Shutdown,
    /// When the last claim began.
    claimed: Mutex<Option<tokio::time::Instant>>,
}

impl Work {
    pub(super) fn new(lane: Arc<Lane>, around: Surroundings, shutdown: Shutdown) -> Self {
        let settings = &around.settings;
        let breaker = Breaker::new(settings.breaker, around.clock.clone());
        around.metrics.circuit(lane.provider, &lane.app, 0);
        // The result must be known while the lease still holds.
        let path = PathSettings { concurrency: settings.concurrency, timeout: settings.lease / 2 };
        Self {
            path: send::path(Arc::clone(&lane.client), &breaker, path),
            slots: Slots::new(settings.concurrency, settings.reserved),
            pace: AppLimit::new(settings.per_second),
            devices: DeviceLimit::new(settings.per_device, settings.device_window),
            breaker,
            lane,
            around,
            shown: AtomicI64::new(0),
            shutdown,
            claimed: Mutex::default(),
        }
    }

    /// Claims what is due and starts sending it; waits for the next event if nothing is due or there is no room.
    pub(super) async fn round(self: &Arc<Self>, sending: &mut JoinSet<()>) {
        let (lane, around) = (&self.lane, &self.around);
        let limit = match self.allowance(around.clock.now_ms()) {
            Allowance::Nothing(until) => return self.rest(Some(until), false).await,
            Allowance::One => 1,
            Allowance::Free => BATCH,
        };
        let room = self.slots.room().at_most(limit);
        if room.of(Priority::High) == 0 {
            return self.wait_for_room().await;
        }
        let room = match self.pace.allowance(around.clock.now_ms()) {
            Ok(allowed) => room.at_most(allowed),
            Err(next) => return self.rest(Some(next), false).await,
        };
        self.keep_pace().await;
        let claim = match self.claim(room).await {
            Ok(claim) => claim,
            Err(error) => {
                tracing::error!(%error, lane = lane.name, "the queue cannot be read; trying again");
                return self.rest(Some(around.clock.now_ms() + 1_000), false).await;
            }
        };
        if limit == 1 && !claim.targets.is_empty() {
            let patience = around.settings.lease / 2;
            lane.asked(around.clock.now_ms(), patience);
            self.breaker.asking(patience);
            self.show_circuit();
        }
        self.pace.spend(claim.targets.len());
        for target in claim.targets {
            let slot = self.slots.take(target.priority);
            sending.spawn(Arc::clone(self).deal_with(target, slot));
        }
        if !claim.more {
            self.rest_until_due(room).await;
        }
    }

    /// Nothing more is due in the classes that there was room for.
    async fn rest_until_due(&self, had: Room) {
        // Told of slots from here on; what was given back before is seen below.
        self.slots.expect(1);
        let free = self.slots.room();
        let constrained = Priority::ALL.into_iter().any(|class| had.of(class) == 0);
        if constrained && Priority::ALL.into_iter().any(|class| had.of(class) == 0 && free.of(class) > 0) {
            return;
        }
        let due = store::next_due(&self.around.database, &self.lane.name, had).await.ok().flatten();
        self.rest(due, constrained).await;
    }

    /// Claims begin a moment apart: what comes in a stream is claimed in portions, and what comes alone at once.
    async fn keep_pace(&self) {
        let begin = {
            let mut last = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
            let now = tokio::time::Instant::now();
            let begin = last.map_or(now, |last| now.max(last + PACE));
            *last = Some(begin);
            begin
        };
        tokio::time::sleep_until(begin).await;
    }

    async fn claim(&self, room: Room) -> Result<Claim, StorageError> {
        let (lane, around) = (&self.lane, &self.around);
        let _turn = around.database.turn().wait().await;
        let now = around.clock.now_ms();
        let lease_until = now + millis(around.settings.lease);
        store::claim(&around.database, &lane.name, &around.ids.next(), room, now, lease_until).await
    }

    /// What the app's credentials and its provider's health allow.
    fn allowance(&self, now_ms: i64) -> Allowance {
        let circuit = match self.breaker.state() {
            State::Closed => Allowance::Free,
            State::HalfOpen { until_ms } | State::Open { until_ms } if now_ms < until_ms => {
                Allowance::Nothing(until_ms)
            }
            State::HalfOpen { .. } | State::Open { .. } => Allowance::One,
        };
        match (self.lane.allowance(now_ms), circuit) {
            (Allowance::Nothing(one), Allowance::Nothing(other)) => Allowance::Nothing(one.max(other)),
            (Allowance::Nothing(until), _) | (_, Allowance::Nothing(until)) => Allowance::Nothing(until),
            (Allowance::One, _) | (_, Allowance::One) => Allowance::One,
            (Allowance::Free, Allowance::Free) => Allowance::Free,
        }
    }

    /// Until something is enqueued, the next target is due, or it is time to look; if there was no room for something,
    /// until a slot is free.
    async fn rest(&self, due: Option<i64>, constrained: bool) {
        let until_due = due.map_or(LOOK, |due| {
            Duration::from_millis(u64::try_from(due - self.around.clock.now_ms()).unwrap_or(0)).clamp(MOMENT, LOOK)
        });
        tokio::select! {
            () = self.lane.wake.notified() => {}
            () = self.freed(), if constrained => {}
            () = tokio::time::sleep(until_due) => {}
            () = self.shutdown.wait() => {}
        }
    }

    async fn wait_for_room(&self) {
        self.slots.expect(1);
        if self.slots.room().of(Priority::High) > 0 {
            return;
        }
        tokio::select! {
            () = self.freed() => {}
            () = self.shutdown.wait() => {}
        }
    }

    /// A slot is free, or a moment later, several.
    async fn freed(&self) {
        self.slots.freed().await;
        self.slots.expect(self.worth_a_claim());
        let _ = tokio::time::timeout(MOMENT, self.slots.freed()).await;
    }

    fn worth_a_claim(&self) -> usize {
        WORTH_A_CLAIM.min(self.around.settings.concurrency / 4).max(1)
    }

    async fn deal_with(self: Arc<Self>, target: Claimed, slot: Slot) {
        let (lane, around) = (&self.lane, &self.around);
        let now = around.clock.now_ms();
        let unsent = settle::before_sending(&target, now)
            .or_else(|| self.place(&target, now).map(|later| settle::put_back(&target, later, RATE_LIMITED)));
        let (settlement, answer) = match unsent {
            Some(settled) => {
                // It may be the one that was to ask a provider that was away, or that refused the credentials.
                let (provider, credentials) = (self.breaker.unasked(), lane.unasked(now));
                if provider || credentials {
                    lane.wake.notify_one();
                }
                settled
            }
            None => self.send(&target).await,
        };
        if settlement.due_at.is_none() {
            around.load.ended(&lane.name, 1);
        }
        around.metrics.outcome(lane.provider, &lane.app, settlement.state, &answer);
        let at_once = settlement.due_at.is_some_and(|due| due <= around.clock.now_ms());
        let wake = at_once.then(|| Arc::clone(&lane.wake));
        around.recorder.record(SendResult { target, answer, settlement }, wake).await;
        drop(slot);
    }

    /// When a device may get a push that it may not get now. A push asks once: the place in time that it is given is
    /// its own. What was tried before has had its place, and high priority has places apart.
    fn place(&self, target: &Claimed, now_ms: i64) -> Option<i64> {
        if target.attempts > 1 || target.last_reason.as_deref() == Some(RATE_LIMITED) {
            return None;
        }
        let device = match &target.recipient {
            Recipient::Device { id, .. } => id,
            Recipient::Token { token, .. } => token,
            Recipient::Gone => return None,
        };
        let place = if target.priority == Priority::High {
            self.devices.place(&format!("{device} high"), now_ms)
        } else {
            self.devices.place(device, now_ms)
        };
        (place > now_ms).then_some(place)
    }

    async fn send(&self, target: &Claimed) -> (settle::Settlement, Answer) {
        let (lane, around) = (&self.lane, &self.around);
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
        let started = tokio::time::Instant::now();
        let before = self.breaker.state();
        let sent = send::send(&self.path, message).await;
        if before != self.breaker.state() {
            self.show_circuit();
        }
        match sent {
            Ok(answer) => {
                around.metrics.sent(lane.provider, started.elapsed());
                let waits_alone = lane.note_credentials(around, target.environment, started, &answer);
                let serves_other = lane.client.serves(target.environment.other());
                let now = around.clock.now_ms();
                let mut settlement = settle::settle(target, &answer, serves_other, &around.settings.retry, now);
                if waits_alone {
                    settlement.due_at = Some(now.saturating_add(millis(around.settings.recheck)));
                }
                (settlement, answer)
            }
            Err(open) => {
                lane.unasked(around.clock.now_ms());
                settle::put_back(target, open.until_ms, CIRCUIT_OPEN)
            }
        }
    }

    /// Shows a change of the circuit, once.
    fn show_circuit(&self) {
        let (state, until) = match self.breaker.state() {
            State::Closed => (0, None),
            State::HalfOpen { .. } => (1, None),
            State::Open { until_ms } => (2, Some(until_ms)),
        };
        if self.shown.swap(state, Ordering::AcqRel) == state {
            return;
        }
        let (lane, around) = (&self.lane, &self.around);
        around.metrics.circuit(lane.provider, &lane.app, state);
        match (state, until) {
            (0, _) => tracing::info!(lane = lane.name, "the provider is back"),
            (2, Some(until)) => {
                let pause_ms = until - around.clock.now_ms();
                tracing::warn!(
                    lane = lane.name,
                    pause_ms,
                    "the provider is away: pushes wait, and one asks after the pause"
                );
            }
            _ => {}
        }
    }
}
