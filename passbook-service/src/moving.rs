//! The tasks of campaigns, of devices that do not answer, and of alerts, put together.

use std::sync::Arc;

use tidings_shared::clock::Clock;
use tidings_shared::lifecycle::Shutdown;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::campaign::{self, Gateway, Runner};
use crate::config::Config;
use crate::diagnose::Alerter;
use crate::metrics::Metrics;
use crate::prune::{Follower, Pruner};
use crate::store::Store;
use crate::token::random_hex;

/// What the tasks stand on.
pub(crate) struct Moving {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) client: reqwest::Client,
    /// Told when a campaign may go on.
    pub(crate) campaigns: Arc<Notify>,
}

impl Moving {
    /// Starts the tasks.
    ///
    /// # Errors
    /// When the system has no randomness to name this process with.
    pub(crate) fn spawn(self, config: &Config, tasks: &mut JoinSet<()>, shutdown: &Shutdown) -> anyhow::Result<()> {
        let process = random_hex::<8>()?;
        let Self { store, clock, metrics, client, campaigns } = self;
        let (url, keys) = (config.gateway_url.clone(), config.service_keys.clone());
        let runner = Runner {
            store: store.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            gateway: Gateway { client: client.clone(), url: url.clone(), keys: keys.clone() },
            process: process.clone(),
            wake: campaigns,
        };
        let pruner = Pruner {
            store: store.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            process: process.clone(),
            limits: config.prune,
        };
        let follower = Follower {
            store: store.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            process: process.clone(),
            client,
            gateway_url: url,
            keys,
        };
        if let Some(url) = config.diagnosis_webhook.clone() {
            let secret = config.diagnosis_secret.clone();
            let (store, clock, client) = (store.clone(), clock.clone(), follower.client.clone());
            tasks.spawn(Alerter { store, clock, client, url, secret }.run(shutdown.clone()));
        }
        tasks.spawn(runner.run(shutdown.clone()));
        tasks.spawn(campaign::report_load(store, clock, metrics.load, process, shutdown.clone()));
        tasks.spawn(pruner.run(shutdown.clone()));
        tasks.spawn(follower.run(shutdown.clone()));
        Ok(())
    }
}
