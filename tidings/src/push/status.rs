//! `tidings push status`.

use serde_json::Value;
use tidings_shared::config::Settings;

use super::arguments::StatusArgs;
use crate::commands::say;
use crate::door::{Door, Room, Verdict};
use crate::operate::moment;
use crate::table::table;

pub(super) async fn run(settings: &Settings, args: &StatusArgs) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Push, &args.at)?;
    let shown = door.get(&["notifications", &args.id], &[]).await?;
    let timeline = match args.timeline {
        true => Some(door.get(&["notifications", &args.id, "timeline"], &[]).await?),
        false => None,
    };
    if args.json {
        say(&format!("{:#}\n", timeline.as_ref().unwrap_or(&shown)))?;
        return Ok(verdict(&shown));
    }
    let verdict = print(&shown)?;
    if let Some(timeline) = timeline {
        for target in timeline["targets"].as_array().into_iter().flatten() {
            let name = target["device"].as_str().or(target["target"].as_str()).unwrap_or("?");
            say(&format!("\n{}\n", name.escape_debug()))?;
            let events = target["events"].as_array().into_iter().flatten();
            let rows: Vec<_> = events.map(step).collect();
            say(&table(&["time", "event", "detail"], &rows))?;
        }
        if timeline["next"].is_string() {
            say("there are more targets: GET /v1/notifications/{id}/timeline?after=… has them\n")?;
        }
    }
    Ok(verdict)
}

fn step(event: &Value) -> Vec<String> {
    let mut detail = Vec::new();
    for (name, what) in
        [("provider_status", "status"), ("reason", "reason"), ("provider_id", "id"), ("attempts", "attempts")]
    {
        match &event[name] {
            Value::Null => {}
            Value::String(text) => detail.push(format!("{what} {text}")),
            other => detail.push(format!("{what} {other}")),
        }
    }
    vec![event["at_ms"].as_i64().map_or_else(String::new, moment), text(&event["event"]), detail.join(", ")]
}

/// Shows a notification and what it says.
pub(super) fn print(shown: &Value) -> anyhow::Result<Verdict> {
    let targets = shown["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<_> = targets.iter().map(row).collect();
    if targets.is_empty() && shown["expansion"].is_null() {
        say("it went to nobody: no device was registered there\n")?;
    } else {
        say(&table(&["device", "provider", "app", "state", "attempts", "status", "reason"], &rows))?;
    }
    if let Some(expansion) = shown["expansion"].as_object() {
        let complete = if expansion["complete"] == true { "complete" } else { "still being addressed" };
        let (made, skipped) = (&expansion["targets"], &expansion["skipped"]);
        say(&format!("segment: {made} devices addressed, {skipped} skipped, {complete}\n"))?;
    }
    Ok(verdict(shown))
}

fn row(target: &Value) -> Vec<String> {
    let status = target["provider_status"].as_u64().map_or_else(String::new, |status| status.to_string());
    let device = target["device"].as_str().unwrap_or("(token)").to_owned();
    vec![
        device,
        text(&target["provider"]),
        text(&target["app"]),
        text(&target["state"]),
        target["attempts"].to_string(),
        status,
        text(&target["reason"]),
    ]
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Nothing more happens to it.
pub(super) fn has_ended(shown: &Value) -> bool {
    let targets = shown["targets"].as_array().into_iter().flatten();
    let complete = shown["expansion"].is_null() || shown["expansion"]["complete"] == true;
    complete
        && targets
            .map(|target| text(&target["state"]))
            .all(|state| ["accepted", "dead", "expired", "unknown"].contains(&state.as_str()))
}

/// Bad when a push will not arrive.
fn verdict(shown: &Value) -> Verdict {
    let targets = shown["targets"].as_array().into_iter().flatten();
    let lost = targets
        .map(|target| text(&target["state"]))
        .any(|state| ["dead", "expired", "unknown"].contains(&state.as_str()));
    if lost { Verdict::Bad } else { Verdict::Good }
}
