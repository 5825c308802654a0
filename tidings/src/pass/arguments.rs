//! What can be typed after `tidings pass`. Rooms with many arguments keep theirs in their own file.

use clap::{Args, Subcommand};

use crate::door::Where;

/// What the passbook-service is asked.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PassCommand {
    /// Show a pass.
    Show(ShowArgs),
    /// Google Wallet: save links, and what Google was told.
    #[command(subcommand)]
    Google(super::google::GoogleCommand),
    /// Push to many devices, as fast as the service bears their answers.
    #[command(subcommand)]
    Campaign(super::campaign::CampaignCommand),
    /// Take over another provider's passes, tokens and registrations. The same file again goes on where it stopped.
    Import(Box<super::import::ImportArgs>),
    /// Count devices by when they were last heard of.
    Devices(super::devices::DevicesArgs),
    /// What devices complain of, what it means and what to do. Ends with 1 while they complain of something.
    Diagnose(super::devices::DiagnoseArgs),
    /// Orders of Apple's order tracking.
    #[command(subcommand)]
    Order(super::order::OrderCommand),
    /// Print the OpenAPI document of the passbook-service.
    Openapi,
}

/// A pass's name.
#[derive(Clone, Debug, Args)]
pub(crate) struct PassName {
    /// The serial number.
    pub(crate) serial: String,
    /// The pass type identifier (default: `wallet.pass_type`).
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) pass_type: Option<String>,
}

impl PassName {
    /// The pass type: what was typed, else the configuration's.
    pub(crate) fn pass_type(&self, settings: &tidings_shared::config::Settings) -> String {
        self.pass_type.clone().unwrap_or_else(|| settings.text("wallet.pass_type"))
    }
}

/// Which pass is shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) pass: PassName,
    /// Print the service's JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) at: Where,
}
