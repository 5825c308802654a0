//! The simulated providers, on ports of their own.

use tidings_shared::clock::Clock;
use tidings_shared::config::Loader;
use tidings_shared::lifecycle::Shutdown;
use tidings_simulators::{Listeners, Simulators};

/// Starts them; they end with the shutdown.
pub(crate) async fn simulators(folder: &tempfile::TempDir, shutdown: &Shutdown) -> Simulators {
    let loader = ["simulators.apns.listen", "simulators.fcm.listen", "simulators.control.listen"].into_iter().fold(
        Loader::new(&[tidings_shared::config::SETTINGS, tidings_simulators::SETTINGS]).flag(
            "--data",
            "data",
            folder.path().display().to_string(),
        ),
        |loader, listen| loader.flag("--set", listen, "127.0.0.1:0"),
    );
    let config = tidings_simulators::Config::from_settings(&loader.load().unwrap());
    let listeners = Listeners::bind(&config).await.unwrap();
    let simulators = Simulators::new(&config, &listeners, &Clock::system(), shutdown.clone()).unwrap();
    tokio::spawn(simulators.clone().serve(listeners));
    simulators
}
