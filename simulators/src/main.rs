//! The simulators as a process of their own.

use std::process::ExitCode;

use tidings_shared::config;
use tidings_simulators::{Config, Listeners, SETTINGS, run};

fn main() -> ExitCode {
    let tables = [config::SETTINGS, SETTINGS];
    tidings_shared::service::main(
        "simulators",
        &tables,
        |_| Ok(()),
        |settings, shutdown, clock| async move {
            let config = Config::from_settings(&settings);
            let listeners = Listeners::bind(&config).await?;
            run(config, listeners, shutdown, clock).await
        },
    )
}
