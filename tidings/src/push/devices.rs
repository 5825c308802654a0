//! `tidings push devices`.

use serde_json::Value;
use tidings_shared::config::Settings;

use super::arguments::DevicesArgs;
use crate::commands::say;
use crate::door::{Door, Room, Verdict};
use crate::operate::moment;
use crate::table::table;

pub(super) async fn run(settings: &Settings, args: &DevicesArgs) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Push, &args.at)?;
    let found = door.get(&["devices"], &[("user", &args.user)]).await?;
    if args.json {
        say(&format!("{found:#}\n"))?;
        return Ok(Verdict::Good);
    }
    let devices = found["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<_> = devices.iter().map(row).collect();
    if !rows.is_empty() {
        say(&table(&["device", "provider", "app", "locale", "version", "tags", "seen", "state"], &rows))?;
    }
    say(&format!("{} devices\n", rows.len()))?;
    Ok(Verdict::Good)
}

fn row(device: &Value) -> Vec<String> {
    let text = |name: &str| device[name].as_str().unwrap_or("-").to_owned();
    let tags: Vec<&str> = device["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let state = match device["quarantined_at_ms"].as_i64() {
        Some(since) => format!("in quarantine since {}", moment(since)),
        None if device["wake_outstanding"] == true => "woken, not back yet".to_owned(),
        None => "good".to_owned(),
    };
    vec![
        text("device"),
        text("provider"),
        match device["environment"].as_str() {
            Some("sandbox") => format!("{} (sandbox)", text("app")),
            _ => text("app"),
        },
        text("locale"),
        text("version"),
        if tags.is_empty() { "-".to_owned() } else { tags.join(" ") },
        device["seen_at_ms"].as_i64().map_or_else(String::new, moment),
        state,
    ]
}
