//! The sources of the workspace, as the rules look at them: without comments, and with string literals at hand.

use std::fs;
use std::path::{Path, PathBuf};

/// One `.rs` file.
pub(crate) struct Source {
    /// Its path from the workspace's folder, with `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// A line of code, without its comment.
pub(crate) struct CodeLine<'a> {
    pub(crate) number: usize,
    pub(crate) code: &'a str,
}

impl Source {
    /// The lines of code: no comments, no documentation, nothing after a `#[cfg(test)]` module begins.
    pub(crate) fn code(&self) -> Vec<CodeLine<'_>> {
        let end = self.text.find("#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        let mut lines = Vec::new();
        for (index, line) in self.text[..end].lines().enumerate() {
            let code = line.split_once("//").map_or(line, |(code, comment)| {
                // `://` is an address in a literal, not a comment.
                if code.ends_with(':') || comment.is_empty() && code.contains('"') { line } else { code }
            });
            if !code.trim().is_empty() {
                lines.push(CodeLine { number: index + 1, code });
            }
        }
        lines
    }

    /// Whether the file holds tests or what only tests use.
    pub(crate) fn is_test(&self) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        let file = parts.last().copied().unwrap_or_default();
        parts.iter().any(|part| ["tests", "testing", "benches"].contains(part))
            || ["tests.rs", "testing.rs"].contains(&file)
            || file.ends_with("_tests.rs")
            || self.text.starts_with("#![cfg(test)]")
    }

    /// Whether one of the path's parts, less `.rs`, is this name.
    pub(crate) fn is_in_module(&self, names: &[&str]) -> bool {
        self.path.split('/').any(|part| names.contains(&part.trim_end_matches(".rs")))
    }
}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every `.rs` file of the workspace's members.
pub(crate) fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for member in members() {
        walk(&root().join(&member), &member, &mut sources);
    }
    assert!(sources.len() > 20, "the sources were not found; the rules would hold for nothing");
    sources
}

/// The folders of the workspace's members, as the root `Cargo.toml` lists them.
pub(crate) fn members() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's Cargo.toml");
    let list = manifest.split_once("members = [").expect("the list of members").1;
    let list = list.split_once(']').expect("the end of the list of members").0;
    list.split(',')
        .map(|member| member.trim().trim_matches('"').to_owned())
        .filter(|member| !member.is_empty())
        .collect()
}

fn walk(folder: &Path, shown: &str, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(folder).expect("a folder of sources").flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{shown}/{name}");
        if entry.file_type().expect("a file's type").is_dir() {
            if name != "target" && !name.starts_with('.') {
                walk(&entry.path(), &path, sources);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("a source is UTF-8");
            sources.push(Source { path, text });
        }
    }
}

/// Fails with every place at once.
#[track_caller]
pub(crate) fn nothing_at(rule: &str, places: &[String]) {
    assert!(places.is_empty(), "{rule}\nbroken at:\n  {}\n", places.join("\n  "));
}
