//! `tidings pass show`.

use serde_json::Value;
use tidings_shared::config::Settings;

use super::arguments::ShowArgs;
use crate::commands::say;
use crate::door::{Door, Room, Verdict};
use crate::table::table;

pub(super) async fn run(settings: &Settings, args: &ShowArgs) -> anyhow::Result<Verdict> {
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

/// A text without its quotation marks; anything else as JSON.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
