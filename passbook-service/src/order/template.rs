//! Order templates: a folder with the `order.json` that orders are laid over, their images, and their texts by language.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::package::{Faults, Issuer, hex};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = &[0xff, 0xd8, 0xff];
/// Apple names no limit; beyond this a phone on a train does not finish the download.
const LARGEST_FILE: usize = 10 * 1024 * 1024;

/// A file that goes into the package as it is.
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    /// SHA-256, hexadecimal, for the manifest.
    pub(super) sha256: String,
}

/// What all orders of one kind have in common.
pub struct OrderTemplate {
    /// The folder's name.
    pub name: String,
    pub(super) order: Value,
    pub(super) files: BTreeMap<String, File>,
    digest: String,
}

impl OrderTemplate {
    /// A template from files.
    ///
    /// # Errors
    /// Names each file that breaks a rule.
    pub fn from_files(name: &str, files: Vec<(String, Vec<u8>)>) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let mut order = json!({});
        let mut kept = BTreeMap::new();
        for (file, bytes) in files {
            match file.as_str() {
                "order.json" => match serde_json::from_slice::<Value>(&bytes) {
                    Ok(value) if value.is_object() => order = value,
                    Ok(other) => faults.add(file, other, "holds one JSON object"),
                    Err(error) => faults.add(file, error, "must be valid JSON (UTF-8)"),
                },
                "manifest.json" | "signature" => {
                    faults.add(file, "a file of that name", "is made by the service: take it out of the template");
                }
                _ => {
                    check_file(&file, &bytes, &mut faults);
                    kept.insert(file, File { sha256: hex(digest(&SHA256, &bytes).as_ref()), bytes });
                }
            }
        }
        faults.into_result()?;
        let hashes: Vec<(&String, &String)> = kept.iter().map(|(name, file)| (name, &file.sha256)).collect();
        let text = json!([order, hashes]).to_string();
        let digest = hex(digest(&SHA256, text.as_bytes()).as_ref());
        Ok(Self { name: name.to_owned(), order, files: kept, digest })
    }

    /// Reads a folder; hidden files are left out.
    ///
    /// # Errors
    /// Names what cannot be read and what breaks a rule.
    pub fn from_folder(folder: &Path) -> anyhow::Result<Self> {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or("order").to_owned();
        let mut files = Vec::new();
        read(folder, "", &mut files).with_context(|| folder.display().to_string())?;
        Self::from_files(&name, files)
            .map_err(|faults| anyhow::anyhow!("the order template {} cannot be used:\n{faults}", folder.display()))
    }

    /// Identifies what an order depends on besides its own content.
    #[must_use]
    pub fn basis(&self, issuer: &Issuer) -> String {
        let text = format!("order\n{}\n{}\n{}", self.digest, issuer.pass_type, issuer.web_service_url);
        hex(digest(&SHA256, text.as_bytes()).as_ref())
    }
}

fn read(folder: &Path, prefix: &str, files: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        if entry.path().is_dir() && prefix.is_empty() {
            read(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.push((format!("{prefix}{name}"), std::fs::read(entry.path())?));
        }
    }
    Ok(())
}

fn check_file(name: &str, bytes: &[u8], faults: &mut Faults) {
    let (folder, base) = name.rsplit_once('/').map_or((None, name), |(folder, base)| (Some(folder), base));
    if folder.is_some_and(|folder| !folder.ends_with(".lproj")) {
        return faults.add(name, "a folder", "the only folders in a template are languages: en.lproj, de.lproj, …");
    }
    if bytes.len() > LARGEST_FILE {
        return faults.add(name, format!("{} bytes", bytes.len()), "a file has at most 10 MiB");
    }
    match base.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
        Some("png") if bytes.starts_with(PNG) => {}
        Some("jpg" | "jpeg") if bytes.starts_with(JPEG) => {}
        Some("png" | "jpg" | "jpeg") => {
            faults.add(name, "another format inside", "is an image of the format that its name says");
        }
        Some("strings") if base == "order.strings" && folder.is_some() => {}
        _ => faults.add(
            name,
            "a file that no order has",
            "an order template has order.json, PNG and JPEG images and XX.lproj/order.strings",
        ),
    }
}

/// The order templates.
pub struct OrderCatalog(BTreeMap<String, Arc<OrderTemplate>>);

impl OrderCatalog {
    /// Reads a folder that holds one folder per order template, besides the built-in one.
    ///
    /// # Errors
    /// Everything that is wrong in any of them.
    pub fn load(folder: Option<&Path>) -> anyhow::Result<Self> {
        let built_in = vec![("order.json".to_owned(), br#"{"orderType":"ecommerce","status":"open"}"#.to_vec())];
        let built_in = OrderTemplate::from_files(super::BUILT_IN, built_in).map_err(anyhow::Error::new)?;
        let mut templates = BTreeMap::from([(super::BUILT_IN.to_owned(), Arc::new(built_in))]);
        let mut faults = Vec::new();
        if let Some(folder) = folder {
            let place = || format!("wallet.orders.templates: {}", folder.display());
            for entry in std::fs::read_dir(folder).with_context(place)? {
                let path = entry.with_context(place)?.path();
                let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
                if hidden || !path.is_dir() {
                    continue;
                }
                match OrderTemplate::from_folder(&path) {
                    Ok(template) => drop(templates.insert(template.name.clone(), Arc::new(template))),
                    Err(error) => faults.push(format!("{error:#}")),
                }
            }
        }
        anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(Self(templates))
    }

    /// A template.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<OrderTemplate>> {
        self.0.get(name)
    }

    /// All names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}
