//! The Python environment with the foreign clients: pinned, in the target folder, made once per set of pins.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{shell, workspace};

/// The pins, one `name==version` a line.
const REQUIREMENTS: &str = "tests/clients/requirements.txt";

/// The first Python that can make a virtual environment.
pub(crate) fn interpreter() -> Option<PathBuf> {
    [workspace::on_path("python3"), Some(PathBuf::from("/usr/bin/python3"))].into_iter().flatten().find(|python| {
        let mut probe = shell::command(python);
        // Debian's Python has `venv` but not `ensurepip` until python3-venv is installed.
        probe.args(["-c", "import venv, ensurepip"]);
        shell::output(probe).is_ok()
    })
}

/// The environment's Python, with the environment made or renewed when the pins changed.
pub(crate) fn ensure() -> Result<PathBuf> {
    let pins = fs::read_to_string(workspace::root().join(REQUIREMENTS))
        .with_context(|| format!("could not read {REQUIREMENTS}"))?;
    let base = interpreter().context("no Python 3 with venv was found")?;
    let mut hasher = DefaultHasher::new();
    (&pins, &base).hash(&mut hasher);
    let folder = workspace::target().join(format!("test-python-{:016x}", hasher.finish()));
    let python = folder.join("bin/python");
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(python);
    }
    println!("making the Python environment {}", folder.display());
    let mut make = shell::command(&base);
    make.args(["-m", "venv", "--clear"]).arg(&folder);
    shell::output(make)?;
    let mut install = shell::command(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", REQUIREMENTS]);
    shell::output(install).context("pip could not install the foreign clients")?;
    fs::write(&complete, pins)?;
    Ok(python)
}
