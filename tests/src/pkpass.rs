//! A pass package as a stranger opens it: `unzip`, SHA-1 by `openssl`, the signature by `openssl cms -verify`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// An unpacked package.
pub struct Package {
    folder: TempDir,
}

impl Package {
    /// Unpacks it.
    ///
    /// # Panics
    /// When it is no zip archive.
    #[must_use]
    #[track_caller]
    pub fn unpack(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = folder.path().join("pass.pkpass");
        fs::write(&archive, bytes).expect("the package is written");
        let output = run(Command::new("unzip").args(["-q", "-d"]).arg(folder.path().join("pass")).arg(&archive));
        assert!(output.status.success(), "unzip: {}", String::from_utf8_lossy(&output.stderr));
        Self { folder }
    }

    /// `pass.json`.
    ///
    /// # Panics
    /// When it is missing or no JSON.
    #[must_use]
    pub fn pass(&self) -> Value {
        self.json("pass.json")
    }

    /// The files that are in it, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        walk(&self.root(), "", &mut files);
        files.sort();
        files
    }

    /// Checks what a phone checks: every file is in the manifest with its SHA-1, and the manifest is signed by a
    /// certificate that leads to this root.
    ///
    /// # Panics
    /// When something is wrong.
    #[track_caller]
    pub fn verify(&self, root: &Path) {
        let manifest = self.json("manifest.json");
        let mut listed: Vec<String> = manifest.as_object().expect("an object").keys().cloned().collect();
        listed.sort();
        let mut present = self.files();
        present.retain(|file| file != "manifest.json" && file != "signature");
        assert_eq!(listed, present, "the manifest lists every other file");
        for file in &present {
            let output = run(Command::new("openssl").args(["dgst", "-sha1", "-r"]).arg(self.root().join(file)));
            let digest = String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned();
            assert_eq!(manifest[file], Value::from(digest), "SHA-1 of {file}");
        }
        let output = run(Command::new("openssl")
            .args(["cms", "-verify", "-inform", "DER", "-purpose", "any", "-binary", "-out", "/dev/null", "-in"])
            .arg(self.root().join("signature"))
            .arg("-content")
            .arg(self.root().join("manifest.json"))
            .arg("-CAfile")
            .arg(root));
        assert!(output.status.success(), "openssl cms -verify: {}", String::from_utf8_lossy(&output.stderr));
        let output = run(Command::new("openssl")
            .args(["cms", "-cmsout", "-print", "-inform", "DER", "-in"])
            .arg(self.root().join("signature")));
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.contains("signingTime"), "the signature carries signingTime");
        assert!(printed.contains("sha256"), "the digest is SHA-256");
    }

    /// One of its files.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.root().join(file)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("pass")
    }

    fn json(&self, file: &str) -> Value {
        let text = fs::read(self.root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
    }
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()))
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the package").flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{name}/"), files);
        } else {
            files.push(name);
        }
    }
}
