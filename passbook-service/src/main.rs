//! The passbook-service as a program.

use std::process::ExitCode;

use tidings_passbook_service::{Config, Listeners, SETTINGS, run};

fn main() -> ExitCode {
    tidings_shared::service::main(
        "passbook-service",
        &[tidings_shared::config::SETTINGS, SETTINGS],
        |settings| Config::from_settings(settings).map(drop),
        async |settings, shutdown, clock| {
            let config = Config::from_settings(&settings)?;
            let listeners = Listeners::bind(&config).await?;
            run(config, listeners, shutdown, clock).await
        },
    )
}
