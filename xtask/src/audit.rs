//! `cargo xtask audit`: licences, banned crates, sources and known vulnerabilities, by cargo-deny and deny.toml.

use anyhow::{Result, bail};

use crate::{shell, workspace};

/// Whether cargo-deny is installed.
pub(crate) fn present() -> bool {
    workspace::on_path("cargo-deny").is_some()
}

/// Runs every check of cargo-deny; true when all are good.
pub(crate) fn run() -> Result<bool> {
    if !present() {
        bail!(
            "cargo-deny is not installed; get it with\n  cargo install --locked cargo-deny\nand run `cargo xtask audit` again"
        );
    }
    println!("== licences, bans, sources");
    let mut good = shell::show(shell::cargo(&["deny", "--all-features", "check", "bans", "licenses", "sources"]))?;
    println!("== known vulnerabilities (fetches the RustSec database)");
    good &= shell::show(shell::cargo(&["deny", "--all-features", "check", "advisories"]))?;
    Ok(good)
}
