//! `tidings`: the command line, and every service in one process. It wires; the logic is in the services.

mod bench;
mod cli;
mod commands;
mod demo;
mod operate;
mod push;
mod services;
mod up;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tidings_shared::service::fail("tidings", &format!("the runtime cannot start: {error}")),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(code) => code,
        Err(error) => tidings_shared::service::fail("tidings", &format!("{error:#}")),
    }
}
