//! `tidings pass devices` and `tidings pass diagnose`.

use clap::Args;
use reqwest::Method;
use serde_json::Value;
use tidings_shared::config::Settings;

use crate::commands::say;
use crate::door::{Door, Room, Verdict, Where};
use crate::operate::moment;
use crate::table::table;

/// How devices are shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Print the service's JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

/// What devices complain of.
#[derive(Clone, Debug, Args)]
pub(crate) struct DiagnoseArgs {
    /// Only this cause, for example spurious_push or unknown.
    #[arg(long)]
    cause: Option<String>,
    /// Forget this one (an id from the list): the next of its kind is told like a first.
    #[arg(long, value_name = "ID", conflicts_with = "cause")]
    clear: Option<String>,
    /// Print the service's JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn devices(settings: &Settings, args: &DevicesArgs) -> anyhow::Result<Verdict> {
    let found = Door::new(settings, Room::Wallet, &args.at)?.get(&["devices"], &[]).await?;
    if args.json {
        say(&format!("{found:#}\n"))?;
        return Ok(Verdict::Good);
    }
    let rows: Vec<_> = [
        ("heard of within 7 days", "within7Days"),
        ("heard of within 30 days", "within30Days"),
        ("heard of within 365 days", "within365Days"),
        ("longer ago, or never", "older"),
        ("all", "devices"),
        ("have asked this service", "askedEver"),
        ("in quarantine: token gone", "tokenGone"),
        ("in quarantine: do not answer", "unanswered"),
    ]
    .iter()
    .map(|(what, key)| vec![(*what).to_owned(), found[*key].to_string(), share(&found[*key], &found["devices"])])
    .collect();
    say(&table(&["devices", "number", "%"], &rows))?;
    if let Some(at) = found["nextForgottenAt"].as_i64() {
        say(&format!("the first of quarantine is forgotten at {}, unless it is heard of\n", moment(at)))?;
    }
    Ok(Verdict::Good)
}

fn share(part: &Value, all: &Value) -> String {
    match (part.as_f64(), all.as_f64()) {
        (Some(part), Some(all)) if all > 0.0 => format!("{:.1}", part * 100.0 / all),
        _ => "-".to_owned(),
    }
}

/// Ends with 1 while devices complain of something.
pub(super) async fn diagnose(settings: &Settings, args: &DiagnoseArgs) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    if let Some(id) = &args.clear {
        door.ask(Method::DELETE, &["diagnoses", id], &[], None, None).await?;
        say("forgotten; the next of its kind is told like a first\n")?;
        return Ok(Verdict::Good);
    }
    let mut found = door.get(&["diagnoses"], &[]).await?;
    if let (Some(cause), Some(all)) = (&args.cause, found["diagnoses"].as_array_mut()) {
        all.retain(|one| one["cause"] == cause.as_str());
    }
    if args.json {
        say(&format!("{found:#}\n"))?;
    }
    let all = found["diagnoses"].as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        if !args.json {
            say("devices complain of nothing\n")?;
        }
        return Ok(Verdict::Good);
    }
    if !args.json {
        for one in all {
            say(&paragraph(one))?;
        }
    }
    Ok(Verdict::Bad)
}

fn paragraph(one: &Value) -> String {
    let text = |key: &str| one[key].as_str().unwrap_or_default().escape_debug().to_string();
    let time = |key: &str| one[key].as_i64().map_or_else(String::new, moment);
    let mut shown = format!(
        "{} ({} times, {} to {}; id {})\n  they say:  {}\n  meaning:   {}\n  to do:     {}\n",
        text("cause"),
        one["count"],
        time("firstAt"),
        time("lastAt"),
        text("id"),
        text("pattern"),
        text("meaning"),
        text("remedy"),
    );
    for fact in one["facts"].as_array().into_iter().flatten() {
        let meaning = fact["meaning"].as_str().unwrap_or_default().escape_debug().to_string();
        shown.push_str(&format!("  known here: {} times {meaning}\n", fact["count"]));
    }
    shown.push('\n');
    shown
}
