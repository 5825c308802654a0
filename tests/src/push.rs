//! A push-gateway by itself, and the simulators that it sends to, each a process of its own.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::broker::variable;
use crate::curl::{Answer, Request};
use crate::ports;
use crate::programs::program;
use crate::running::Running;
use crate::wait::{PATIENCE, eventually};
use crate::world::SERVICE_KEY;

/// Running simulators.
pub struct Simulators {
    /// The process.
    pub process: Running,
    apns: SocketAddr,
    control: SocketAddr,
    folder: TempDir,
}

impl Simulators {
    /// Starts them and waits until they are ready.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a data folder");
        let (apns, control) = (ports::free_address(), ports::free_address());
        let settings = [
            ("data", folder.path().display().to_string()),
            ("simulators.apns.listen", apns.to_string()),
            ("simulators.fcm.listen", ports::free_address().to_string()),
            ("simulators.control.listen", control.to_string()),
            ("simulators.inbox", "1000000".to_owned()),
        ];
        let process = launch("tidings-simulators", &folder, &settings.map(|(key, value)| (key.to_owned(), value)));
        let mut simulators = Self { process, apns, control, folder };
        wait_until_ready(&mut simulators.process, control);
        simulators
    }

    /// Adds a rule of misbehaviour.
    pub fn script(&self, rule: &Value) {
        let _ = self.control("POST", "/apns/script").json(rule).send().expect(204);
    }

    /// What was delivered after a number, waiting for the first.
    #[must_use]
    pub fn pushes(&self, after: u64) -> Vec<Value> {
        let path = format!("/pushes?after={after}&limit=1000&wait=5s");
        let answer = self.control("GET", &path).within(PATIENCE).send().expect(200).json();
        answer["pushes"].as_array().cloned().unwrap_or_default()
    }

    /// Everything that was delivered.
    #[must_use]
    pub fn everything(&self) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let after = all.last().and_then(|push| push["seq"].as_u64()).unwrap_or(0);
            let path = format!("/pushes?after={after}&limit=1000");
            let answer = self.control("GET", &path).send().expect(200).json();
            let more = answer["pushes"].as_array().cloned().unwrap_or_default();
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    }

    fn control(&self, method: &str, path: &str) -> Request {
        Request::new(method, format!("http://{}{path}", self.control))
    }
}

/// A running push-gateway with one app, which can be killed and started again on what it kept.
pub struct Gateway {
    /// The process.
    pub process: Running,
    http: SocketAddr,
    folder: TempDir,
    settings: Vec<(String, String)>,
}

impl Gateway {
    /// Starts one on a database; leases are as short as they can be.
    #[must_use]
    pub fn start(simulators: &Simulators, database: &str) -> Self {
        let folder = tempfile::tempdir().expect("a data folder");
        let http = ports::free_address();
        let file = |name: &str| simulators.folder.path().join(name).display().to_string();
        let settings: Vec<(String, String)> = [
            ("data", folder.path().display().to_string()),
            ("push.listen", http.to_string()),
            ("push.database", database.to_owned()),
            ("push.wake.enabled", "false".to_owned()),
            ("push.lease", "2s".to_owned()),
            ("push.retry.first", "50ms".to_owned()),
            ("push.ca_file", file("ca/ca.pem")),
            ("push.apps.default.apns.topic", "org.example.app".to_owned()),
            ("push.apps.default.apns.key_file", file("simulators/apns/AuthKey_TIDINGSKEY.p8")),
            ("push.apps.default.apns.key_id", "TIDINGSKEY".to_owned()),
            ("push.apps.default.apns.team_id", "TIDINGSDEV".to_owned()),
            ("push.apps.default.apns.url", format!("https://{}", simulators.apns)),
            ("keys.service", SERVICE_KEY.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let process = launch("tidings-push-gateway", &folder, &settings);
        let mut gateway = Self { process, http, folder, settings };
        wait_until_ready(&mut gateway.process, http);
        gateway
    }

    /// Starts it again after it was killed.
    pub fn start_again(&mut self) {
        self.process = launch("tidings-push-gateway", &self.folder, &self.settings);
        wait_until_ready(&mut self.process, self.http);
    }

    /// A request of a backend.
    #[must_use]
    pub fn api(&self, method: &str, path: &str) -> Request {
        Request::new(method, format!("http://{}{path}", self.http)).bearer(SERVICE_KEY)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.http
    }

    /// Registers a device of a user with a token that no other has.
    pub fn register(&self, user: &str, device: u32) {
        let body = json!({"user": user, "provider": "apns", "token": format!("{device:064x}")});
        let _ = self.api("PUT", &format!("/v1/devices/phone-{device}")).json(&body).send().expect(201);
    }
}

/// Sends a batch to a gateway that may be away; `None` when it was.
#[must_use]
pub fn send_batch(address: SocketAddr, batch: &Value) -> Option<Answer> {
    let request = Request::post(format!("http://{address}/v1/notifications/batch")).bearer(SERVICE_KEY).json(batch);
    request.try_send().ok().filter(|answer| answer.status == 200)
}

fn wait_until_ready(process: &mut Running, http: SocketAddr) {
    eventually("the service is ready", PATIENCE, || {
        if let Some(status) = process.ended() {
            panic!("it ended with {status} instead of being ready");
        }
        Request::get(format!("http://{http}/readyz")).try_send().ok().filter(|answer| answer.status == 200)
    });
}

fn launch(name: &str, folder: &TempDir, settings: &[(String, String)]) -> Running {
    let mut command = Command::new(program(name));
    command.current_dir(folder.path());
    for (setting, value) in settings {
        command.env(variable(setting), value);
    }
    Running::start(name, command)
}
