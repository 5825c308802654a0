//! Other clients of APNs, as their Python scripts in `clients/`. They are no dependencies of ours: whoever wants them in
//! the comparison installs them.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;

use super::super::table::Figures;
use super::PushBench;
use super::stage::{KEY_ID, Simulators, TEAM_ID, TOPIC};

const PATIENCE: Duration = Duration::from_secs(180);

/// A client.
pub(super) struct Peer {
    pub(super) name: &'static str,
    script: &'static str,
    install: &'static str,
}

/// All of them.
pub(super) const PEERS: &[Peer] = &[
    Peer { name: "aioapns", script: include_str!("clients/aioapns_client.py"), install: "pip install aioapns" },
    Peer {
        name: "httpx",
        script: include_str!("clients/httpx_client.py"),
        install: "pip install 'httpx[http2]' pyjwt cryptography",
    },
];

/// Sends `--peer-pushes` with a client.
///
/// # Errors
/// When it is not here or fails.
pub(super) async fn run(peer: &Peer, simulators: &Simulators, load: &PushBench) -> anyhow::Result<Figures> {
    let simulators_cpu = simulators.cpu_s()?;
    let mut command = Command::new(&load.python);
    command
        .args(["-c", peer.script])
        .arg(simulators.apns.port().to_string())
        .arg(simulators.ca())
        .arg(simulators.key())
        .args([KEY_ID, TEAM_ID, TOPIC])
        .arg(load.peer_pushes.to_string())
        .arg(load.at_once.to_string());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await
        .with_context(|| format!("it was not over within {} s", PATIENCE.as_secs()))?
        .with_context(|| format!("{} cannot be started; name a Python with --python", load.python.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().last().unwrap_or("it says nothing").to_owned();
        anyhow::bail!("{last} (to have it: {})", peer.install);
    }
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).context("its figures are no JSON")?;
    let number = |name: &str| said[name].as_f64().with_context(|| format!("it does not say {name}"));
    let (count, accepted) = (load.peer_pushes as f64, number("accepted")?);
    anyhow::ensure!(accepted >= count, "only {accepted} of {count} pushes were accepted");
    Ok(vec![
        ("pushes/s", count / number("seconds")?),
        ("CPU us/push", number("cpu_seconds")? * 1e6 / count),
        ("simulators CPU us/push", (simulators.cpu_s()? - simulators_cpu) * 1e6 / count),
    ])
}
