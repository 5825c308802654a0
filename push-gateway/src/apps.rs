//! The configured apps: their credentials are read and checked at the start, and looked after while the gateway runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_shared::clock::Clock;
use tidings_shared::push_api::{AppState, Provider};

use crate::config::Config;
use crate::queue::lane::Lane;
use crate::queue::lane_name;

mod advice;
mod certificate;
mod credential;
mod credentials;
mod files;
mod foreign;
mod loader;
mod probe;
pub(crate) mod watch;

#[cfg(test)]
mod tests;

pub(crate) use credentials::{Client, CredentialSet};
use files::Fingerprint;
use loader::{Loader, Shared};

/// All configured apps, each with a lane and a set of credentials for each of its providers.
#[derive(Debug)]
pub(crate) struct Apps {
    lanes: HashMap<String, Arc<Lane>>,
    sets: HashMap<String, Arc<CredentialSet>>,
    config: Config,
    clock: Clock,
    shared: Mutex<Shared>,
    /// What stood in each app's files when they were read.
    fingerprints: HashMap<String, Fingerprint>,
}

/// Faults in the settings or files of apps, all of them.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct AppFaults(Vec<String>);

impl Apps {
    /// Reads all credentials. No connection is made.
    pub(crate) fn load(config: &Config, clock: &Clock) -> Result<Self, AppFaults> {
        let mut shared = Shared::default();
        // Before the files are read: a change in between is found at the first look.
        let fingerprints = config.apps.iter().map(|app| (app.name.clone(), Fingerprint::of(app))).collect();
        let recheck_ms = i64::try_from(config.recheck.as_millis()).unwrap_or(i64::MAX);
        let mut loader = Loader::new(config, clock, &mut shared);
        let (mut lanes, mut sets) = (HashMap::new(), HashMap::new());
        for app in &config.apps {
            for (provider, loaded) in loader.app(app) {
                let set = Arc::new(CredentialSet::new(provider, &app.name, loaded, recheck_ms, clock.clone()));
                let lane = Lane::new(provider, &app.name, Arc::clone(&set) as _);
                sets.insert(lane.name.clone(), set);
                lanes.insert(lane.name.clone(), Arc::new(lane));
            }
        }
        let faults = loader.into_faults();
        if !faults.is_empty() {
            return Err(AppFaults(faults));
        }
        Ok(Self { lanes, sets, config: config.clone(), clock: clock.clone(), shared: Mutex::new(shared), fingerprints })
    }

    pub(crate) fn lane(&self, provider: Provider, app: &str) -> Option<&Arc<Lane>> {
        self.lanes.get(&lane_name(provider, app))
    }

    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.lanes.values()
    }

    /// The credentials of an app at a provider.
    pub(crate) fn set(&self, provider: Provider, app: &str) -> Option<&Arc<CredentialSet>> {
        self.sets.get(&lane_name(provider, app))
    }

    fn sets(&self) -> impl Iterator<Item = &Arc<CredentialSet>> {
        self.sets.values()
    }

    /// The state of every app, in the order of their names.
    pub(crate) fn states(&self) -> Vec<AppState> {
        let mut states: Vec<_> = self.sets().map(|set| set.state()).collect();
        states.sort_by(|a, b| (&a.app, a.provider).cmp(&(&b.app, b.provider)));
        states
    }

    /// The names of the apps that a provider has, in order.
    pub(crate) fn names(&self, provider: Provider) -> Vec<&str> {
        let mut names: Vec<_> =
            self.lanes.values().filter(|lane| lane.provider == provider).map(|lane| lane.app.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Tells lanes that something is due.
    pub(crate) fn wake_lanes(&self, names: &[String]) {
        for name in names {
            if let Some(lane) = self.lanes.get(name) {
                lane.wake.notify_one();
            }
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Apps {
    /// Apps that are nothing but their lanes.
    pub(crate) fn of_lanes(lanes: Vec<Lane>) -> Self {
        let settings =
            tidings_shared::config::Loader::new(&[tidings_shared::config::SETTINGS, crate::SETTINGS]).load().unwrap();
        Self {
            lanes: lanes.into_iter().map(|lane| (lane.name.clone(), Arc::new(lane))).collect(),
            sets: HashMap::new(),
            config: Config::from_settings(&settings),
            clock: Clock::system(),
            shared: Mutex::default(),
            fingerprints: HashMap::new(),
        }
    }
}
