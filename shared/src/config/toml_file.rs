//! Reads a TOML file into dotted paths with the line of each value.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::Raw;
use super::load::ConfigFault;

/// A value of the file.
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) raw: Raw,
}

/// Every value of the file, and what could not be read.
pub(super) fn read(file: &Path) -> (Vec<Entry>, Vec<ConfigFault>) {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            let problem = format!("the configuration file cannot be read: {error}");
            return (Vec::new(), vec![ConfigFault::new(file.display().to_string(), problem)]);
        }
    };
    let (table, errors) = DeTable::parse_recoverable(&text);
    let faults = errors
        .iter()
        .map(|error| {
            let line = error.span().map_or(1, |span| line_of(&text, span.start));
            ConfigFault::new(format!("{}:{line}", file.display()), format!("this is not TOML: {}", error.message()))
        })
        .collect();
    let mut entries = Vec::new();
    collect(&text, "", table.get_ref(), &mut entries);
    (entries, faults)
}

fn collect(text: &str, prefix: &str, table: &DeTable<'_>, entries: &mut Vec<Entry>) {
    for (key, value) in table {
        let path = join(prefix, key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => collect(text, &path, inner, entries),
            _ => entries.push(Entry { path, line: line_of(text, key.span().start), raw: raw(value) }),
        }
    }
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::Array(items) => Raw::Many(items.iter().map(scalar).collect()),
        _ => Raw::One(scalar(value)),
    }
}

fn scalar(value: &Spanned<DeValue<'_>>) -> String {
    match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => format!("a nested {}", value.get_ref().type_str()),
    }
}

/// Joins a path and a key, quoting keys with dots as TOML does.
pub(super) fn join(prefix: &str, key: &str) -> String {
    let key = if key.contains('.') { format!("\"{key}\"") } else { key.to_owned() };
    if prefix.is_empty() { key } else { format!("{prefix}.{key}") }
}

fn line_of(text: &str, position: usize) -> usize {
    text.as_bytes().iter().take(position).filter(|byte| **byte == b'\n').count() + 1
}
