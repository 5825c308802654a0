//! The simulators of APNs and FCM, started for one test.

use std::path::PathBuf;

use tidings_shared::clock::Clock;
use tidings_shared::config::Loader;
use tidings_shared::lifecycle::Shutdown;
use tidings_simulators::{Config, Listeners, SETTINGS, Simulators};

/// Running simulators; they stop when this is dropped.
pub(crate) struct Simulation {
    pub(crate) simulators: Simulators,
    pub(crate) folder: tempfile::TempDir,
    shutdown: Shutdown,
}

impl Drop for Simulation {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Simulation {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::with_clock(settings, &Clock::system()).await
    }

    pub(crate) async fn with_clock(settings: &[(&str, &str)], clock: &Clock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut loader = Loader::new(&[tidings_shared::config::SETTINGS, SETTINGS])
            .flag("--data", "data", folder.path().display().to_string())
            .flag("--set", "simulators.apns.listen", "127.0.0.1:0")
            .flag("--set", "simulators.fcm.listen", "127.0.0.1:0")
            .flag("--set", "simulators.control.listen", "127.0.0.1:0");
        for (path, value) in settings {
            loader = loader.flag("--set", path, value.replace("DATA", &folder.path().display().to_string()));
        }
        let config = Config::from_settings(&loader.load().unwrap());
        let listeners = Listeners::bind(&config).await.unwrap();
        let shutdown = Shutdown::new();
        let simulators = Simulators::new(&config, &listeners, clock, shutdown.clone()).unwrap();
        tokio::spawn(simulators.clone().serve(listeners));
        Self { simulators, folder, shutdown }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.simulators.credentials().ca_file.clone().unwrap()
    }
}
