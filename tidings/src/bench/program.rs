//! One of our own services as a process of its own, for as long as it is measured.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

use super::door::Door;

const PATIENCE: Duration = Duration::from_secs(30);

/// A program under way.
pub(super) struct Program {
    name: &'static str,
    child: Child,
}

impl Program {
    /// Starts `tidings run NAME` with these settings and waits until its `/readyz`, asked with this key, says so.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) async fn start(
        name: &'static str,
        settings: &[(&str, String)],
        http: SocketAddr,
        key: &str,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", name, "--set", "telemetry.level=error"]);
        for (key, value) in settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let ready = async {
            loop {
                if let Some(status) = child.try_wait()? {
                    anyhow::bail!("{name} ended at its start: {status}");
                }
                if let Ok(mut door) = Door::open(http, key).await
                    && door.call("GET", "/readyz", "").await.is_ok_and(|answer| answer.status == 200)
                {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.with_context(|| format!("{name} does not get ready"))??;
        Ok(Self { name, child })
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    /// Ends it.
    pub(super) async fn end(mut self) {
        // It may have ended by itself, which the measurement has told already.
        let _ = self.child.kill().await;
    }
}
