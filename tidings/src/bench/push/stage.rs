//! The programs of the measurement, each a process of its own: the simulators and a gateway that sends to them.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::super::peer::free_address;
use super::super::process;
use super::super::program::Program;

/// The key of the load.
pub(super) const KEY: &str = "bench-service-key";
/// The app's topic.
pub(super) const TOPIC: &str = "dev.tidings.bench";
/// The id of the simulators' key, and the team's.
pub(super) const KEY_ID: &str = tidings_simulators::apns::DEVELOPMENT_KEY;
pub(super) const TEAM_ID: &str = tidings_simulators::apns::DEVELOPMENT_TEAM;

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
        let program = Program::start("simulators", &settings, control, KEY).await?;
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
        let program = Program::start("push-gateway", &settings, http, KEY).await?;
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
