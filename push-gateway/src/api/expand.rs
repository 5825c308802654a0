//! Makes the targets of notifications to segments, in portions: each is one transaction that stores targets and moves the
//! cursor, so that a crash neither leaves a device out nor doubles one. While much waits at an app, no more is made for it, and other
//! notifications have their turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidings_shared::lifecycle::Shutdown;
use tidings_shared::push_api::{Priority, Provider};
use tidings_shared::storage::{Database, StorageError};

use super::{Gateway, addressees};
use crate::devices::Registered;
use crate::queue::NewTarget;
use crate::queue::store::stored::{self, StoredNotification};
use crate::queue::store::{self as queue};
use crate::segments::store::expansions::{self, Portion, Taken};

/// It looks into the database at least this often: another process may have left something.
const LOOK: Duration = Duration::from_secs(5);
/// Its shortest rest.
const MOMENT: Duration = Duration::from_millis(20);
/// Devices of one portion.
const DEVICES: i64 = 500;
/// How long whoever is at an expansion may be silent before another process goes on with it.
const LEASE_MS: i64 = 10_000;
/// What is due within this time counts as waiting.
const SOON_MS: i64 = 60_000;
/// The most pushes of one app and class that wait: a campaign of millions does not fill the queue at once.
const MAX_WAITING: i64 = 20_000;
/// How long it waits while there are so many.
const CROWDED: Duration = Duration::from_millis(500);

/// See the head of this file.
pub(crate) struct Expander {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) database: Database,
}

/// What came of a portion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    More,
    /// Too much waits: later.
    Crowded,
    /// Every device has been looked at, or the notification is over, or somebody else is at it.
    Over,
}

impl Expander {
    /// Works until the shutdown.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        while !shutdown.is_down() {
            let now = self.gateway.clock.now_ms();
            let rest = match expansions::take(&self.database, now, now + LEASE_MS).await {
                Ok(Some(taken)) => {
                    let notification = taken.notification.clone();
                    match self.expand(taken, &shutdown).await {
                        Ok(()) => continue,
                        Err(error) => {
                            tracing::error!(%error, notification, "the devices of a segment cannot be addressed; trying again");
                            Duration::from_secs(1)
                        }
                    }
                }
                Ok(None) => self.until_due(now).await,
                Err(error) => {
                    tracing::warn!(%error, "notifications to segments cannot be read; trying again");
                    LOOK
                }
            };
            tokio::select! {
                () = shutdown.wait() => return,
                () = self.gateway.rooms.expand.notified() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// How long until one waits no more, or whoever was at it has been silent for too long.
    async fn until_due(&self, now_ms: i64) -> Duration {
        let due = expansions::next_due(&self.database).await.ok().flatten();
        due.map_or(LOOK, |due| {
            Duration::from_millis(u64::try_from(due.saturating_sub(now_ms)).unwrap_or(0)).clamp(MOMENT, LOOK)
        })
    }

    /// Makes one portion after the other, until it is over or too much waits.
    async fn expand(&self, mut taken: Taken, shutdown: &Shutdown) -> Result<(), StorageError> {
        loop {
            let pause = match self.portion(&mut taken).await? {
                Step::Over => return Ok(()),
                Step::Crowded => {
                    self.gateway.metrics.registry.expansion_waits();
                    i64::try_from(CROWDED.as_millis()).unwrap_or(0)
                }
                // Another process, or the next start, goes on at once.
                Step::More if shutdown.is_down() => 0,
                Step::More => continue,
            };
            let _turn = self.database.turn().wait().await;
            let due = self.gateway.clock.now_ms().saturating_add(pause);
            return expansions::release(&self.database, &taken, due).await;
        }
    }

    async fn portion(&self, taken: &mut Taken) -> Result<Step, StorageError> {
        let now = self.gateway.clock.now_ms();
        let priority = match taken.request.priority {
            Priority::Normal => Priority::Bulk,
            priority => priority,
        };
        let notification = stored::find(&self.database, &taken.notification, priority).await?;
        let Some(notification) = notification.filter(|notification| !notification.is_over(now)) else {
            tracing::warn!(
                notification = taken.notification,
                targets = taken.targets,
                "a notification to a segment ended before every device was addressed"
            );
            let mut connection = self.database.pool().acquire().await?;
            expansions::end(&mut connection, &taken.notification).await?;
            return Ok(Step::Over);
        };
        let limit = self.gateway.load.portion(DEVICES);
        let devices = expansions::next_devices(&self.database, taken, limit).await?;
        let complete = i64::try_from(devices.len()).is_ok_and(|found| found < limit);
        let mut targets = self.targets(&notification, &taken.request, &devices);
        let mut connection = self.database.pool().acquire().await?;
        let created_at = notification.notification.created_at;
        let prepared =
            addressees::prepare(&self.gateway, Some(&mut connection), &taken.request, &mut targets, created_at).await;
        drop(connection);
        if let Err(refusal) = prepared {
            // It was checked when the notification was accepted; what fails here is the database.
            return Err(StorageError::Corrupt(refusal.message));
        }
        let mut lanes: HashMap<String, i64> = HashMap::new();
        for target in &targets {
            *lanes.entry(target.lane()).or_default() += 1;
        }
        let rank = i64::try_from(priority.rank()).unwrap_or(i64::MAX);
        for lane in lanes.keys() {
            let soon = now.saturating_add(SOON_MS);
            if expansions::waiting(&self.database, lane, rank, soon, MAX_WAITING).await? >= MAX_WAITING {
                return Ok(Step::Crowded);
            }
        }
        if !self.gateway.load.admit_portion(&lanes) {
            return Ok(Step::Crowded);
        }
        let stored = self.store(taken, &notification, &mut targets, &devices, complete).await;
        if !matches!(stored, Ok(true)) {
            for (lane, count) in &lanes {
                self.gateway.load.ended(lane, *count);
            }
            return stored.map(|_| Step::Over);
        }
        for target in targets.iter().filter(|target| target.ended.is_some()) {
            self.gateway.load.ended(&target.lane(), 1);
        }
        let made = i64::try_from(targets.len()).unwrap_or(i64::MAX);
        self.gateway.metrics.registry.expanded(made.unsigned_abs());
        self.gateway.apps.wake_lanes(&lanes.into_keys().collect::<Vec<_>>());
        taken.targets += made;
        if complete {
            tracing::info!(
                notification = taken.notification,
                targets = taken.targets,
                "every device of the segment is addressed"
            );
            return Ok(Step::Over);
        }
        if let Some(last) = devices.last() {
            last.id.clone_into(&mut taken.position);
        }
        Ok(Step::More)
    }

    /// Stores the targets of a portion and moves the cursor; `false`: somebody else has done so, or it was cancelled.
    async fn store(
        &self,
        taken: &Taken,
        notification: &StoredNotification,
        targets: &mut [NewTarget],
        devices: &[Registered],
        complete: bool,
    ) -> Result<bool, StorageError> {
        let now = self.gateway.clock.now_ms();
        let made = i64::try_from(targets.len()).unwrap_or(i64::MAX);
        let portion = Portion {
            last: devices.last().map(|device| device.id.as_str()),
            targets: made,
            skipped: i64::try_from(devices.len()).unwrap_or(i64::MAX) - made,
            lease_until: (!complete).then_some(now + LEASE_MS),
        };
        let _turn = self.database.turn().wait().await;
        let mut transaction = self.database.begin().await?;
        if !expansions::advance(&mut transaction, taken, portion).await? {
            return Ok(false);
        }
        let new = &notification.notification;
        let dedup_until =
            taken.request.dedup.as_ref().map_or(0, |dedup| new.created_at.saturating_add(dedup.window.as_ms()));
        queue::settle_portion(&mut transaction, targets, dedup_until, new.created_at, now).await?;
        let rows: Vec<_> =
            targets.iter().zip(taken.targets..).map(|(target, position)| (new, target, position)).collect();
        queue::insert_targets(&mut transaction, &rows).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// One target for each device whose app is configured and takes this push; the others are counted.
    fn targets(
        &self,
        notification: &StoredNotification,
        request: &tidings_shared::push_api::SendNotification,
        devices: &[Registered],
    ) -> Vec<NewTarget> {
        let mut taken_by: HashMap<(Provider, &str), bool> = HashMap::new();
        let mut targets = Vec::with_capacity(devices.len());
        for device in devices {
            let (provider, app) = (device.registration.provider, device.registration.app.as_str());
            let takes = *taken_by.entry((provider, app)).or_insert_with(|| {
                let Some(lane) = self.gateway.apps.lane(provider, app) else { return false };
                let collapse_id = request.collapse_id.as_deref();
                let mut pushes = std::iter::once(&*notification.notification.push).chain(&notification.pushes);
                pushes.all(|push| lane.client.check(push, collapse_id).is_ok())
            });
            if takes {
                targets.push(NewTarget::of_device(self.gateway.ids.next(), device));
            }
        }
        targets
    }
}
