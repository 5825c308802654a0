//! Libraries that nobody here wrote, in Python.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs a script of `tests/clients` with this on its standard input and reads the JSON that it prints. `None` when there is no
/// Python for it and `TIDINGS_TEST_STRICT` does not ask for one.
pub(crate) async fn python(script: &str, input: &Value) -> Option<Value> {
    let Some(python) = std::env::var_os("TIDINGS_TEST_PYTHON") else {
        let strict = std::env::var("TIDINGS_TEST_STRICT").is_ok_and(|strict| strict == "1");
        assert!(
            !strict,
            "TIDINGS_TEST_PYTHON is not set: the Python with the clients, see tests/clients/requirements.txt"
        );
        eprintln!("NOT RUN: {script} needs TIDINGS_TEST_PYTHON; `cargo xtask test` sets it");
        return None;
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    let mut child = Command::new(python)
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(std::time::Duration::from_secs(60), child.wait_with_output()).await.unwrap();
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{script}: {error}: {errors}")))
}
