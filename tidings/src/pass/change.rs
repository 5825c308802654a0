//! `tidings pass update`, `void` and `expire`.

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};
use tidings_shared::config::Settings;

use super::arguments::{Change, PassName};
use crate::commands::say;
use crate::door::{Door, Room, Verdict, Where};

/// A change of a pass.
#[derive(Clone, Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    pass: PassName,
    #[command(flatten)]
    change: Change,
    /// Change nothing; say what would change, and what phones would show.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    at: Where,
}

/// Which pass becomes void.
#[derive(Clone, Debug, Args)]
pub(crate) struct VoidArgs {
    #[command(flatten)]
    pass: PassName,
    /// Make it valid again.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    at: Where,
}

/// When a pass ends.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExpireArgs {
    #[command(flatten)]
    pass: PassName,
    /// For example 2027-01-31T23:59:00Z (default: now).
    #[arg(long = "on", value_name = "DATE", conflicts_with = "undo")]
    date: Option<String>,
    /// Let it end when its template says.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn update(settings: &Settings, args: &UpdateArgs) -> anyhow::Result<Verdict> {
    let body = args.change.body()?;
    anyhow::ensure!(!body.is_empty(), "what is to change? --field, --unset, --fields-from or --user-info says it");
    patch(settings, &args.at, &args.pass, body, args.dry_run).await
}

pub(super) async fn void(settings: &Settings, args: &VoidArgs) -> anyhow::Result<Verdict> {
    let body = Map::from_iter([("voided".to_owned(), json!(!args.undo))]);
    patch(settings, &args.at, &args.pass, body, false).await
}

pub(super) async fn expire(settings: &Settings, args: &ExpireArgs) -> anyhow::Result<Verdict> {
    let date = match (&args.date, args.undo) {
        (_, true) => Value::Null,
        (Some(date), false) => json!(date),
        (None, false) => json!(crate::operate::moment(tidings_shared::clock::Clock::system().now_ms() / 1000 * 1000)),
    };
    let body = Map::from_iter([("expirationDate".to_owned(), date)]);
    patch(settings, &args.at, &args.pass, body, false).await
}

async fn patch(
    settings: &Settings,
    at: &Where,
    pass: &PassName,
    body: Map<String, Value>,
    dry_run: bool,
) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Wallet, at)?;
    let pass_type = pass.pass_type(settings);
    let query: &[_] = if dry_run { &[("dryRun", "true")] } else { &[] };
    let path = ["passes", pass_type.as_str(), pass.serial.as_str()];
    let changed = door.ask(Method::PATCH, &path, query, Some(&Value::Object(body)), None).await?;
    say(match (changed["changed"] == true, dry_run) {
        (true, true) => "it would change\n",
        (true, false) => "changed\n",
        (false, _) => "nothing changes: the pass is like that already\n",
    })?;
    for message in changed["messages"].as_array().into_iter().flatten() {
        let text = message["message"].as_str().unwrap_or_default();
        say(&format!("phones show: {}\n", text.escape_debug()))?;
    }
    Ok(Verdict::Good)
}
