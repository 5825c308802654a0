//! Reads an app's credentials from its files, and tells every fault at once: the setting, the file and what to do.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use sha2::{Digest, Sha256};
use tidings_shared::auth::AccessTokens;
use tidings_shared::clock::Clock;
use tidings_shared::push_api::Provider;

use super::credentials::Loaded;
use super::files::listed;
use crate::config::{AppConfig, Config};
use crate::provider::apns::{Signer, Transport};
use crate::provider::fcm::Pacer;
use crate::provider::webpush::Policy;

mod apple;
mod browsers;
mod google;

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

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}
