//! Credentials for APNs: `.p8` keys and client certificates.

use std::path::Path;
use std::sync::{Arc, Weak};

use http::HeaderValue;
use tidings_shared::config::Settings;
use tidings_shared::tls;

use super::super::certificate;
use super::super::credentials::{Client, Loaded};
use super::{Loader, digest};
use crate::config::{ApnsConfig, AppConfig};
use crate::provider::apns::{Apns, Authentication, Endpoint, Limits, Signer, Transport};

const APPLE: &str = "https://api.push.apple.com";
const APPLE_SANDBOX: &str = "https://api.sandbox.push.apple.com";
const APPLE_CHANNELS: &str = "https://api-manage-broadcast.push.apple.com:2196";
const APPLE_CHANNELS_SANDBOX: &str = "https://api-manage-broadcast.sandbox.push.apple.com:2195";

/// An app at Apple while its credentials are read.
struct AppleApp<'a> {
    apns: &'a ApnsConfig,
    topic: &'a str,
    topic_header: HeaderValue,
    place: &'a dyn Fn(&str) -> String,
}

impl Loader<'_> {
    pub(super) fn apns(&mut self, app: &AppConfig, apns: &ApnsConfig) -> Option<Vec<Loaded>> {
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
}
