//! `tidings pass google link|status`.

use clap::{Args, Subcommand};
use reqwest::Method;
use tidings_shared::config::Settings;

use super::arguments::PassName;
use super::show::text;
use crate::commands::say;
use crate::door::{Door, Room, Verdict, Where};
use crate::operate::moment;
use crate::table::table;

/// Google Wallet.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum GoogleCommand {
    /// Make a link that saves a pass to Google Wallet. From then on Google hears of the pass's changes.
    Link(GoogleArgs),
    /// Show what Google was told of a pass. Ends with 1 when Google does not have the latest version.
    Status(StatusArgs),
}

/// Which pass.
#[derive(Clone, Debug, Args)]
pub(crate) struct GoogleArgs {
    #[command(flatten)]
    pub(crate) pass: PassName,
    /// Print the service's JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) at: Where,
}

/// Which pass, and whether Google is asked too.
#[derive(Clone, Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) of: GoogleArgs,
    /// Ask Google whether somebody has saved it.
    #[arg(long)]
    pub(crate) live: bool,
}

pub(super) async fn run(settings: &Settings, command: &GoogleCommand) -> anyhow::Result<Verdict> {
    let (method, args, query) = match command {
        GoogleCommand::Link(args) => (Method::POST, args, None),
        GoogleCommand::Status(args) => (Method::GET, &args.of, args.live.then_some(("live", "true"))),
    };
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let pass_type = args.pass.pass_type(settings);
    let answer =
        door.ask(method, &["passes", &pass_type, &args.pass.serial, "google"], query.as_slice(), None, None).await?;
    let verdict = match command {
        GoogleCommand::Status(_) if answer["upToDate"] != true => Verdict::Bad,
        _ => Verdict::Good,
    };
    if args.json {
        say(&format!("{answer:#}\n"))?;
    } else if let GoogleCommand::Link(_) = command {
        say(&format!("{}\n", text(&answer["saveUrl"])))?;
    } else {
        let rows: Vec<_> = answer
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                let shown = if name.ends_with("At") { value.as_i64().map(moment) } else { None };
                vec![name.clone(), shown.unwrap_or_else(|| text(value))]
            })
            .collect();
        say(&table(&["google", ""], &rows))?;
    }
    Ok(verdict)
}
