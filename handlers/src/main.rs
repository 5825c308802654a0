//! `tidings-handlers`: the handlers' service as a process of its own.

use std::process::ExitCode;

use tidings_handlers::{Config, Listeners, SETTINGS, run};
use tidings_shared::{config, service};

fn main() -> ExitCode {
    let check = |settings: &_| Config::from_settings(settings).map(drop);
    service::main("handlers", &[config::SETTINGS, SETTINGS], check, |settings, shutdown, clock| async move {
        let config = Config::from_settings(&settings)?;
        let listeners = Listeners::bind(&config).await?;
        run(config, listeners, shutdown, clock).await
    })
}
