//! The brokers under test, each a process of its own on a free port, ended when the measurement is over.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tidings_shared::clock::Clock;
use tidings_shared::identity::UserId;
use tidings_simulators::control::Issuer;
use tokio::process::{Child, Command};

use crate::up::development;

const HANDLER_KEY: &str = "bench-handler-key";
const PATIENCE: Duration = Duration::from_secs(20);

/// User name and password.
pub(super) type Login = Option<(String, String)>;

/// A running broker.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    tokens: HashMap<usize, String>,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Peer {
    /// Our broker, with its log in a temporary folder and tokens of an issuer made for this run.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) async fn tidings(devices: usize) -> anyhow::Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let issuer = Issuer::load_or_create(&folder.path().join("issuer"), "http://bench", Clock::system())?;
        let keys = folder.path().join("jwks.json");
        std::fs::write(&keys, issuer.jwks().to_string())?;
        let mut tokens = HashMap::new();
        for device in 0..devices {
            tokens.insert(device, development::token(&issuer, &UserId::new(&user(device))?, "1h")?);
        }
        let (address, http) = (free_address()?, free_address()?);
        let mut command = Command::new(std::env::current_exe().context("the path of this program")?);
        command.args(["run", "broker"]).args(sets(&[
            ("data", folder.path().display().to_string()),
            ("broker.mqtt.listen", address.to_string()),
            ("broker.http.listen", http.to_string()),
            ("broker.limits.handshakes_per_address", "100000".to_owned()),
            ("auth.jwks_file", keys.display().to_string()),
            ("keys.handler", HANDLER_KEY.to_owned()),
            ("telemetry.level", "error".to_owned()),
        ]));
        Ok(Some(Self::start("tidings", command, address, tokens, folder).await?))
    }

    /// mosquitto from the system, in memory, with its queue limits lifted; `None` where it is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) async fn mosquitto() -> anyhow::Result<Option<Self>> {
        let Some(program) = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"]
            .into_iter()
            .find(|program| std::path::Path::new(program).exists())
        else {
            return Ok(None);
        };
        let folder = tempfile::tempdir()?;
        let address = free_address()?;
        let config = folder.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 1000\nset_tcp_nodelay true\n",
            address.port()
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(program);
        // It tells every connection on standard error.
        command.arg("-c").arg(&config).stderr(Stdio::null());
        Ok(Some(Self::start("mosquitto", command, address, HashMap::new(), folder).await?))
    }

    async fn start(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        tokens: HashMap<usize, String>,
        folder: tempfile::TempDir,
    ) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let mut peer = Self { name, address, tokens, child, _folder: folder };
        let accepting = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                if let Some(status) = peer.child.try_wait()? {
                    anyhow::bail!("{name} ended at its start: {status}");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, accepting).await.with_context(|| format!("{name} accepts no connection"))??;
        Ok(peer)
    }

    /// How a device logs in.
    pub(super) fn device_login(&self, device: usize) -> Login {
        self.tokens.get(&device).map(|token| ("JWT".to_owned(), token.clone()))
    }

    /// How a publisher logs in.
    pub(super) fn publisher_login(&self) -> Login {
        (!self.tokens.is_empty()).then(|| ("handler".to_owned(), HANDLER_KEY.to_owned()))
    }

    /// Resident memory of the process, in MiB.
    ///
    /// # Errors
    /// When the process is gone.
    pub(super) fn rss_mib(&self) -> anyhow::Result<f64> {
        let id = self.child.id().context("the broker has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS for the process")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }
}

/// The user of a device.
pub(super) fn user(device: usize) -> String {
    format!("u{device}")
}

fn sets(pairs: &[(&str, String)]) -> Vec<String> {
    pairs.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]).collect()
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
