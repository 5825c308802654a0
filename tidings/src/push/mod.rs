//! `tidings push`: send, look and check, over the push-gateway's HTTP door.

mod arguments;
mod credentials;
mod devices;
mod send;
mod status;

use std::process::ExitCode;

use tidings_shared::config::Settings;

pub(crate) use arguments::PushCommand;

use crate::commands::say;
use crate::door::{Verdict, end};

/// Carries out a command. Ends with 0 when all is well, with 1 when a push or a credential is not, with 2 when that cannot be told.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) async fn run(settings: &Settings, command: &PushCommand) -> anyhow::Result<ExitCode> {
    let verdict = match command {
        PushCommand::Send(args) => send::run(settings, args).await,
        PushCommand::Status(args) => status::run(settings, args).await,
        PushCommand::Devices(args) => devices::run(settings, args).await,
        PushCommand::Credentials(command) => credentials::run(settings, command).await,
        PushCommand::Openapi => {
            say(&tidings_push_gateway::openapi::text()?)?;
            Ok(Verdict::Good)
        }
    };
    Ok(end(verdict))
}
