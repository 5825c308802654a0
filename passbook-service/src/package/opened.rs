//! A `.pkpass` that somebody has: what is in it, whether its manifest fits, and what it looks like.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fault::{Fault, Faults};
use super::preview::Preview;
use super::template::{Template, strings_in};
use super::{sha1_hex, unpack};

/// A package, read.
pub struct Opened {
    /// `pass.json`.
    pub pass: Value,
    /// Every file and its size.
    pub files: BTreeMap<String, usize>,
    /// Where the package breaks Apple's rules: manifest, signature file, keys of `pass.json`.
    pub faults: Vec<Fault>,
    template: Template,
}

impl Opened {
    /// Reads a package. The signature itself is not checked here: `openssl cms -verify` does that.
    ///
    /// # Errors
    /// When it is no archive, or holds no `pass.json`.
    pub fn read(bytes: &[u8]) -> Result<Self, Faults> {
        let files = unpack(bytes)?;
        let mut faults = Faults::default();
        let content = |name: &str| files.iter().find(|(file, _)| file == name).map(|(_, bytes)| bytes.as_slice());
        let Some(pass) = content("pass.json").and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok()) else {
            faults.add("pass.json", "nothing readable", "is required");
            return Err(faults);
        };
        match content("manifest.json").and_then(|bytes| serde_json::from_slice::<BTreeMap<String, String>>(bytes).ok())
        {
            None => faults.add("manifest.json", "nothing readable", "is required: SHA-1 of every other file"),
            Some(manifest) => {
                for (name, bytes) in &files {
                    if matches!(name.as_str(), "manifest.json" | "signature") {
                        continue;
                    }
                    match manifest.get(name) {
                        Some(sha1) if *sha1 == sha1_hex(bytes) => {}
                        Some(sha1) => faults.add(name, sha1_hex(bytes), format!("the manifest says SHA-1 {sha1}")),
                        None => {
                            faults.add(name, "a file that the manifest does not name", "every file is in the manifest")
                        }
                    }
                }
                for name in manifest.keys().filter(|name| content(name).is_none()) {
                    faults.add(name, "nothing", "the manifest names it");
                }
            }
        }
        if content("signature").is_none_or(<[u8]>::is_empty) {
            faults.add("signature", "nothing", "is required: the CMS signature over the manifest");
        }
        if let Err(found) = super::validate::pass(&pass, super::validate::Rules { allow_http: true }) {
            faults.extend(found);
        }
        let sizes = files.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect();
        let (strings, _) = strings_in(&files);
        let template = Template::of_package(pass.clone(), files, strings);
        Ok(Self { pass, files: sizes, faults: faults.into_list(), template })
    }

    /// Its pictures, for a phone in a language.
    #[must_use]
    pub fn pictures(&self, language: Option<&str>) -> Preview {
        self.template.pictures(&self.pass, language)
    }

    /// The languages that there are texts for.
    #[must_use]
    pub fn languages(&self) -> Vec<String> {
        self.template.languages()
    }
}
