//! The push-gateway as a program of its own.

use std::process::ExitCode;

use tidings_push_gateway::{Config, Listeners, SETTINGS, run};
use tidings_shared::config;

fn main() -> ExitCode {
    tidings_shared::service::main(
        "push-gateway",
        &[config::SETTINGS, SETTINGS],
        tidings_push_gateway::check,
        |settings, shutdown, clock| async move {
            let config = Config::from_settings(&settings);
            let listeners = Listeners::bind(&config).await?;
            run(config, listeners, shutdown, clock).await
        },
    )
}
