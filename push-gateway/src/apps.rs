//! The configured apps: their credentials are read and checked at the start, and every fault is told at once, with
//! the setting, the file and what to do.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use tidings_shared::clock::Clock;
use tidings_shared::config::Settings;
use tidings_shared::push_api::Provider;
use tidings_shared::tls;

use crate::config::{ApnsConfig, AppConfig, Config, FcmConfig};
use crate::provider::apns::{Apns, Authentication, Endpoint, Limits, Signer, Transport};
use crate::provider::fcm::{self, AccessTokens, Fcm, ServiceAccount};
use crate::queue::lane::Lane;
use crate::queue::lane_name;

mod certificate;

#[cfg(test)]
mod tests;

const APPLE: &str = "https://api.push.apple.com";
const APPLE_SANDBOX: &str = "https://api.sandbox.push.apple.com";

/// All configured apps, each with a lane for each of its providers.
#[derive(Debug, Default)]
pub(crate) struct Apps(HashMap<String, Arc<Lane>>);

/// Faults in the settings or files of apps, all of them.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct AppFaults(Vec<String>);

impl Apps {
    /// Reads all credentials. No connection is made.
    pub(crate) fn load(config: &Config, clock: &Clock) -> Result<Self, AppFaults> {
        let mut loader = Loader { config, clock, signers: HashMap::new(), faults: Vec::new() };
        let mut lanes = Vec::new();
        for app in &config.apps {
            if let Some(apns) = &app.apns
                && let Some(client) = loader.apns(app, apns)
            {
                lanes.push(Lane::new(Provider::Apns, &app.name, Arc::new(client)));
            }
            if let Some(fcm) = &app.fcm
                && let Some(client) = loader.fcm(app, fcm)
            {
                lanes.push(Lane::new(Provider::Fcm, &app.name, Arc::new(client)));
            }
        }
        if loader.faults.is_empty() { Ok(Self::of_lanes(lanes)) } else { Err(AppFaults(loader.faults)) }
    }

    pub(crate) fn of_lanes(lanes: Vec<Lane>) -> Self {
        Self(lanes.into_iter().map(|lane| (lane.name.clone(), Arc::new(lane))).collect())
    }

    pub(crate) fn lane(&self, provider: Provider, app: &str) -> Option<&Arc<Lane>> {
        self.0.get(&lane_name(provider, app))
    }

    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.0.values()
    }

    /// The names of the apps that a provider has, in order.
    pub(crate) fn names(&self, provider: Provider) -> Vec<&str> {
        let mut names: Vec<_> =
            self.0.values().filter(|lane| lane.provider == provider).map(|lane| lane.app.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Tells lanes that something is due.
    pub(crate) fn wake_lanes(&self, names: &[String]) {
        for name in names {
            if let Some(lane) = self.0.get(name) {
                lane.wake.notify_one();
            }
        }
    }
}

struct Loader<'a> {
    config: &'a Config,
    clock: &'a Clock,
    /// One signer for each key: Apple counts how often a key's token changes.
    signers: HashMap<(String, String, Vec<u8>), Arc<Signer>>,
    faults: Vec<String>,
}

impl Loader<'_> {
    fn apns(&mut self, app: &AppConfig, apns: &ApnsConfig) -> Option<Apns> {
        let place = |setting: &str| Settings::named("push.apps", &app.name, &format!("apns.{setting}"));
        let Some(topic) = apns.topic.as_deref() else {
            return self.fault(format!(
                "{} is missing: set it to the app's bundle id, or to the pass type identifier",
                place("topic")
            ));
        };
        let Ok(topic_header) = HeaderValue::from_str(topic) else {
            return self.fault(format!(
                "{}: \"{topic}\" cannot be a topic: it has characters besides visible ASCII",
                place("topic")
            ));
        };
        let authentication = match (&apns.key_file, &apns.certificate_file) {
            (Some(_), Some(_)) => {
                return self.fault(format!(
                    "{} and {} are both set: keep one",
                    place("key_file"),
                    place("certificate_file")
                ));
            }
            (None, None) => {
                return self.fault(format!(
                    "{} or {} is missing: APNs wants a .p8 key (with key_id and team_id) or a client certificate",
                    place("key_file"),
                    place("certificate_file")
                ));
            }
            (Some(file), None) => Authentication::Token(self.signer(file, apns, &place)?),
            (None, Some(_)) => Authentication::Certificate,
        };
        let identity =
            apns.certificate_file.as_deref().map(|file| (file, apns.certificate_key_file.as_deref().unwrap_or(file)));
        if let Some((certificate, _)) = identity
            && let Err(problem) = certificate::check(certificate, topic, self.clock.now_ms())
        {
            return self.fault(format!("{}: {}: {problem}", place("certificate_file"), certificate.display()));
        }
        let tls = match tls::client_config(self.config.ca_file.as_deref(), identity, &[b"h2"]) {
            Ok(tls) => tls,
            Err(error) => return self.fault(format!("{}: {error}", place("certificate_file"))),
        };
        let limits = Limits {
            connections: self.config.apns_connections,
            request_timeout: self.config.apns_request_timeout,
            ..Limits::default()
        };
        let sandbox = match (&apns.url, &apns.sandbox_url) {
            (_, Some(url)) => Some(url.as_str()),
            (None, None) => Some(APPLE_SANDBOX),
            (Some(_), None) => None,
        };
        let production = self.endpoint(apns.url.as_deref().unwrap_or(APPLE), &place("url"))?;
        let sandbox = match sandbox {
            Some(url) => Some(self.endpoint(url, &place("sandbox_url"))?),
            None => None,
        };
        let transport = |endpoint| Transport::new(endpoint, tls.clone(), limits);
        Some(Apns::new(
            topic_header,
            authentication,
            Some(transport(production)),
            sandbox.map(transport),
            self.config.wake_style.clone(),
        ))
    }

    fn signer(&mut self, file: &Path, apns: &ApnsConfig, place: &dyn Fn(&str) -> String) -> Option<Arc<Signer>> {
        let (Some(key_id), Some(team_id)) = (&apns.key_id, &apns.team_id) else {
            let missing = if apns.key_id.is_none() { "key_id" } else { "team_id" };
            return self.fault(format!("{} is missing: Apple's portal shows it beside the key", place(missing)));
        };
        let pem = self.read(file, &place("key_file"))?;
        let shared = (team_id.clone(), key_id.clone(), pem);
        if let Some(signer) = self.signers.get(&shared) {
            return Some(Arc::clone(signer));
        }
        match Signer::new(&shared.2, key_id, team_id, self.clock.clone()) {
            Ok(signer) => {
                let signer = Arc::new(signer);
                self.signers.insert(shared, Arc::clone(&signer));
                Some(signer)
            }
            Err(error) => {
                self.fault(format!("{}: {}: {error}; download the key again", place("key_file"), file.display()))
            }
        }
    }

    fn endpoint(&mut self, url: &str, place: &str) -> Option<Endpoint> {
        match Endpoint::parse(url) {
            Ok(endpoint) => Some(endpoint),
            Err(problem) => self.fault(format!("{place}: {problem}")),
        }
    }

    fn fcm(&mut self, app: &AppConfig, fcm: &FcmConfig) -> Option<Fcm> {
        let place = |setting: &str| Settings::named("push.apps", &app.name, &format!("fcm.{setting}"));
        let Some(file) = &fcm.service_account_file else {
            return self.fault(format!(
                "{} is missing: the Google Cloud console gives the service account's key as JSON",
                place("service_account_file")
            ));
        };
        let json = self.read(file, &place("service_account_file"))?;
        let account = match ServiceAccount::parse(&json) {
            Ok(account) => account,
            Err(error) => {
                return self.fault(format!(
                    "{}: {}: {error}; download it again",
                    place("service_account_file"),
                    file.display()
                ));
            }
        };
        let Some(project) = fcm.project.clone().or_else(|| account.project_id.clone()) else {
            return self.fault(format!("{} is missing, and the service account names no project", place("project")));
        };
        let http = match self.http() {
            Ok(http) => http,
            Err(error) => return self.fault(format!("push.ca_file: {error:#}")),
        };
        let access = match AccessTokens::new(account, http.clone(), self.clock.clone()) {
            Ok(access) => Arc::new(access),
            Err(error) => {
                return self.fault(format!(
                    "{}: {}: {error}; download it again",
                    place("service_account_file"),
                    file.display()
                ));
            }
        };
        let url = fcm.url.as_deref().unwrap_or(fcm::DEFAULT_URL);
        Some(Fcm::new(url, &project, http, access, self.config.wake_style.clone(), self.clock.clone()))
    }

    fn http(&self) -> anyhow::Result<reqwest::Client> {
        tidings_shared::http::client(self.config.ca_file.as_deref())
    }

    fn read(&mut self, file: &Path, place: &str) -> Option<Vec<u8>> {
        match std::fs::read(file) {
            Ok(content) => Some(content),
            Err(error) => self.fault(format!("{place}: {}: the file cannot be read: {error}", file.display())),
        }
    }

    fn fault<T>(&mut self, fault: String) -> Option<T> {
        self.faults.push(fault);
        None
    }
}
