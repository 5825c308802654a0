//! Where the real programs are: next to the test's own executable, built when needed.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;
use std::{env, fs};

static BUILT: Once = Once::new();

/// The path of one of the workspace's programs, such as `tidings` or `tidings-broker`.
///
/// # Panics
/// When it cannot be built or found; the message says how to build it.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    BUILT.call_once(build);
    let path = folder().join(name);
    assert!(
        path.is_file(),
        "{} is missing: the tests start the real programs. Build them with `cargo build --workspace --bins`.",
        path.display()
    );
    path
}

/// `target/debug` for `target/debug/deps/it-0123456789abcdef`.
fn folder() -> PathBuf {
    let test = env::current_exe().expect("the path of the test's executable");
    test.ancestors().nth(2).expect("the test's executable is in target/PROFILE/deps").to_path_buf()
}

/// Builds the programs unless `cargo xtask test` has just done so (it says so in `TIDINGS_TEST_BINARIES`).
fn build() {
    if env::var("TIDINGS_TEST_BINARIES").is_ok_and(|value| value == "built") {
        return;
    }
    // nextest runs every test in a process of its own; one of them builds, the others see the mark it leaves.
    let run = env::var("NEXTEST_RUN_ID").ok();
    let folder = folder();
    let lock = fs::File::create(folder.join(".tidings-tests-build")).expect("a lock for the build");
    lock.lock().expect("the lock for the build");
    let mark = folder.join(".tidings-tests-built");
    if run.is_some() && fs::read_to_string(&mark).ok() == run {
        return;
    }
    let target = folder.parent().expect("a target folder");
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--quiet", "--workspace", "--bins", "--target-dir"])
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "the programs do not build:\n{}", String::from_utf8_lossy(&output.stderr));
    if let Some(run) = run {
        fs::write(mark, run).expect("the mark of the build");
    }
}
