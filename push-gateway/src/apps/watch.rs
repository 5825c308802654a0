//! Looks after the credentials while the gateway runs: takes changed files over, shows when they expire, warns in time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tidings_shared::lifecycle::Shutdown;

use super::Apps;
use super::files::Fingerprint;
use super::loader::Loader;
use crate::config::AppConfig;
use crate::metrics::Metrics;

/// From so long before its end on, a credential that is not replaced is warned of.
const WARN_MS: i64 = 30 * 24 * 3_600_000;
/// Between two warnings.
const WARN_AGAIN_MS: i64 = 24 * 3_600_000;

/// What is known from one look to the next.
#[derive(Debug, Default)]
struct Known {
    fingerprints: HashMap<String, Fingerprint>,
    warned_at_ms: HashMap<(String, String), i64>,
}

/// Keeps up with the files until the shutdown; they are looked at `every` so often.
pub(crate) async fn keep(apps: Arc<Apps>, every: Duration, metrics: Arc<Metrics>, shutdown: Shutdown) {
    let mut known = Known::default();
    // What was loaded at the start, or has changed since: the first look finds out by loading it again.
    known.fingerprints.clone_from(&apps.fingerprints);
    loop {
        known.tell_expiry(&apps, &metrics);
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(every) => {}
        }
        let look_at = Arc::clone(&apps);
        let looked = tokio::task::spawn_blocking(move || {
            known.look(&look_at);
            known
        });
        let Ok(looked) = looked.await else {
            tracing::error!("the look at the credential files panicked; they are not watched any more");
            return;
        };
        known = looked;
    }
}

impl Known {
    /// Reads every app's files, and takes over those that have changed.
    fn look(&mut self, apps: &Apps) {
        for app in &apps.config.apps {
            let now = Fingerprint::of(app);
            if self.fingerprints.get(&app.name) == Some(&now) {
                continue;
            }
            if reload(apps, app) {
                self.warned_at_ms.retain(|(name, _), _| *name != app.name);
            }
            // Faults are kept and told; another look at the same files would find the same.
            self.fingerprints.insert(app.name.clone(), now);
        }
    }

    fn tell_expiry(&mut self, apps: &Apps, metrics: &Metrics) {
        let now_ms = apps.clock.now_ms();
        metrics.forget_credentials();
        for set in apps.sets() {
            for credential in set.credentials().iter() {
                let refused = super::credentials::ENVIRONMENTS.iter().any(|here| credential.is_refused(*here));
                let left_ms = credential.expires_at_ms().map(|end| end - now_ms);
                metrics.credential(set.provider, &set.app, credential.name(), refused, left_ms.map(|left| left / 1000));
                let Some(left_ms) = left_ms.filter(|left| *left < WARN_MS) else { continue };
                let key = (set.app.clone(), credential.name().to_owned());
                if self.warned_at_ms.get(&key).is_some_and(|warned| now_ms - warned < WARN_AGAIN_MS) {
                    continue;
                }
                self.warned_at_ms.insert(key, now_ms);
                tracing::warn!(
                    provider = %set.provider,
                    app = set.app,
                    credential = credential.name(),
                    days_left = left_ms.div_euclid(86_400_000),
                    "a credential ends soon: make a new one and put it in its place, or beside it in credentials_folder"
                );
            }
        }
    }
}

/// Whether the app's files could be taken over.
fn reload(apps: &Apps, app: &AppConfig) -> bool {
    let mut shared = apps.shared();
    let mut loader = Loader::new(&apps.config, &apps.clock, &mut shared);
    let loaded = loader.app(app);
    let faults = loader.into_faults();
    shared.forget_unused();
    drop(shared);
    if !faults.is_empty() {
        let mut new = false;
        for set in apps.sets().filter(|set| set.app == app.name) {
            new |= set.note_faults(faults.clone());
        }
        if new {
            tracing::error!(
                app = app.name,
                "changed credential files cannot be used, the ones before stay in use: {}",
                faults.join("; ")
            );
        }
        return false;
    }
    for (provider, credentials) in loaded {
        let (Some(set), Some(lane)) = (apps.set(provider, &app.name), apps.lane(provider, &app.name)) else { continue };
        let names: Vec<_> = credentials.iter().map(|credential| credential.name.clone()).collect();
        set.replace(credentials);
        lane.ask_again();
        tracing::info!(%provider, app = app.name, credentials = names.join(", "), "the credential files were taken over");
    }
    true
}

#[cfg(test)]
mod tests;
