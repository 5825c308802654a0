//! What can be typed after `tidings pass`. Rooms with many arguments keep theirs in their own file.

use clap::{Args, Subcommand};

use crate::door::Where;

/// What the passbook-service is asked.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PassCommand {
    /// Show a pass.
    Show(ShowArgs),
    /// Show which certificates sign, and until when.
    Certificates(super::certificates::CertificatesArgs),
    /// Google Wallet: save links, and what Google was told.
    #[command(subcommand)]
    Google(super::google::GoogleCommand),
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
