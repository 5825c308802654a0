//! Opening a `.pkpass`: the zip archive, the manifest's hashes, and what the device needs of `pass.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Cursor, Read as _};

use serde::Deserialize;
use sha1::{Digest, Sha1};

use super::signature::TrustedRoot;

/// The largest file that is unpacked, so that no package can fill the memory.
const MAX_FILE: u64 = 64 * 1024 * 1024;
const STYLES: [&str; 5] = ["boardingPass", "coupon", "eventTicket", "generic", "storeCard"];

/// A package that was opened and found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// `passTypeIdentifier`.
    pub pass_type: String,
    /// `serialNumber`.
    pub serial: String,
    /// `webServiceURL` without a slash at its end, and `authenticationToken`; absent for a pass without updates.
    pub web_service: Option<(String, String)>,
    /// `pass.json`.
    pub pass: serde_json::Value,
    /// `manifest.json`: equal manifests are equal passes.
    pub manifest: Vec<u8>,
    /// `signature`: detached CMS over the manifest, DER.
    pub signature: Vec<u8>,
    /// It has `personalization.json`: its owner is asked who they are.
    pub personalizable: bool,
}

/// Why a package cannot be used, in a few words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PackageError(String);

fn fault(text: impl Into<String>) -> PackageError {
    PackageError(text.into())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PassJson {
    format_version: i64,
    pass_type_identifier: String,
    serial_number: String,
    #[serde(rename = "webServiceURL")]
    web_service_url: Option<String>,
    authentication_token: Option<String>,
}

impl Package {
    /// Opens a package.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(bytes: &[u8]) -> Result<Self, PackageError> {
        let mut files = unzip(bytes)?;
        let manifest = files.remove("manifest.json").ok_or_else(|| fault("manifest.json is missing"))?;
        let signature = files.remove("signature").ok_or_else(|| fault("signature is missing"))?;
        if signature.is_empty() {
            return Err(fault("signature is empty"));
        }
        check_manifest(&manifest, &files)?;
        let pass = files.get("pass.json").ok_or_else(|| fault("pass.json is missing"))?;
        if !files.contains_key("icon.png") {
            return Err(fault("icon.png is missing"));
        }
        let json: serde_json::Value =
            serde_json::from_slice(pass).map_err(|error| fault(format!("pass.json is no JSON: {error}")))?;
        let keys = PassJson::deserialize(&json).map_err(|error| fault(format!("pass.json: {error}")))?;
        if keys.format_version != 1 {
            return Err(fault("pass.json: formatVersion is not 1"));
        }
        if STYLES.iter().filter(|style| json.get(**style).is_some()).count() != 1 {
            return Err(fault("pass.json: exactly one pass style is needed"));
        }
        let web_service = match (keys.web_service_url, keys.authentication_token) {
            (Some(url), Some(token)) if token.len() >= 16 => Some((url.trim_end_matches('/').to_owned(), token)),
            (Some(_), Some(_)) => return Err(fault("pass.json: authenticationToken has fewer than 16 characters")),
            (None, None) => None,
            _ => return Err(fault("pass.json: webServiceURL and authenticationToken belong together")),
        };
        Ok(Self {
            pass_type: keys.pass_type_identifier,
            serial: keys.serial_number,
            web_service,
            pass: json,
            manifest,
            signature,
            personalizable: files.contains_key("personalization.json"),
        })
    }

    /// Checks the manifest's signature.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_signature(&self, root: &TrustedRoot) -> Result<(), PackageError> {
        let team = self.pass.get("teamIdentifier").and_then(serde_json::Value::as_str).unwrap_or_default();
        root.check(&self.signature, &self.manifest, &self.pass_type, team).map_err(fault)
    }
}

fn unzip(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, PackageError> {
    let bad = |error: &dyn std::fmt::Display| fault(format!("it cannot be unpacked: {error}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| bad(&error))?;
    let mut files = BTreeMap::new();
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(|error| bad(&error))?;
        if file.is_dir() {
            continue;
        }
        let name = file.name().map_err(|error| bad(&error))?.to_string();
        let mut content = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut content).map_err(|error| bad(&error))?;
        files.insert(name, content);
    }
    Ok(files)
}

/// Every file but the manifest and the signature is listed with its SHA-1, and nothing else is.
fn check_manifest(manifest: &[u8], files: &BTreeMap<String, Vec<u8>>) -> Result<(), PackageError> {
    let hashes: BTreeMap<String, String> = serde_json::from_slice(manifest)
        .map_err(|error| fault(format!("manifest.json is no map of texts: {error}")))?;
    let (listed, there): (BTreeSet<_>, BTreeSet<_>) = (hashes.keys().collect(), files.keys().collect());
    if let Some(name) = there.difference(&listed).next() {
        return Err(fault(format!("the manifest does not list {name}")));
    }
    if let Some(name) = listed.difference(&there).next() {
        return Err(fault(format!("{name} is listed in the manifest but missing")));
    }
    for (name, content) in files {
        let mut hash = String::with_capacity(40);
        for byte in Sha1::digest(content) {
            let _ = write!(hash, "{byte:02x}");
        }
        if hashes.get(name).is_none_or(|listed| !listed.eq_ignore_ascii_case(&hash)) {
            return Err(fault(format!("the manifest's hash of {name} is wrong")));
        }
    }
    Ok(())
}
