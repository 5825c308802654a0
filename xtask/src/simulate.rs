//! `cargo xtask simulate`: the broker's engine in simulated time, over more random histories than a test run plays.

use anyhow::{Result, ensure};

use crate::shell;

/// How much to play.
#[derive(clap::Args)]
pub(crate) struct SimulateArguments {
    /// How many histories to play
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed; a failure names its own, so that it can be played again
    #[arg(long, default_value_t = 0)]
    first: u64,
}

/// Plays them; true when no promise was broken.
pub(crate) fn run(arguments: &SimulateArguments) -> Result<bool> {
    // The whole workspace, as the suite builds it: one package alone has other features, and compiles everything anew.
    let mut command = shell::cargo(&["test", "--workspace", "--locked", "--lib", "--", "simulation", "--nocapture"]);
    let last = arguments.first.saturating_add(arguments.seeds);
    command.env("TIDINGS_SEEDS", format!("{}..{last}", arguments.first));
    let (succeeded, tally) = shell::show_and_count(command)?;
    ensure!(tally.passed + tally.failed > 0, "the broker has no test named `simulation`; nothing was played");
    Ok(succeeded)
}
