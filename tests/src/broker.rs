//! A broker by itself: the binary `tidings-broker` on a data folder and free ports, trusting an issuer of the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::curl::Request;
use crate::mosquitto::Login;
use crate::packet::{Connect, Version};
use crate::ports;
use crate::programs::program;
use crate::running::Running;
use crate::tokens::{ISSUER, Issuer};
use crate::wait::{PATIENCE, eventually};
use crate::world::HANDLER_KEY;

/// A running broker, which can be killed and started again on what it kept.
pub struct Broker {
    /// The process.
    pub process: Running,
    /// Where it listens for MQTT without TLS.
    pub mqtt: SocketAddr,
    /// Where it listens for HTTP.
    pub http: SocketAddr,
    /// Who signs tokens.
    pub issuer: Issuer,
    folder: TempDir,
    settings: Vec<(String, String)>,
}

impl Broker {
    /// Starts one and waits until it is ready.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with settings (`("broker.wake.grace", "1s")`).
    #[must_use]
    pub fn start_with(more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a data folder");
        let issuer = Issuer::new();
        let (mqtt, http) = (ports::free_address(), ports::free_address());
        let key = issuer.write_public_key(folder.path());
        let mut settings: Vec<(String, String)> = standing_alone(folder.path(), mqtt, http)
            .into_iter()
            .chain([
                ("auth.public_key_file".to_owned(), key.display().to_string()),
                ("auth.issuers".to_owned(), ISSUER.to_owned()),
                ("keys.handler".to_owned(), HANDLER_KEY.to_owned()),
            ])
            .collect();
        settings.extend(more.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        let process = launch(folder.path(), &settings);
        let mut broker = Self { process, mqtt, http, issuer, folder, settings };
        broker.wait_until_ready();
        broker
    }

    /// Starts it again on the same folder and ports.
    pub fn start_again(&mut self) {
        self.process = launch(self.folder.path(), &self.settings);
        self.wait_until_ready();
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A URL of its HTTP listener.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// CONNECT of a device of this user.
    #[must_use]
    pub fn device(&self, version: Version, user: &str, client: &str) -> Connect {
        Connect::device(version, client, &self.issuer.token(user))
    }

    /// CONNECT of a handler.
    #[must_use]
    pub fn handler(&self, version: Version, client: &str) -> Connect {
        Connect::handler(version, client, HANDLER_KEY)
    }

    /// A device for mosquitto's clients.
    #[must_use]
    pub fn device_login(&self, user: &str) -> Login {
        Login::device(self.mqtt, &self.issuer.token(user))
    }

    /// A handler for mosquitto's clients.
    #[must_use]
    pub fn handler_login(&self) -> Login {
        Login::handler(self.mqtt, HANDLER_KEY)
    }

    fn wait_until_ready(&mut self) {
        let url = self.url("/readyz");
        let process = &mut self.process;
        eventually("the broker's /readyz answers 200", PATIENCE, || {
            if process.ended().is_some() {
                let (status, said) = process.end(PATIENCE);
                panic!("the broker ended with {status} instead of becoming ready; it said:\n{said}");
            }
            Request::get(&url).try_send().ok().filter(|answer| answer.status == 200)
        });
    }
}

/// What a broker needs to stand by itself beside others on one machine.
#[must_use]
pub fn standing_alone(folder: &Path, mqtt: SocketAddr, http: SocketAddr) -> Vec<(String, String)> {
    vec![
        ("data".to_owned(), folder.join("data").display().to_string()),
        ("broker.mqtt.listen".to_owned(), mqtt.to_string()),
        ("broker.mqtt_tls.listen".to_owned(), ports::free_address().to_string()),
        ("broker.http.listen".to_owned(), http.to_string()),
    ]
}

/// The variable for a setting: `TIDINGS_BROKER__TLS__CERT` for `broker.tls.cert`.
#[must_use]
pub fn variable(setting: &str) -> String {
    format!("TIDINGS_{}", setting.replace('.', "__").to_uppercase())
}

/// Starts `tidings-broker` with these settings in its environment, in a folder without configuration files.
#[must_use]
pub fn launch(folder: &Path, settings: &[(String, String)]) -> Running {
    let mut command = Command::new(program("tidings-broker"));
    command.current_dir(folder);
    for (setting, value) in settings {
        command.env(variable(setting), value);
    }
    Running::start("tidings-broker", command)
}
