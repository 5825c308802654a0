//! `tidings pass show`: a pass of the service, or a .pkpass file.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use tidings_passbook_service::package::Opened;
use tidings_shared::config::Settings;

use super::arguments::ShowArgs;
use crate::commands::say;
use crate::door::{Door, Room, Verdict};
use crate::table::table;

pub(super) async fn run(settings: &Settings, args: &ShowArgs) -> anyhow::Result<Verdict> {
    if args.pass.serial.ends_with(".pkpass") {
        return file(Path::new(&args.pass.serial), args.json);
    }
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let pass_type = args.pass.pass_type(settings);
    let shown = door.get(&["passes", &pass_type, &args.pass.serial], &[]).await?;
    if args.json {
        say(&format!("{shown:#}\n"))?;
        return Ok(Verdict::Good);
    }
    let rows: Vec<_> = shown
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| !value.is_null() && *name != "fields")
        .map(|(name, value)| vec![name.clone(), text(value)])
        .collect();
    say(&table(&["pass", ""], &rows))?;
    let fields: Vec<_> = shown["fields"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| vec![name.clone(), text(value)])
        .collect();
    if !fields.is_empty() {
        say(&format!("\n{}", table(&["field", "value"], &fields)))?;
    }
    Ok(Verdict::Good)
}

/// A package by itself. Its token is a secret and is not printed.
fn file(path: &Path, json: bool) -> anyhow::Result<Verdict> {
    let place = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("{place} cannot be read"))?;
    let mut opened = Opened::read(&bytes).map_err(|faults| anyhow::anyhow!("{place}:\n{faults}"))?;
    if opened.pass.get("authenticationToken").is_some() {
        opened.pass["authenticationToken"] = Value::from("(not shown)");
    }
    if json {
        say(&format!("{:#}\n", opened.pass))?;
    } else {
        let mut rows = Vec::new();
        leaves("", &opened.pass, &mut rows);
        say(&table(&["key", "value"], &rows))?;
        let files: Vec<_> = opened.files.iter().map(|(name, size)| vec![name.clone(), size.to_string()]).collect();
        say(&format!("\n{}", table(&["file", "bytes"], &files)))?;
    }
    for fault in &opened.faults {
        say(&format!("{fault}\n"))?;
    }
    Ok(if opened.faults.is_empty() { Verdict::Good } else { Verdict::Bad })
}

fn leaves(key: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                leaves(&key, value, rows);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                leaves(&format!("{key}[{index}]"), value, rows);
            }
        }
        value => rows.push(vec![key.to_owned(), text(value)]),
    }
}

/// A text without its quotation marks; anything else as JSON.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
