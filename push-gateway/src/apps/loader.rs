//! Reads an app's credentials from its files, and tells every fault at once: the setting, the file and what to do.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use sha2::{Digest, Sha256};
use tidings_shared::clock::Clock;
use tidings_shared::config::Settings;
use tidings_shared::push_api::Provider;
use tidings_shared::tls;

use super::certificate;
use super::credentials::{Client, Loaded};
use crate::config::{ApnsConfig, AppConfig, Config, FcmConfig, WebPushConfig};
use crate::provider::apns::{Apns, Authentication, Endpoint, Limits, Signer, Transport};
use crate::provider::fcm::{self, AccessTokens, Fcm, Pacer, ServiceAccount};
use crate::provider::webpush::{self, Policy, Vapid, WebPush};

const APPLE: &str = "https://api.push.apple.com";
const APPLE_SANDBOX: &str = "https://api.sandbox.push.apple.com";
const APPLE_CHANNELS: &str = "https://api-manage-broadcast.push.apple.com:2196";
const APPLE_CHANNELS_SANDBOX: &str = "https://api-manage-broadcast.sandbox.push.apple.com:2195";

/// What apps with the same credentials share, also over a reload.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// One signer for each key: Apple counts how often a key's token changes.
    signers: HashMap<(String, String, Vec<u8>), Weak<Signer>>,
    /// The connections to one address with one set of credentials.
    transports: HashMap<(String, String), Transport>,
    /// One access token for each service account.
    access: HashMap<[u8; 32], Weak<AccessTokens>>,
    /// One pace for each Firebase project.
    pacers: HashMap<String, Arc<Pacer>>,
    /// One client for all of FCM, and one for all push services.
    http: Option<reqwest::Client>,
    webpush: Option<(Arc<Policy>, reqwest::Client)>,
}

impl Shared {
    /// Ends the connections of credentials that nobody has any more.
    pub(super) fn forget_unused(&mut self) {
        self.signers.retain(|_, signer| signer.strong_count() > 0);
        self.access.retain(|_, access| access.strong_count() > 0);
        self.transports.retain(|_, transport| transport.is_shared());
    }
}

/// What stands in an app's files, as one comparable value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(app: &AppConfig) -> Self {
        let mut digest = Sha256::new();
        for file in files(app) {
            digest.update(file.as_os_str().as_encoded_bytes());
            match std::fs::read(&file) {
                Ok(content) => {
                    digest.update(content.len().to_be_bytes());
                    digest.update(content);
                }
                Err(_) => digest.update("\0missing\0"),
            }
        }
        Self(digest.finalize().into())
    }
}

fn files(app: &AppConfig) -> Vec<PathBuf> {
    let apns = app.apns.iter().flat_map(|apns| {
        let named = [&apns.key_file, &apns.certificate_file, &apns.certificate_key_file];
        let folder = apns.credentials_folder.as_deref().map(|folder| listed(folder).unwrap_or_default());
        named.into_iter().flatten().cloned().chain(folder.into_iter().flatten()).collect::<Vec<_>>()
    });
    let fcm = app.fcm.iter().flat_map(|fcm| {
        let folder = fcm.credentials_folder.as_deref().map(|folder| listed(folder).unwrap_or_default());
        fcm.service_account_file.iter().cloned().chain(folder.into_iter().flatten()).collect::<Vec<_>>()
    });
    let webpush = app.webpush.iter().filter_map(|webpush| webpush.private_key_file.clone());
    apns.chain(fcm).chain(webpush).collect()
}

/// A folder's credential files, the newest first: after a rotation the new one is tried first.
fn listed(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = path.extension().and_then(|extension| extension.to_str());
        if matches!(kind, Some("p8" | "pem" | "json")) && path.is_file() {
            let changed = path.metadata().and_then(|known| known.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            found.push((changed, path));
        }
    }
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Reads credentials; every fault is kept.
pub(super) struct Loader<'a> {
    config: &'a Config,
    clock: &'a Clock,
    shared: &'a mut Shared,
    faults: Vec<String>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(config: &'a Config, clock: &'a Clock, shared: &'a mut Shared) -> Self {
        Self { config, clock, shared, faults: Vec::new() }
    }

    pub(super) fn into_faults(self) -> Vec<String> {
        self.faults
    }

    /// The credentials of an app at each of its providers. Incomplete when there are faults.
    pub(super) fn app(&mut self, app: &AppConfig) -> Vec<(Provider, Vec<Loaded>)> {
        let mut loaded = Vec::new();
        if let Some(apns) = &app.apns
            && let Some(credentials) = self.apns(app, apns)
        {
            loaded.push((Provider::Apns, credentials));
        }
        if let Some(fcm) = &app.fcm
            && let Some(credentials) = self.fcm(app, fcm)
        {
            loaded.push((Provider::Fcm, credentials));
        }
        if let Some(webpush) = &app.webpush
            && let Some(credential) = self.webpush(app, webpush)
        {
            loaded.push((Provider::WebPush, vec![credential]));
        }
        loaded
    }

    fn apns(&mut self, app: &AppConfig, apns: &ApnsConfig) -> Option<Vec<Loaded>> {
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
        let app = AppleApp { apns, topic, topic_header, place: &place };
        let mut loaded = Vec::new();
        match (&apns.key_file, &apns.certificate_file) {
            (Some(_), Some(_)) => {
                return self.fault(format!(
                    "{} and {} are both set: keep one",
                    place("key_file"),
                    place("certificate_file")
                ));
            }
            (None, None) if apns.credentials_folder.is_none() => {
                return self.fault(format!(
                    "{} or {} is missing: APNs wants a .p8 key (with key_id and team_id) or a client certificate",
                    place("key_file"),
                    place("certificate_file")
                ));
            }
            (None, None) => {}
            (Some(file), None) => {
                let Some(key_id) = &apns.key_id else {
                    return self
                        .fault(format!("{} is missing: Apple's portal shows it beside the key", place("key_id")));
                };
                loaded.push(self.apns_key(&app, file, key_id, "key_file")?);
            }
            (None, Some(file)) => {
                let key = apns.certificate_key_file.as_deref().unwrap_or(file);
                loaded.push(self.apns_certificate(&app, file, key, "certificate_file")?);
            }
        }
        for file in self.folder(apns.credentials_folder.as_deref(), &place("credentials_folder"))? {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("p8") => {
                    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                    let Some(key_id) = stem.strip_prefix("AuthKey_").filter(|id| !id.is_empty()) else {
                        return self.fault(format!(
                            "{}: {}: the file's name says the key's id: AuthKey_KEYID.p8, as Apple's portal names it",
                            place("credentials_folder"),
                            file.display()
                        ));
                    };
                    let key_id = key_id.to_owned();
                    loaded.push(self.apns_key(&app, &file, &key_id, "credentials_folder")?);
                }
                Some("pem") => match certificate::ended(&file, self.clock.now_ms()) {
                    // One of several may end while it waits to be taken away.
                    Some(until) => {
                        tracing::warn!(file = %file.display(), until, "an APNs certificate has ended and is left out");
                    }
                    None => loaded.push(self.apns_certificate(&app, &file, &file, "credentials_folder")?),
                },
                _ => {}
            }
        }
        self.some(loaded, &place("credentials_folder"))
    }

    fn apns_key(&mut self, app: &AppleApp<'_>, file: &Path, key_id: &str, setting: &str) -> Option<Loaded> {
        let Some(team_id) = &app.apns.team_id else {
            return self
                .fault(format!("{} is missing: Apple's portal shows it beside the key", (app.place)("team_id")));
        };
        let pem = self.read(file, &(app.place)(setting))?;
        let digest = digest(&[app.topic.as_bytes(), key_id.as_bytes(), team_id.as_bytes(), &pem]);
        let shared = (team_id.clone(), key_id.to_owned(), pem);
        let signer = match self.shared.signers.get(&shared).and_then(Weak::upgrade) {
            Some(signer) => signer,
            None => match Signer::new(&shared.2, key_id, team_id, self.clock.clone()) {
                Ok(signer) => {
                    let signer = Arc::new(signer);
                    self.shared.signers.insert(shared, Arc::downgrade(&signer));
                    signer
                }
                Err(error) => {
                    return self.fault(format!(
                        "{}: {}: {error}; download the key again",
                        (app.place)(setting),
                        file.display()
                    ));
                }
            },
        };
        let client =
            self.apple(app, Authentication::Token(signer), None, &format!("key {team_id}/{key_id}"), setting)?;
        Some(Loaded { name: format!("key {key_id}"), digest, client, expires_at_ms: None })
    }

    fn apns_certificate(&mut self, app: &AppleApp<'_>, file: &Path, key: &Path, setting: &str) -> Option<Loaded> {
        let expires_at_ms = match certificate::check(file, app.topic, self.clock.now_ms()) {
            Ok(until_ms) => until_ms,
            Err(problem) => {
                return self.fault(format!("{}: {}: {problem}", (app.place)(setting), file.display()));
            }
        };
        let digest = {
            let (certificate, key) = (self.read(file, &(app.place)(setting))?, self.read(key, &(app.place)(setting))?);
            digest(&[app.topic.as_bytes(), &certificate, &key])
        };
        let identity = format!("certificate {digest:02x?}");
        let client = self.apple(app, Authentication::Certificate, Some((file, key)), &identity, setting)?;
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("certificate").to_owned();
        Some(Loaded { name, digest, client, expires_at_ms: Some(expires_at_ms) })
    }

    /// A client with connections of its credentials, which it shares with every app that has the same.
    fn apple(
        &mut self,
        app: &AppleApp<'_>,
        authentication: Authentication,
        files: Option<(&Path, &Path)>,
        identity: &str,
        setting: &str,
    ) -> Option<Client> {
        let apns = app.apns;
        let own = apns.url.is_some();
        let or = |configured: &Option<String>, of_apple: &str| match configured {
            Some(url) => Some(url.clone()),
            None => (!own).then(|| of_apple.to_owned()),
        };
        let production = apns.url.clone().unwrap_or_else(|| APPLE.to_owned());
        let sandbox = or(&apns.sandbox_url, APPLE_SANDBOX);
        // A simulator manages its channels where it takes its pushes.
        let channels =
            apns.channels_url.clone().or_else(|| apns.url.clone()).unwrap_or_else(|| APPLE_CHANNELS.to_owned());
        let sandbox_channels = apns
            .sandbox_channels_url
            .clone()
            .or_else(|| if own { apns.sandbox_url.clone() } else { Some(APPLE_CHANNELS_SANDBOX.to_owned()) });
        let mut transport =
            |url: &str, name: &str| self.transport(url, identity, files, &(app.place)(name), &(app.place)(setting));
        let production = transport(&production, "url")?;
        let sandbox = match sandbox {
            Some(url) => Some(transport(&url, "sandbox_url")?),
            None => None,
        };
        let channels = transport(&channels, "channels_url")?;
        let sandbox_channels = match sandbox_channels {
            Some(url) => Some(transport(&url, "sandbox_channels_url")?),
            None => None,
        };
        let style = self.config.wake_style.clone();
        let client = Apns::new(app.topic_header.clone(), authentication, Some(production), sandbox, style)
            .with_channels(Some(channels), sandbox_channels)
            .with_clock(self.clock.clone());
        Some(Client::Apns(Arc::new(client)))
    }

    fn transport(
        &mut self,
        url: &str,
        identity: &str,
        files: Option<(&Path, &Path)>,
        place: &str,
        files_place: &str,
    ) -> Option<Transport> {
        let endpoint = match Endpoint::parse(url) {
            Ok(endpoint) => endpoint,
            Err(problem) => return self.fault(format!("{place}: {problem}")),
        };
        let key = (endpoint.to_string(), identity.to_owned());
        if let Some(transport) = self.shared.transports.get(&key) {
            return Some(transport.clone());
        }
        let tls = match tls::client_config(self.config.ca_file.as_deref(), files, &[b"h2"]) {
            Ok(tls) => tls,
            Err(error) => return self.fault(format!("{files_place}: {error}")),
        };
        let limits = Limits {
            connections: self.config.apns_connections,
            request_timeout: self.config.apns_request_timeout,
            ..Limits::default()
        };
        let transport = Transport::new(endpoint, tls, limits);
        self.shared.transports.insert(key, transport.clone());
        Some(transport)
    }

    fn fcm(&mut self, app: &AppConfig, fcm: &FcmConfig) -> Option<Vec<Loaded>> {
        let place = |setting: &str| Settings::named("push.apps", &app.name, &format!("fcm.{setting}"));
        if fcm.service_account_file.is_none() && fcm.credentials_folder.is_none() {
            return self.fault(format!(
                "{} is missing: the Google Cloud console gives the service account's key as JSON",
                place("service_account_file")
            ));
        }
        let mut loaded = Vec::new();
        if let Some(file) = &fcm.service_account_file {
            loaded.push(self.service_account(fcm, file, &place, "service_account_file")?);
        }
        for file in self.folder(fcm.credentials_folder.as_deref(), &place("credentials_folder"))? {
            if file.extension().is_some_and(|extension| extension == "json") {
                loaded.push(self.service_account(fcm, &file, &place, "credentials_folder")?);
            }
        }
        self.some(loaded, &place("credentials_folder"))
    }

    fn service_account(
        &mut self,
        fcm: &FcmConfig,
        file: &Path,
        place: &dyn Fn(&str) -> String,
        setting: &str,
    ) -> Option<Loaded> {
        let json = self.read(file, &place(setting))?;
        let unusable = |error: fcm::ServiceAccountError| {
            format!("{}: {}: {error}; download it again", place(setting), file.display())
        };
        let account = match ServiceAccount::parse(&json) {
            Ok(account) => account,
            Err(error) => return self.fault(unusable(error)),
        };
        let Some(project) = fcm.project.clone().or_else(|| account.project_id.clone()) else {
            return self.fault(format!("{} is missing, and the service account names no project", place("project")));
        };
        let http = self.http()?;
        let key = digest(&[&json]);
        let access = match self.shared.access.get(&key).and_then(Weak::upgrade) {
            Some(access) => access,
            None => match AccessTokens::new(account, http.clone(), self.clock.clone()) {
                Ok(access) => {
                    let access = Arc::new(access);
                    self.shared.access.insert(key, Arc::downgrade(&access));
                    access
                }
                Err(error) => return self.fault(unusable(error)),
            },
        };
        let pacer =
            self.shared.pacers.entry(project.clone()).or_insert_with(|| {
                Arc::new(Pacer::new(self.config.fcm_per_minute, self.config.fcm_quarter_hour_pause))
            });
        let url = fcm.url.as_deref().unwrap_or(fcm::DEFAULT_URL);
        let mut client = Fcm::new(url, &project, http, access, self.config.wake_style.clone(), self.clock.clone())
            .with_pacer(Arc::clone(pacer));
        if let Some(url) = &fcm.topics_url {
            client = client.with_topics_url(url);
        }
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("service account").to_owned();
        let digest = digest(&[&json, project.as_bytes()]);
        Some(Loaded { name, digest, client: Client::Fcm(Arc::new(client)), expires_at_ms: None })
    }

    fn webpush(&mut self, app: &AppConfig, webpush: &WebPushConfig) -> Option<Loaded> {
        let place = |setting: &str| Settings::named("push.apps", &app.name, &format!("webpush.{setting}"));
        let Some(file) = &webpush.private_key_file else {
            return self.fault(format!(
                "{} is missing: a P-256 private key, for example from `openssl ecparam -genkey -name prime256v1 -noout`",
                place("private_key_file")
            ));
        };
        let Some(contact) = &webpush.contact else {
            return self.fault(format!(
                "{} is missing: push services want a mailto: or https: address to write to when something goes wrong",
                place("contact")
            ));
        };
        let key = self.read(file, &place("private_key_file"))?;
        let vapid = match Vapid::new(&key, contact) {
            Ok(vapid) => vapid,
            Err(error @ webpush::VapidError::Contact(_)) => {
                return self.fault(format!("{}: {error}", place("contact")));
            }
            Err(error) => {
                return self.fault(format!("{}: {}: {error}", place("private_key_file"), file.display()));
            }
        };
        let (policy, http) = self.push_services()?;
        let (per_origin, style) = (self.config.webpush.per_origin, self.config.wake_style.clone());
        let client = WebPush::new(vapid, policy, http, per_origin, style, self.clock.clone());
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("VAPID key").to_owned();
        let digest = digest(&[&key, contact.as_bytes()]);
        Some(Loaded { name, digest, client: Client::WebPush(Arc::new(client)), expires_at_ms: None })
    }

    fn push_services(&mut self) -> Option<(Arc<Policy>, reqwest::Client)> {
        if let Some(made) = &self.shared.webpush {
            return Some(made.clone());
        }
        let settings = &self.config.webpush;
        let policy = match Policy::new(&settings.allow, &settings.ports, settings.plain_http) {
            Ok(policy) => Arc::new(policy),
            Err(error @ webpush::PolicyError::Port(_)) => return self.fault(format!("push.webpush.ports: {error}")),
            Err(error) => return self.fault(format!("push.webpush.allow: {error}")),
        };
        let timeout: Duration = settings.request_timeout;
        match webpush::client(&policy, self.config.ca_file.as_deref(), timeout) {
            Ok(client) => {
                let made = (policy, client);
                self.shared.webpush = Some(made.clone());
                Some(made)
            }
            Err(error) => self.fault(format!("push.ca_file: {error:#}")),
        }
    }

    fn http(&mut self) -> Option<reqwest::Client> {
        if let Some(client) = &self.shared.http {
            return Some(client.clone());
        }
        match tidings_shared::http::client(self.config.ca_file.as_deref()) {
            Ok(client) => {
                self.shared.http = Some(client.clone());
                Some(client)
            }
            Err(error) => self.fault(format!("push.ca_file: {error:#}")),
        }
    }

    fn folder(&mut self, folder: Option<&Path>, place: &str) -> Option<Vec<PathBuf>> {
        let Some(folder) = folder else { return Some(Vec::new()) };
        match listed(folder) {
            Ok(files) => Some(files),
            Err(error) => self.fault(format!("{place}: {}: the folder cannot be read: {error}", folder.display())),
        }
    }

    fn some(&mut self, loaded: Vec<Loaded>, place: &str) -> Option<Vec<Loaded>> {
        if loaded.is_empty() {
            return self.fault(format!("{place}: no usable credential is in the folder; put one there"));
        }
        Some(loaded)
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

/// An app at Apple while its credentials are read.
struct AppleApp<'a> {
    apns: &'a ApnsConfig,
    topic: &'a str,
    topic_header: HeaderValue,
    place: &'a dyn Fn(&str) -> String,
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}
