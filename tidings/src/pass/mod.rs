//! `tidings pass`: templates, passes and their pictures, over the passbook-service's HTTP door or without one.

mod arguments;
mod bulk;
mod campaign;
mod certificates;
mod change;
mod devices;
mod give;
mod google;
mod history;
mod import;
mod issue;
mod order;
mod preview;
mod progress;
mod show;
mod template;

use std::process::ExitCode;

use tidings_shared::config::Settings;

pub(crate) use arguments::PassCommand;

use crate::commands::say;
use crate::door::{Verdict, end};

/// Carries out a command. Ends with 0 when all is well, with 1 when what was looked at is not, with 2 when that cannot be
/// told.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) async fn run(settings: &Settings, command: &PassCommand) -> anyhow::Result<ExitCode> {
    let verdict = match command {
        PassCommand::Template(command) => template::run(settings, command).await,
        PassCommand::Issue(args) => issue::run(settings, args).await,
        PassCommand::Show(args) => show::run(settings, args).await,
        PassCommand::Update(args) => change::update(settings, args).await,
        PassCommand::Void(args) => change::void(settings, args).await,
        PassCommand::Expire(args) => change::expire(settings, args).await,
        PassCommand::Bulk(args) => bulk::run(settings, args).await,
        PassCommand::History(args) => history::list(settings, args).await,
        PassCommand::Diff(args) => history::diff(settings, args).await,
        PassCommand::Link(args) => give::link(settings, args).await,
        PassCommand::Bundle(args) => give::bundle(settings, args).await,
        PassCommand::Preview(args) => preview::run(settings, args).await,
        PassCommand::Certificates(args) => certificates::run(settings, args).await,
        PassCommand::Google(command) => google::run(settings, command).await,
        PassCommand::Campaign(command) => campaign::run(settings, command).await,
        PassCommand::Import(args) => import::run(settings, args).await,
        PassCommand::Devices(args) => devices::devices(settings, args).await,
        PassCommand::Diagnose(args) => devices::diagnose(settings, args).await,
        PassCommand::Order(command) => order::run(settings, command).await,
        PassCommand::Openapi => {
            say(&tidings_passbook_service::openapi::text()?)?;
            Ok(Verdict::Good)
        }
    };
    Ok(end(verdict))
}
