//! `tidings`: the command line, and every service in one process. It wires; the logic is in the services.

mod bench;
mod cli;
mod commands;
mod demo;
mod door;
mod operate;
mod pass;
mod push;
mod services;
mod table;
mod up;

use std::process::ExitCode;

use clap::Parser;
use tidings_shared::service::{self, Processors};

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let processors = match cli.command {
        Some(cli::Command::Run { service: cli::Service::Broker }) => Processors::AllButOne,
        _ => Processors::All,
    };
    let runtime = match service::runtime(processors) {
        Ok(runtime) => runtime,
        Err(error) => return service::fail("tidings", &format!("the runtime cannot start: {error}")),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(code) => code,
        Err(error) => service::fail("tidings", &format!("{error:#}")),
    }
}
