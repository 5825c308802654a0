//! The brokers under test, each a process of its own on free ports, ended when the measurement is over.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use tidings_shared::clock::Clock;
use tidings_shared::identity::UserId;
use tidings_shared::tls::{DevAuthority, Issued, client_config};
use tidings_simulators::control::Issuer;
use tokio::process::{Child, Command};

use super::client::Visit;
use super::process;
use super::wire::Login;
use crate::up::development;

const HANDLER_KEY: &str = "bench-handler-key";
const PATIENCE: Duration = Duration::from_secs(20);

/// Which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Ours, with its durable log and ES256 tokens.
    Tidings,
    /// mosquitto of the system, in memory, without log-in.
    Mosquitto,
    /// rumqttd, in memory, without log-in.
    Rumqttd,
}

impl Kind {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tidings => "tidings",
            Self::Mosquitto => "mosquitto",
            Self::Rumqttd => "rumqttd",
        }
    }
}

/// A running broker.
pub(super) struct Peer {
    pub(super) kind: Kind,
    plain: SocketAddr,
    tls: SocketAddr,
    tls_config: Arc<rustls::ClientConfig>,
    tokens: Vec<String>,
    child: Child,
    _folder: tempfile::TempDir,
}

/// What a broker is started with.
pub(super) struct Place<'a> {
    pub(super) folder: &'a Path,
    pub(super) plain: SocketAddr,
    pub(super) tls: SocketAddr,
    pub(super) issued: &'a Issued,
}

impl Peer {
    /// Starts the broker; `program` is its path (ours is this program). `devices` get tokens.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) async fn start(kind: Kind, program: &Path, devices: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = DevAuthority::load_or_create(&folder.path().join("tls"))?;
        let issued = authority.issue_server("server", &["localhost", "127.0.0.1"])?;
        let tls_config = Arc::new(client_config(Some(&authority.certificate()), None, &[])?);
        let place = Place { folder: folder.path(), plain: free_address()?, tls: free_address()?, issued: &issued };
        let mut tokens = Vec::new();
        let mut command = Command::new(program);
        match kind {
            Kind::Tidings => {
                tokens = prepare_tidings(&mut command, &place, devices)?;
            }
            Kind::Mosquitto => {
                let config = place.folder.join("mosquitto.conf");
                std::fs::write(&config, mosquitto_conf(&place))?;
                command.arg("-c").arg(&config);
            }
            Kind::Rumqttd => {
                let config = place.folder.join("rumqttd.toml");
                std::fs::write(&config, super::rumqttd::config(&place))?;
                command.arg("-c").arg(&config).arg("-q");
            }
        }
        let (plain, tls) = (place.plain, place.tls);
        // What it says goes nowhere: mosquitto tells every connection.
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{} cannot be started", kind.name()))?;
        let mut peer = Self { kind, plain, tls, tls_config, tokens, child, _folder: folder };
        peer.accepts().await?;
        Ok(peer)
    }

    async fn accepts(&mut self) -> anyhow::Result<()> {
        let name = self.kind.name();
        let accepting = async {
            for address in [self.plain, self.tls] {
                while tokio::net::TcpStream::connect(address).await.is_err() {
                    if let Some(status) = self.child.try_wait()? {
                        anyhow::bail!("{name} ended at its start: {status}");
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, accepting).await.with_context(|| format!("{name} accepts no connection"))?
    }

    fn visit(&self, client: String, login: Login, number: usize, tls: bool) -> Visit {
        let (address, tls) = if tls { (self.tls, Some(self.tls_config.clone())) } else { (self.plain, None) };
        Visit { address, tls, client, login, number }
    }

    /// How a device comes.
    pub(super) fn device(&self, device: usize, tls: bool) -> Visit {
        let token = self.tokens.get(device % self.tokens.len().max(1)).cloned();
        self.visit(format!("device-{device}"), token.map(|token| ("JWT".to_owned(), token)), device, tls)
    }

    /// How a publisher comes.
    pub(super) fn publisher(&self, publisher: usize) -> Visit {
        let login = (!self.tokens.is_empty()).then(|| ("handler".to_owned(), HANDLER_KEY.to_owned()));
        self.visit(format!("publisher-{publisher}"), login, publisher, false)
    }

    /// Resident memory of the process, in KiB.
    ///
    /// # Errors
    /// When the process is gone.
    pub(super) fn rss_kib(&self) -> anyhow::Result<f64> {
        process::rss_kib(self.child.id().context("the broker has ended")?)
    }

    /// Its processor time so far, in seconds.
    ///
    /// # Errors
    /// When the process is gone.
    pub(super) fn cpu_s(&self) -> anyhow::Result<f64> {
        process::cpu_s(self.child.id().context("the broker has ended")?)
    }

    /// Ends it and waits for that.
    pub(super) async fn end(mut self) {
        // It may have ended by itself, which the measurement has told already.
        let _ = self.child.kill().await;
    }
}

/// The user of a device.
pub(super) fn user(device: usize) -> String {
    format!("u{device}")
}

/// The inbox of a device.
pub(super) fn inbox(device: usize) -> String {
    format!("{}_inbox", user(device))
}

/// Our broker's arguments and the devices' tokens, of an issuer made for this run.
fn prepare_tidings(command: &mut Command, place: &Place<'_>, devices: usize) -> anyhow::Result<Vec<String>> {
    let issuer = Issuer::load_or_create(&place.folder.join("issuer"), "http://bench", Clock::system())?;
    let keys = place.folder.join("jwks.json");
    std::fs::write(&keys, issuer.jwks().to_string())?;
    let tokens = (0..devices.max(1)).map(|device| development::token(&issuer, &UserId::new(&user(device))?, "1h"));
    let settings = [
        ("data", place.folder.display().to_string()),
        ("broker.mqtt.listen", place.plain.to_string()),
        ("broker.mqtt_tls.listen", place.tls.to_string()),
        ("broker.tls.cert", place.issued.certificate.display().to_string()),
        ("broker.tls.key", place.issued.key.display().to_string()),
        ("broker.http.listen", free_address()?.to_string()),
        ("auth.jwks_file", keys.display().to_string()),
        ("keys.handler", HANDLER_KEY.to_owned()),
        ("telemetry.level", "error".to_owned()),
    ];
    command.args(["run", "broker"]);
    for (key, value) in settings {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    tokens.collect()
}

/// In memory, with its queue limits lifted.
fn mosquitto_conf(place: &Place<'_>) -> String {
    let (plain, tls) = (place.plain.port(), place.tls.port());
    let (certificate, key) = (place.issued.certificate.display(), place.issued.key.display());
    format!(
        "user root\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 1000\nset_tcp_nodelay true\nlog_type error\n\
         listener {plain} 127.0.0.1\n\
         listener {tls} 127.0.0.1\ncertfile {certificate}\nkeyfile {key}\n"
    )
}

/// An address of this machine that is free now.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
