//! The broker as a program of its own.

use std::process::ExitCode;

use tidings_broker::{Config, Listeners, SETTINGS, run};
use tidings_shared::auth::{Verifier, VerifierConfig};
use tidings_shared::clock::Clock;
use tidings_shared::config::{self, Settings};
use tidings_shared::service::{self, Processors};

fn check(settings: &Settings) -> anyhow::Result<()> {
    Config::from_settings(settings)?;
    Verifier::new(VerifierConfig::from_settings(settings), Clock::system())?;
    Ok(())
}

fn main() -> ExitCode {
    let tables = [config::SETTINGS, SETTINGS];
    service::main_on(Processors::AllButOne, "broker", &tables, check, |settings, shutdown, clock| async move {
        let config = Config::from_settings(&settings)?;
        let listeners = Listeners::bind(&config).await?;
        run(config, listeners, shutdown, clock).await
    })
}
