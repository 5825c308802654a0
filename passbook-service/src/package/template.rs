//! A template: `pass.json` with placeholders, images and `XX.lproj` folders, read once and hashed once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use serde_json::Value;

use super::fault::{Fault, Faults};
use super::strings::{self, Strings};
use super::validate::{self, Rules};
use super::{hex, placeholder, sha1_hex};

/// Made by the builder; a template never brings its own.
const RESERVED: [&str; 2] = ["manifest.json", "signature"];
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Apple names no limit; beyond this a phone on a train does not finish the download.
const LARGEST_FILE: u64 = 10 * 1024 * 1024;

/// A file that goes into the package as it is.
#[derive(Clone)]
pub(super) struct TemplateFile {
    /// Its content.
    pub(super) bytes: Arc<[u8]>,
    /// SHA-1 of the content, hexadecimal, for the manifest.
    pub(super) sha1: String,
}

/// What all passes of one kind have in common.
pub struct Template {
    /// The folder's name.
    pub name: String,
    /// `pass.json`, placeholders included, keys in the order of the file.
    pub(super) pass: Value,
    /// Every other file by its name in the package.
    pub(super) files: BTreeMap<String, TemplateFile>,
    /// The fields that the placeholders name.
    pub fields: BTreeSet<String>,
    /// Hexadecimal SHA-256 over all files: differs when anything in the folder differs.
    pub digest: String,
    /// The texts of each language.
    pub(super) strings: BTreeMap<String, Strings>,
    /// What Wallet takes, and people will wonder about.
    pub warnings: Vec<Fault>,
    /// Counts the versions of an uploaded template; 0 for others.
    pub revision: i64,
}

/// A template that cannot be used, with everything that is wrong in it.
#[derive(Debug)]
pub struct TemplateError {
    /// The template's folder.
    pub place: String,
    /// What is wrong.
    pub faults: Faults,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pass template {} cannot be used:\n{}", self.place, self.faults)
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Reads a template folder. Hidden files are left out.
    ///
    /// # Errors
    /// Names each file, key and value that breaks a rule.
    pub fn from_folder(folder: &Path) -> Result<Self, TemplateError> {
        let failed = |faults| TemplateError { place: folder.display().to_string(), faults };
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or("template").to_owned();
        let mut faults = Faults::default();
        let mut files = Vec::new();
        read_folder(folder, "", &mut files, &mut faults);
        faults.into_result().map_err(failed)?;
        Self::from_files(&name, files).map_err(failed)
    }

    /// A template from files that are already in memory.
    ///
    /// # Errors
    /// Names each file, key and value that breaks a rule.
    pub fn from_files(name: &str, files: Vec<(String, Vec<u8>)>) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let mut pass = None;
        let mut kept = BTreeMap::new();
        let (strings, found) = strings_in(&files);
        faults.extend(found);
        for (file, bytes) in files {
            if !is_place(&file) {
                let rule = "a file is at the top or in a language's folder (en.lproj/…), with a plain name that stays in the package";
                faults.add(file, "a name that leads elsewhere", rule);
            } else if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LARGEST_FILE {
                faults.add(file, format!("{} bytes", bytes.len()), "a file has at most 10 MiB");
            } else if RESERVED.contains(&file.as_str()) {
                faults.add(file, "a file of that name", "is made by the service: take it out of the template");
            } else if file == "pass.json" {
                match serde_json::from_slice::<Value>(&bytes) {
                    Ok(value) => pass = Some(value),
                    Err(error) => faults.add(file, error, "must be valid JSON (UTF-8)"),
                }
            } else {
                check_file(&file, &bytes, &mut faults);
                kept.insert(file, TemplateFile { sha1: sha1_hex(&bytes), bytes: bytes.into() });
            }
        }
        if !kept.contains_key("icon.png") {
            faults.add("icon.png", "nothing", "is required: the icon on the lock screen and in mails (29 x 29 points)");
        }
        let signup = kept.get(super::signup::FILE).map(|file| &*file.bytes);
        super::signup::check(signup, kept.keys().map(String::as_str), &mut faults);
        let Some(pass) = pass else {
            faults.add("pass.json", "nothing readable", "is required");
            return Err(faults);
        };
        let mut fields = placeholder::names(&pass, &mut faults);
        fields.retain(|field| !super::render::BUILT_IN.contains(&field.as_str()));
        faults.into_result()?;
        let digest = digest_of(&pass, &kept);
        let warnings = super::warnings::of(&pass, &kept, &strings);
        Ok(Self { name: name.to_owned(), pass, files: kept, fields, digest, strings, warnings, revision: 0 })
    }

    /// A template that is one pass: to be looked at.
    pub(super) fn of_package(pass: Value, files: Vec<(String, Vec<u8>)>, strings: BTreeMap<String, Strings>) -> Self {
        let kept = files.into_iter().filter(|(name, _)| name.ends_with(".png"));
        let files =
            kept.map(|(name, bytes)| (name, TemplateFile { sha1: sha1_hex(&bytes), bytes: bytes.into() })).collect();
        let (name, digest) = (String::new(), String::new());
        Self { name, pass, files, fields: BTreeSet::new(), digest, strings, warnings: Vec::new(), revision: 0 }
    }

    /// Whether a pass needs no value for this field.
    #[must_use]
    pub fn has_default(&self, field: &str) -> bool {
        placeholder::has_default(&self.pass, field)
    }

    /// Whether its passes ask their holder to sign up.
    #[must_use]
    pub fn asks_to_sign_up(&self) -> bool {
        self.files.contains_key(super::signup::FILE)
    }

    /// A file of the template, by its name in the package, with the hexadecimal SHA-1 of its content.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<(&[u8], &str)> {
        self.files.get(name).map(|file| (&*file.bytes, file.sha1.as_str()))
    }

    /// The names of its files but for `pass.json`.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Checks what can be known before there is a pass: `issued` is the `pass.json` with the issuer's keys set.
    pub(super) fn check(issued: &Value, rules: Rules) -> Result<(), Faults> {
        validate::pass(issued, rules)
    }
}

/// The texts of each language in these files, and what is wrong with them.
pub(super) fn strings_in(files: &[(String, Vec<u8>)]) -> (BTreeMap<String, Strings>, Faults) {
    let (mut read, mut faults) = (BTreeMap::new(), Faults::default());
    for (file, bytes) in files {
        let Some(language) = file.strip_suffix(".lproj/pass.strings") else { continue };
        match strings::parse(bytes) {
            Ok(texts) => drop(read.insert(language.to_owned(), texts)),
            Err((line, found)) => {
                faults.add(format!("{file}, line {line}"), found, "a line is written \"key\" = \"value\";");
            }
        }
    }
    (read, faults)
}

fn digest_of(pass: &Value, files: &BTreeMap<String, TemplateFile>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(pass.to_string().as_bytes());
    for (name, file) in files {
        context.update(name.as_bytes());
        context.update(&[0]);
        context.update(file.sha1.as_bytes());
    }
    hex(context.finish().as_ref())
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Vec<(String, Vec<u8>)>, faults: &mut Faults) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            return faults.add(folder.display().to_string(), error, "must be a folder that the service can read");
        }
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    for path in paths {
        let Some(file) = path.file_name().and_then(|name| name.to_str()) else {
            faults.add(path.display().to_string(), "a name that is not UTF-8", "file names are UTF-8");
            continue;
        };
        let name = format!("{prefix}{file}");
        if file.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            if prefix.is_empty() && file.ends_with(".lproj") {
                read_folder(&path, &format!("{name}/"), files, faults);
            } else {
                faults.add(name, "a folder", "the only folders in a template are languages: en.lproj, de.lproj, …");
            }
            continue;
        }
        match std::fs::metadata(&path).map(|metadata| metadata.len()) {
            Ok(size) if size > LARGEST_FILE => faults.add(name, format!("{size} bytes"), "a file has at most 10 MiB"),
            Ok(_) => match std::fs::read(&path) {
                Ok(bytes) => files.push((name, bytes)),
                Err(error) => faults.add(name, error, "must be readable"),
            },
            Err(error) => faults.add(name, error, "must be readable"),
        }
    }
}

/// Whether a file of this name stays where packages have files: phones and other readers unpack what they get.
fn is_place(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && !part.chars().any(|c| c.is_control() || c == '\\' || c == ':')
    };
    match name.split_once('/') {
        None => plain(name),
        Some((folder, file)) => {
            let language = folder.strip_suffix(".lproj").is_some_and(|language| !language.is_empty());
            language && plain(folder) && plain(file) && !file.contains('/')
        }
    }
}

fn check_file(name: &str, bytes: &[u8], faults: &mut Faults) {
    let base = name.rsplit('/').next().unwrap_or(name);
    match base.rsplit_once('.').map(|(_, extension)| extension) {
        Some("png") if bytes.starts_with(PNG) => {}
        Some("png") => {
            faults.add(name, "another format inside", "is a PNG image: save it as PNG, renaming is not enough")
        }
        Some("strings") if name.contains('/') => {}
        Some("strings") => {
            faults.add(name, "it at the top", "belongs into a language folder, for example en.lproj/pass.strings")
        }
        Some("json") if name == "personalization.json" => {}
        _ => faults.add(
            name,
            "a file that no pass has",
            "a template has pass.json, PNG images, XX.lproj/pass.strings and personalization.json",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stays_in_the_package() {
        for good in ["icon.png", "icon@2x.png", "en.lproj/logo.png", "zh-Hant.lproj/pass.strings"] {
            assert!(is_place(good), "{good}");
        }
        for bad in [
            "../x.png",
            "../../x.png",
            "/x.png",
            "a/b.png",
            "C:\\x.png",
            "C:x.png",
            "en.lproj/../x.png",
            "en.lproj/../../x.png",
            "en.lproj//x.png",
            "en.lproj/a/b.png",
            ".lproj/x.png",
            "..lproj/x.png",
            ".hidden.png",
            "a\nb.png",
            "",
            "en.lproj/",
        ] {
            assert!(!is_place(bad), "{bad:?}");
        }
        let mut files = crate::package::example_files();
        files.push(("../../evil.png".to_owned(), PNG.to_vec()));
        let faults = Template::from_files("x", files).err().unwrap_or_default();
        assert!(faults.list().iter().any(|fault| fault.key == "../../evil.png"), "{faults}");
        let mut files = crate::package::example_files();
        files.push(("strip.png".to_owned(), [PNG, &vec![0; 10 * 1024 * 1024]].concat()));
        let faults = Template::from_files("x", files).err().unwrap_or_default();
        assert!(faults.to_string().contains("10 MiB"), "{faults}");
    }
}
