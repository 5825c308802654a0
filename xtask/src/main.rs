//! `cargo xtask`: what a contributor and the continuous integration run, in one place.
#![expect(clippy::print_stdout, reason = "a command line tool speaks on its standard output")]

mod audit;
mod doctor;
mod postgres;
mod prerequisites;
mod python;
mod shell;
mod simulate;
mod steps;
mod summary;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tidings' workbench.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install what the tests need, then run formatting, clippy, the docs build and every test
    Test(steps::TestArguments),
    /// Check licences, banned crates, sources and known vulnerabilities with cargo-deny
    Audit,
    /// Tell what the tests need and what of it is here; install nothing
    Doctor,
    /// Play the broker's engine, or the pass service with its devices, over many random histories
    Simulate(simulate::SimulateArguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Test(arguments) => steps::run(&arguments),
        Task::Audit => audit::run(),
        Task::Doctor => doctor::run(),
        Task::Simulate(arguments) => simulate::run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
