//! The programs of the measurement, each a process of its own: the simulators and a gateway that sends to them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

use super::super::peer::free_address;
use super::super::process;
use super::door::Door;

/// The key of the load.
pub(super) const KEY: &str = "bench-service-key";
/// The app's topic.
pub(super) const TOPIC: &str = "dev.tidings.bench";
/// The id of the simulators' key, and the team's.
pub(super) const KEY_ID: &str = tidings_simulators::apns::DEVELOPMENT_KEY;
pub(super) const TEAM_ID: &str = tidings_simulators::apns::DEVELOPMENT_TEAM;
const PATIENCE: Duration = Duration::from_secs(30);

/// A program under way.
struct Program {
    name: &'static str,
    child: Child,
}

impl Program {
    async fn start(name: &'static str, settings: &[(&str, String)], http: SocketAddr) -> anyhow::Result<Self> {
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
                if let Ok(mut door) = Door::open(http, KEY).await
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

    fn id(&self) -> anyhow::Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    async fn end(mut self) {
        // It may have ended by itself, which the measurement has told already.
        let _ = self.child.kill().await;
    }
}

/// Running simulators.
pub(super) struct Simulators {
    program: Program,
    pub(super) apns: SocketAddr,
    pub(super) control: SocketAddr,
    folder: tempfile::TempDir,
}

impl Simulators {
    /// Starts them.
    ///
    /// # Errors
    /// When they do not start.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (apns, control) = (free_address()?, free_address()?);
        let settings = [
            ("data", folder.path().display().to_string()),
            ("simulators.apns.listen", apns.to_string()),
            ("simulators.fcm.listen", free_address()?.to_string()),
            ("simulators.control.listen", control.to_string()),
        ];
        let program = Program::start("simulators", &settings, control).await?;
        Ok(Self { program, apns, control, folder })
    }

    /// The certificate to trust.
    pub(super) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca/ca.pem")
    }

    /// The key to sign with.
    pub(super) fn key(&self) -> PathBuf {
        self.folder.path().join(format!("simulators/apns/AuthKey_{KEY_ID}.p8"))
    }

    /// Their processor time so far, in seconds.
    ///
    /// # Errors
    /// When they are gone.
    pub(super) fn cpu_s(&self) -> anyhow::Result<f64> {
        process::cpu_s(self.program.id()?)
    }

    pub(super) async fn end(self) {
        self.program.end().await;
    }
}

/// A running gateway.
pub(super) struct Gateway {
    program: Program,
    pub(super) http: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Gateway {
    /// Starts one; `database` is a URL, or a file in its own folder when `None`.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) async fn start(simulators: &Simulators, database: Option<String>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let http = free_address()?;
        let file = format!("sqlite://{}", folder.path().join("push.db").display());
        let settings = [
            ("data", folder.path().display().to_string()),
            ("push.listen", http.to_string()),
            ("push.database", database.unwrap_or(file)),
            ("push.wake.enabled", "false".to_owned()),
            ("push.limits.queue", "10000000".to_owned()),
            ("push.limits.queue_per_app", "10000000".to_owned()),
            ("push.ca_file", simulators.ca().display().to_string()),
            ("push.apps.default.apns.topic", TOPIC.to_owned()),
            ("push.apps.default.apns.key_file", simulators.key().display().to_string()),
            ("push.apps.default.apns.key_id", KEY_ID.to_owned()),
            ("push.apps.default.apns.team_id", TEAM_ID.to_owned()),
            ("push.apps.default.apns.url", format!("https://{}", simulators.apns)),
            ("keys.service", KEY.to_owned()),
        ];
        let program = Program::start("push-gateway", &settings, http).await?;
        Ok(Self { program, http, _folder: folder })
    }

    /// Resident memory in MiB.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn rss_mib(&self) -> anyhow::Result<f64> {
        Ok(process::rss_kib(self.program.id()?)? / 1024.0)
    }

    /// Its processor time so far, in seconds.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn cpu_s(&self) -> anyhow::Result<f64> {
        process::cpu_s(self.program.id()?)
    }

    pub(super) async fn end(self) {
        self.program.end().await;
    }
}
