//! Makes the targets of notifications to segments, in portions: each is one transaction that stores targets and moves the
//! cursor, so that a crash neither leaves a device out nor doubles one. While much of a notification waits, no more is made.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::push_api::Provider;
use tidings_shared::storage::{Database, StorageError};
use tokio::sync::Notify;

use super::store::expansions::{self, Portion, Taken};
use crate::apps::Apps;
use crate::devices::Registered;
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::queue::store::stored::{self, Stored};
use crate::queue::{NewTarget, store as queue};

/// It looks into the database at least this often: another process may have left something.
const LOOK: Duration = Duration::from_secs(5);
/// Devices of one portion.
const DEVICES: i64 = 500;
/// How long whoever is at an expansion may be silent before another process goes on with it.
const LEASE_MS: i64 = 60_000;
/// The most targets of one notification that wait: a campaign of millions does not fill the queue at once.
const MAX_WAITING: i64 = 20_000;
/// How long it waits while there are so many.
const CROWDED: Duration = Duration::from_millis(500);

/// See the head of this file.
#[derive(Clone, Debug)]
pub(crate) struct Expander {
    pub(crate) database: Database,
    pub(crate) apps: Arc<Apps>,
    pub(crate) ids: Ids,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    /// A notification to a segment was stored.
    pub(crate) wake: Arc<Notify>,
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
            let now = self.clock.now_ms();
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
                Ok(None) => LOOK,
                Err(error) => {
                    tracing::warn!(%error, "notifications to segments cannot be read; trying again");
                    LOOK
                }
            };
            tokio::select! {
                () = shutdown.wait() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    async fn expand(&self, mut taken: Taken, shutdown: &Shutdown) -> Result<(), StorageError> {
        loop {
            match self.portion(&mut taken).await? {
                Step::More => {}
                Step::Over => return Ok(()),
                Step::Crowded => tokio::time::sleep(CROWDED).await,
            }
            if shutdown.is_down() {
                // Another process, or the next start, goes on at once.
                return expansions::release(&self.database, &taken, self.clock.now_ms()).await;
            }
        }
    }

    async fn portion(&self, taken: &mut Taken) -> Result<Step, StorageError> {
        let now = self.clock.now_ms();
        let Some(notification) = stored::find(&self.database, &taken.notification).await? else {
            expansions::end(&self.database, &taken.notification).await?;
            return Ok(Step::Over);
        };
        if notification.is_over(now) {
            tracing::warn!(
                notification = taken.notification,
                targets = taken.targets,
                "a notification to a segment ended before every device was addressed"
            );
            expansions::end(&self.database, &taken.notification).await?;
            return Ok(Step::Over);
        }
        if expansions::unfinished(&self.database, &taken.notification, MAX_WAITING).await? >= MAX_WAITING {
            let alive = Portion { last: None, targets: 0, skipped: 0, lease_until: Some(now + LEASE_MS) };
            let mut transaction = self.database.begin().await?;
            let ours = expansions::advance(&mut transaction, taken, alive).await?;
            transaction.commit().await?;
            return Ok(if ours { Step::Crowded } else { Step::Over });
        }
        let devices = expansions::next_devices(&self.database, taken, DEVICES).await?;
        let complete = i64::try_from(devices.len()).is_ok_and(|found| found < DEVICES);
        let targets = self.targets(&notification, &devices, now);
        let made = i64::try_from(targets.len()).unwrap_or(i64::MAX);
        let skipped = i64::try_from(devices.len()).unwrap_or(i64::MAX) - made;
        let last = devices.last().map(|device| device.id.as_str());
        let portion =
            Portion { last, targets: made, skipped, lease_until: (!complete).then_some(now + LEASE_MS) };
        let mut transaction = self.database.begin().await?;
        if !expansions::advance(&mut transaction, taken, portion).await? {
            return Ok(Step::Over);
        }
        let rows: Vec<_> = targets
            .iter()
            .zip(taken.targets..)
            .map(|(target, position)| (&notification.notification, target, position))
            .collect();
        queue::insert_targets(&mut transaction, &rows).await?;
        transaction.commit().await?;
        self.metrics.registry.expanded(made.unsigned_abs());
        let mut lanes: Vec<_> = targets.iter().map(NewTarget::lane).collect();
        lanes.sort_unstable();
        lanes.dedup();
        self.apps.wake_lanes(&lanes);
        if complete {
            tracing::info!(
                notification = taken.notification,
                targets = taken.targets + made,
                "every device of the segment is addressed"
            );
            return Ok(Step::Over);
        }
        taken.targets += made;
        if let Some(last) = last {
            last.clone_into(&mut taken.position);
        }
        Ok(Step::More)
    }

    /// One target for each device whose app is configured and takes this push; the others are counted.
    fn targets(&self, notification: &Stored, devices: &[Registered], now_ms: i64) -> Vec<NewTarget> {
        let mut taken_by: HashMap<(Provider, &str), bool> = HashMap::new();
        let mut targets = Vec::with_capacity(devices.len());
        for device in devices {
            let (provider, app) = (device.registration.provider, device.registration.app.as_str());
            let takes = *taken_by.entry((provider, app)).or_insert_with(|| {
                self.apps.lane(provider, app).is_some_and(|lane| notification.is_taken_by(lane))
            });
            if takes {
                targets.push(notification.target(self.ids.next(), device, now_ms));
            }
        }
        targets
    }
}
