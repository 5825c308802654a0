//! `cargo xtask simulate`: the broker's engine in simulated time, or the pass service with its devices, over more random
//! histories than a test run plays.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::postgres::Postgres;
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
    /// Whose histories
    #[arg(long, value_enum, default_value = "broker")]
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The broker's engine, in simulated time
    Broker,
    /// Two processes of the pass service on each database, and devices
    Wallet,
}

/// Plays them; true when no promise was broken.
pub(crate) fn run(arguments: &SimulateArguments) -> Result<bool> {
    let postgres = if arguments.what == What::Wallet { Some(Postgres::start()?) } else { None };
    let mut command = command(arguments.what);
    if let Some(postgres) = &postgres {
        command.env("TIDINGS_TEST_POSTGRES", postgres.url());
    }
    let last = arguments.first.saturating_add(arguments.seeds);
    command.env("TIDINGS_SEEDS", format!("{}..{last}", arguments.first));
    let (succeeded, tally) = shell::show_and_count(command)?;
    ensure!(tally.passed + tally.failed > 0, "there is no test named `simulation`; nothing was played");
    Ok(succeeded)
}

/// The whole workspace, as the suite builds it: one package alone has other features, and compiles everything anew.
fn command(what: What) -> Command {
    let tests: &[&str] = match what {
        What::Broker => &["--lib"],
        What::Wallet => &["--test", "it"],
    };
    let (before, after) = (["test", "--workspace", "--locked"], ["--", "simulation", "--nocapture"]);
    shell::cargo(&[&before, tests, &after].concat())
}
