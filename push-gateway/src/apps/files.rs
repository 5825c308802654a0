//! The files of an app's credentials: which they are, and whether they have changed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::config::AppConfig;

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
pub(super) fn listed(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
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
