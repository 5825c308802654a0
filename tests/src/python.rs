//! The Python with the foreign clients, which `cargo xtask test` sets up, and the scripts in `tests/clients/`.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::running::Running;

/// A command that runs one of the scripts in `tests/clients/`.
///
/// # Panics
/// When there is no such Python: a test that cannot run fails.
#[must_use]
pub fn command(script: &str) -> Command {
    let python = env::var_os("TIDINGS_TEST_PYTHON").unwrap_or_else(|| {
        panic!(
            "TIDINGS_TEST_PYTHON is not set; `cargo xtask test {script}` sets up the Python clients and this variable"
        )
    });
    let mut command = Command::new(python);
    command.arg("-u").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script));
    command
}

/// Starts a script.
#[must_use]
pub fn start(script: &str, arguments: &[&str]) -> Running {
    let mut command = command(script);
    command.args(arguments);
    Running::start(script, command)
}
