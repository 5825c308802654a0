//! `cargo xtask doctor`: what the tests need and what of it is here.

use anyhow::Result;

use crate::{audit, prerequisites, workspace};

/// Prints one line per need; true when nothing is missing.
pub(crate) fn run() -> Result<bool> {
    let mut complete = true;
    for (what, why, present) in prerequisites::report() {
        complete &= present;
        println!("{} {what}\n     {why}", if present { "ok     " } else { "MISSING" });
    }
    for (what, why, present) in [
        (
            "cargo-nextest",
            "runs the tests faster; without it `cargo test` runs them",
            workspace::on_path("cargo-nextest").is_some(),
        ),
        ("cargo-deny", "needed by `cargo xtask audit` only", audit::present()),
    ] {
        println!("{} {what}\n     {why}", if present { "ok     " } else { "without" });
    }
    if !complete {
        println!("\n`cargo xtask test` installs what is missing on Debian as root; elsewhere it prints the commands.");
    }
    Ok(complete)
}
