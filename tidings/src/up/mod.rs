//! `tidings up`: everything in one process over loopback sockets, the code of the separate services.

pub(crate) mod development;
mod ready;
pub(crate) mod settings;
mod table;
pub(crate) mod wiring;

use std::path::PathBuf;

use anyhow::Context;
use tidings_shared::clock::Clock;
use tidings_shared::config::Settings;
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::telemetry::{self, Loggly};
use tidings_simulators::Simulators;

use crate::cli::{Common, UpArgs};
use crate::commands::say;
use crate::services::{Together, bind_all};
use settings::Defaults;

const PORTS_HINT: &str = "not everything can be started (`--port-offset 1000` moves every port)";

/// Everything, running in this process.
pub(crate) struct Up {
    /// The settings in force.
    pub(crate) settings: Settings,
    /// The simulators.
    pub(crate) simulators: Simulators,
    together: Together,
    shutdown: Shutdown,
    loggly: Option<Loggly>,
    /// Removed when it is dropped.
    _ephemeral: Option<tempfile::TempDir>,
}

impl Up {
    /// Makes what is missing in the data folder, binds every socket and starts every service.
    ///
    /// # Errors
    /// What is wrong with the configuration, a folder, a certificate or a port.
    pub(crate) async fn start(common: &Common, args: &UpArgs, quiet: bool, shutdown: Shutdown) -> anyhow::Result<Self> {
        let clock = Clock::system();
        let mut defaults = Defaults::default();
        // That passes are signed with a development certificate is what the table says already.
        defaults.set("telemetry.level", if quiet { "error" } else { "warn,tidings_passbook_service::run=error" });
        let ephemeral = if args.ephemeral {
            let folder =
                tempfile::Builder::new().prefix("tidings-").tempdir().context("no temporary folder can be made")?;
            defaults.set("data", folder.path().display());
            Some(folder)
        } else {
            None
        };
        let first = settings::load(common, args, &defaults)?;
        let loggly = telemetry::init(&first, "tidings")?;
        prepare_data_folder(&first.path("data"))?;
        wiring::before_simulators(&first, &mut defaults, &clock)?;
        let second = settings::load(common, args, &defaults)?;

        let config = tidings_simulators::Config::from_settings(&second);
        let listeners = tidings_simulators::Listeners::bind(&config).await.context(PORTS_HINT)?;
        let simulators = Simulators::new(&config, &listeners, &clock, shutdown.clone())?;
        wiring::after_simulators(&second, &simulators, &mut defaults)?;
        let settings = settings::load(common, args, &defaults)?;

        let mut together = Together::new(shutdown.clone());
        let bound = bind_all(&settings).await.context(PORTS_HINT)?;
        together.start_task("the simulators", simulators.clone().serve(listeners));
        for service in bound {
            together.start(service, &clock);
        }
        Ok(Self { settings, simulators, together, shutdown, loggly, _ephemeral: ephemeral })
    }

    /// Waits until every service says that it is ready; `false`: a signal came first, and everything has stopped.
    ///
    /// # Errors
    /// When one of them fails, or is not ready within a minute; the text says what it misses.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<bool> {
        tokio::select! {
            ready = ready::wait_for_all(&self.settings) => match ready {
                // What has failed is the cause, not that it is missing.
                Err(_) if self.shutdown.is_down() => self.together.wait().await.map(|()| false),
                ready => ready.map(|()| true),
            },
            ended = self.together.wait() => ended.map(|()| false),
        }
    }

    /// Runs until the shutdown.
    ///
    /// # Errors
    /// The first service that failed.
    pub(crate) async fn wait(&mut self) -> anyhow::Result<()> {
        let result = self.together.wait().await;
        if let Some(loggly) = &self.loggly {
            loggly.flush().await;
        }
        result
    }

    /// Stops everything and waits for it.
    ///
    /// # Errors
    /// The first service that failed.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.begin();
        self.wait().await
    }
}

/// Runs `tidings up` until a signal.
///
/// # Errors
/// What stopped it.
pub(crate) async fn run(common: &Common, args: &UpArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let mut up = Up::start(common, args, false, shutdown).await?;
    match up.ready().await {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(error) => {
            // The cause is told; what the other services say while they stop adds nothing.
            let _ = up.stop().await;
            return Err(error);
        }
    }
    say(&table::table(&up)?)?;
    say("tidings is ready\n")?;
    let result = up.wait().await;
    say("stopped; everything is stored\n")?;
    result
}

/// Makes the folder and proves that it can be written.
fn prepare_data_folder(folder: &PathBuf) -> anyhow::Result<()> {
    let remedy =
        "choose another with --data DIR, keep nothing with --ephemeral, or give this user the right to write there";
    std::fs::create_dir_all(folder)
        .with_context(|| format!("the data folder {} cannot be made; {remedy}", folder.display()))?;
    let probe = tempfile::Builder::new().prefix(".probe-").tempfile_in(folder);
    probe.with_context(|| format!("the data folder {} cannot be written; {remedy}", folder.display()))?;
    Ok(())
}
