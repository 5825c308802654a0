//! A whole Tidings in one process, as `tidings up` starts it, with everything ephemeral and ports of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::curl::Request;
use crate::mosquitto::Login;
use crate::ports::Offset;
use crate::programs::program;
use crate::running::Running;
use crate::wait::PATIENCE;

/// The key that handlers log in with.
pub const HANDLER_KEY: &str = "handler-key-of-the-tests-0123456789";
/// The key that services and backends use.
pub const SERVICE_KEY: &str = "service-key-of-the-tests-0123456789";

/// A running `tidings up`.
pub struct World {
    /// The process.
    pub process: Running,
    ports: Offset,
}

impl World {
    /// Starts it and waits until it says that it is ready.
    #[must_use]
    pub fn up() -> Self {
        Self::up_with(&[])
    }

    /// Starts it with settings (`broker.wake.grace=1s`).
    #[must_use]
    pub fn up_with(settings: &[&str]) -> Self {
        Self::launch(&["--ephemeral"], settings, Offset::take())
    }

    /// Starts it on a data folder that outlives it.
    #[must_use]
    pub fn up_in(data: &Path) -> Self {
        Self::up_again(data, Offset::take())
    }

    /// Starts it on a data folder and the ports of an earlier start.
    #[must_use]
    pub fn up_again(data: &Path, ports: Offset) -> Self {
        Self::launch(&["--data", &data.display().to_string()], &[], ports)
    }

    fn launch(arguments: &[&str], settings: &[&str], ports: Offset) -> Self {
        let mut command = Command::new(program("tidings"));
        command.arg("up").args(arguments).args(["--port-offset", &ports.number().to_string()]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        command.env("TIDINGS_KEYS__HANDLER", HANDLER_KEY).env("TIDINGS_KEYS__SERVICE", SERVICE_KEY);
        // Nothing of the folder in which the tests run may be read: no tidings.toml, no .env.
        command.current_dir(std::env::temp_dir());
        let mut process = Running::start("tidings up", command);
        process.says("tidings is ready", PATIENCE);
        Self { process, ports }
    }

    /// Stops it in good order; what is left is its ports.
    ///
    /// # Panics
    /// When it does not end well.
    #[must_use]
    pub fn stop(mut self) -> Offset {
        self.process.terminate();
        let (status, log) = self.process.end(PATIENCE);
        assert!(status.success(), "SIGTERM is a clean stop, not {status}:\n{log}");
        self.ports
    }

    /// Its data folder, as the table says.
    ///
    /// # Panics
    /// When the table does not say it.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        let table = self.process.log();
        let line = table.lines().find_map(|line| line.trim().strip_prefix("data folder")).expect("the data folder");
        PathBuf::from(line.trim())
    }

    /// The broker's plain MQTT listener.
    #[must_use]
    pub fn mqtt(&self) -> SocketAddr {
        self.address(1883)
    }

    /// The service with this default port.
    #[must_use]
    pub fn address(&self, default: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.port(default)))
    }

    /// A URL of the service with this default port.
    #[must_use]
    pub fn url(&self, default: u16, path: &str) -> String {
        format!("http://{}{path}", self.address(default))
    }

    /// A good token of the development issuer.
    #[must_use]
    pub fn token(&self, user: &str) -> String {
        Request::get(self.url(8090, &format!("/token/{user}"))).send().expect(200).text().trim().to_owned()
    }

    /// A device of this user for mosquitto's clients.
    #[must_use]
    pub fn device(&self, user: &str) -> Login {
        Login::device(self.mqtt(), &self.token(user))
    }

    /// A handler for mosquitto's clients.
    #[must_use]
    pub fn handler(&self) -> Login {
        Login::handler(self.mqtt(), HANDLER_KEY)
    }

    /// Pushes that the simulators delivered to a token after this number, waiting up to `wait` for the first.
    #[must_use]
    pub fn pushes(&self, token: &str, after: u64, wait: &str) -> Vec<Value> {
        let url = self.url(8090, &format!("/pushes?token={token}&after={after}&wait={wait}"));
        let answer = Request::get(url).within(PATIENCE).send().expect(200).json();
        answer["pushes"].as_array().cloned().unwrap_or_default()
    }
}
