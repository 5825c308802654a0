//! The simulators as a process of their own.

use std::process::ExitCode;

use tidings_shared::config;
use tidings_simulators::{Config, Listeners, SETTINGS, run};

fn main() -> ExitCode {
    tidings_shared::service::main("simulators", &[config::SETTINGS, SETTINGS], |settings, shutdown, clock| async move {
        let config = Config::from_settings(&settings);
        let listeners = Listeners::bind(&config).await?;
        run(config, listeners, shutdown, clock).await
    })
}
