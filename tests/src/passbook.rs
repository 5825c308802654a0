//! A passbook-service by itself, and the requests that a phone's Wallet and a backend make.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
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

/// The pass type of the development certificates.
pub const PASS_TYPE: &str = "pass.dev.tidings.example";

/// A running passbook-service, which can be stopped and started again on what it kept.
pub struct Passbook {
    /// The process.
    pub process: Running,
    http: SocketAddr,
    folder: TempDir,
    settings: Vec<(String, String)>,
}

/// A pass that was made.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Its serial number.
    pub serial: String,
    /// Its authentication token.
    pub token: String,
}

impl Passbook {
    /// Starts one whose push-gateway is away, which keeps it from nothing but pushing.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with settings.
    #[must_use]
    pub fn start_with(more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a data folder");
        let http = ports::free_address();
        let mut settings: Vec<(String, String)> = [
            ("data", folder.path().join("data").display().to_string()),
            ("wallet.listen", http.to_string()),
            ("wallet.public_url", format!("http://{http}")),
            ("wallet.allow_http", "true".to_owned()),
            ("wallet.gateway.url", format!("http://{}", ports::free_address())),
            ("wallet.push.interval", "0s".to_owned()),
            ("keys.service", SERVICE_KEY.to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        settings.extend(more.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        let process = launch(folder.path(), &settings);
        let mut passbook = Self { process, http, folder, settings };
        passbook.wait_until_open();
        passbook
    }

    /// Stops it in good order and starts it again, with settings changed.
    pub fn restart_with(&mut self, changed: &[(&str, &str)]) {
        self.process.terminate();
        let (status, log) = self.process.end(PATIENCE);
        assert!(status.success(), "SIGTERM is a clean stop, not {status}:\n{log}");
        self.settings.extend(changed.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        self.process = launch(self.folder.path(), &self.settings);
        self.wait_until_open();
    }

    /// The root that its development certificates lead to.
    #[must_use]
    pub fn root_certificate(&self) -> PathBuf {
        self.folder.path().join("data/wallet/certificates/root.pem")
    }

    /// A request to this path.
    #[must_use]
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request::new(method, format!("http://{}{path}", self.http))
    }

    /// A request of a backend.
    #[must_use]
    pub fn api(&self, method: &str, path: &str) -> Request {
        self.request(method, path).bearer(SERVICE_KEY)
    }

    /// Makes a pass from the built-in template.
    #[must_use]
    pub fn create(&self, serial: &str) -> Pass {
        let body = json!({ "template": "example", "serial": serial, "fields": { "name": "Ada", "points": "10" } });
        let made = self.api("POST", "/api/passes").json(&body).send().expect(201).json();
        let text = |field: &str| made[field].as_str().expect("a text").to_owned();
        Pass { serial: text("serialNumber"), token: text("authenticationToken") }
    }

    /// Changes a pass; the answer.
    #[must_use]
    pub fn change(&self, pass: &Pass, fields: &Value) -> Value {
        let path = format!("/api/passes/{PASS_TYPE}/{}", pass.serial);
        self.api("PATCH", &path).json(&json!({ "fields": fields })).send().expect(200).json()
    }

    /// What a phone asks to register a pass.
    #[must_use]
    pub fn registration(&self, method: &str, device: &str, pass: &Pass) -> Request {
        self.request(method, &registration_path(device, &pass.serial))
            .header("Authorization", &format!("ApplePass {}", pass.token))
    }

    /// Registers a pass on a device with a push token.
    #[must_use]
    pub fn register(&self, device: &str, pass: &Pass, push_token: &str) -> Answer {
        self.registration("POST", device, pass).json(&json!({ "pushToken": push_token })).send()
    }

    /// What changed for a device since a tag.
    #[must_use]
    pub fn list(&self, device: &str, since: Option<&str>) -> Answer {
        let query = since.map_or(String::new(), |tag| format!("?passesUpdatedSince={tag}"));
        self.request("GET", &format!("/v1/devices/{device}/registrations/{PASS_TYPE}{query}")).send()
    }

    /// What a phone asks to fetch a pass.
    #[must_use]
    pub fn fetch(&self, method: &str, pass: &Pass) -> Request {
        self.request(method, &pass_path(&pass.serial)).header("Authorization", &format!("ApplePass {}", pass.token))
    }

    fn wait_until_open(&mut self) {
        // Not /readyz: that waits for the push-gateway, which is away in most of these tests.
        let request = self.api("GET", "/api/templates");
        let process = &mut self.process;
        eventually("the passbook-service answers", PATIENCE, || {
            if let Some(status) = process.ended() {
                panic!("the passbook-service ended with {status} instead of answering");
            }
            request.clone().try_send().ok().filter(|answer| answer.status == 200)
        });
    }
}

/// The path of a registration.
#[must_use]
pub fn registration_path(device: &str, serial: &str) -> String {
    format!("/v1/devices/{device}/registrations/{PASS_TYPE}/{serial}")
}

/// The path of a pass.
#[must_use]
pub fn pass_path(serial: &str) -> String {
    format!("/v1/passes/{PASS_TYPE}/{serial}")
}

/// `lastUpdated` of a list, which is a text.
///
/// # Panics
/// When it is none.
#[must_use]
#[track_caller]
pub fn tag(list: &Answer) -> String {
    list.json()["lastUpdated"].as_str().expect("lastUpdated is a JSON string").to_owned()
}

/// `serialNumbers` of a list, sorted.
///
/// # Panics
/// When there are none.
#[must_use]
#[track_caller]
pub fn serials(list: &Answer) -> Vec<String> {
    let list = list.json();
    let serials = list["serialNumbers"].as_array().expect("serialNumbers is a list");
    let mut serials: Vec<String> =
        serials.iter().map(|serial| serial.as_str().unwrap_or_default().to_owned()).collect();
    serials.sort();
    serials
}

fn launch(folder: &Path, settings: &[(String, String)]) -> Running {
    let mut command = Command::new(program("tidings-passbook-service"));
    command.current_dir(folder);
    for (setting, value) in settings {
        command.env(variable(setting), value);
    }
    Running::start("tidings-passbook-service", command)
}
