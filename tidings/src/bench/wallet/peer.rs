//! django-walletpass under gunicorn, as its own documents set it up; it is no dependency of ours: whoever wants it in the
//! comparison installs it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tidings_passbook_service::DevelopmentCertificates;
use tokio::process::{Child, Command};

use super::super::peer::free_address;
use super::super::process;
use super::load::{Request, Visitor};
use super::stage::{Card, PASS_TYPE, TEAM, database};
use super::{Store, WalletBench};

const SCRIPT: &str = include_str!("clients/walletpass_peer.py");
const INSTALL: &str = "pip install django-walletpass gunicorn 'psycopg[binary]'";
const PATIENCE: Duration = Duration::from_secs(300);

/// A running peer.
pub(super) struct Walletpass {
    pub(super) services: Vec<SocketAddr>,
    pub(super) cards: Arc<Vec<Card>>,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Walletpass {
    /// Starts it with passes like `package`, signed by the same certificate.
    ///
    /// # Errors
    /// When it is not here or does not start.
    pub(super) async fn start(
        load: &WalletBench,
        store: Store,
        package: &[u8],
        certificates: &DevelopmentCertificates,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("walletpass_peer.py"), SCRIPT)?;
        std::fs::write(file("template.pkpass"), package)?;
        for (name, from) in [
            ("certificate.pem", &certificates.certificate),
            ("key.pem", &certificates.key),
            ("intermediate.pem", &certificates.intermediate),
        ] {
            std::fs::copy(from, file(name))?;
        }
        let settings = json!({
            "folder": folder.path(), "database": database(load, store, folder.path()).await?,
            "pass_type": PASS_TYPE, "team": TEAM, "passes": load.passes, "on_device": load.on_device,
        });
        let command = |arguments: &[&str]| {
            let mut command = Command::new(&load.python);
            command.args(arguments).current_dir(folder.path()).env("WALLETPASS_BENCH", settings.to_string());
            command.stdin(Stdio::null()).kill_on_drop(true);
            command
        };
        let output = tokio::time::timeout(PATIENCE, command(&["walletpass_peer.py"]).output())
            .await
            .context("its passes were not made in time")?
            .with_context(|| format!("{} cannot be started; name a Python with --python", load.python.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            anyhow::bail!("{} (to have it: {INSTALL})", said.lines().last().unwrap_or("it says nothing"));
        }
        let made: Vec<(String, String, String)> =
            serde_json::from_slice(&output.stdout).context("what it says of its passes is no JSON")?;
        let cards = made.into_iter().map(|(serial, token, device)| Card { serial, token, device }).collect();
        let (http, workers) = (free_address()?, load.workers.to_string());
        let bind = format!("{http}");
        let child = command(&["-m", "gunicorn", "--bind", &bind, "--workers", &workers, "--threads", "4"])
            .args(["--keep-alive", "60", "--log-level", "error", "walletpass_peer:application"])
            .stdout(Stdio::null())
            // It warns of what django-walletpass answers: a 204 with a body.
            .stderr(Stdio::null())
            .spawn()?;
        let peer = Self { services: vec![http], cards: Arc::new(cards), child, _folder: folder };
        peer.wait().await?;
        Ok(peer)
    }

    async fn wait(&self) -> anyhow::Result<()> {
        let card = self.cards.first().context("it has no pass")?;
        let asking = async {
            loop {
                let mut visitor = Visitor::new(self.services[0]);
                if visitor.ask(&Request::get(card.path(), card.authorization())).await.is_ok_and(|a| a.status == 200) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asking).await.context("gunicorn does not answer")
    }

    /// gunicorn and its workers.
    fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let master = self.child.id().context("gunicorn has ended")?;
        let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        Ok(std::iter::once(master).chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect())
    }

    /// Processor time of all processes so far, in seconds.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn cpu_s(&self) -> anyhow::Result<f64> {
        self.processes()?.into_iter().map(process::cpu_s).sum()
    }

    /// Resident memory of all processes, in MiB; what workers share is counted for each.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn rss_mib(&self) -> anyhow::Result<f64> {
        self.processes()?.into_iter().map(|id| Ok(process::rss_kib(id)? / 1024.0)).sum()
    }

    /// Ends it; its workers see that their master is gone.
    pub(super) async fn end(mut self) {
        if let Some(id) = self.child.id() {
            // Asked kindly, it ends its workers.
            let _asked = Command::new("kill").args(["-s", "TERM", &id.to_string()]).status().await;
            let _ended = tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await;
        }
        let _gone = self.child.kill().await;
    }
}
