//! `tidings push`: send, look and check, over the push-gateway's HTTP door.

mod arguments;
mod credentials;
mod devices;
mod door;
mod send;
mod status;
mod table;

use std::process::ExitCode;

use tidings_shared::config::Settings;

pub(crate) use arguments::PushCommand;

use crate::commands::say;

/// What a command found out. It decides how the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Ends with 0.
    Good,
    /// Ends with 1.
    Bad,
}

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
    Ok(match verdict {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::from(1),
        Err(error) => {
            let _ = tidings_shared::service::fail("tidings", &format!("{error:#}"));
            ExitCode::from(2)
        }
    })
}
