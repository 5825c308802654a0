//! `tidings pass history` and `diff`.

use clap::Args;
use serde_json::Value;
use tidings_shared::config::Settings;

use super::arguments::PassName;
use super::show::text;
use crate::commands::say;
use crate::door::{Door, Room, Verdict, Where};
use crate::operate::moment;
use crate::table::table;

/// Whose history.
#[derive(Clone, Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pass: PassName,
    /// Print the service's JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

/// Which versions.
#[derive(Clone, Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pass: PassName,
    /// A revision (default: the one before).
    #[arg(long)]
    from: Option<i64>,
    /// Another (default: the present one).
    #[arg(long)]
    to: Option<i64>,
    /// Print the service's JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn list(settings: &Settings, args: &HistoryArgs) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let pass_type = args.pass.pass_type(settings);
    let path = ["passes", pass_type.as_str(), args.pass.serial.as_str(), "versions"];
    let found = door.get(&path, &[("limit", "200")]).await?;
    if args.json {
        say(&format!("{found:#}\n"))?;
        return Ok(Verdict::Good);
    }
    let rows: Vec<_> = found["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|version| {
            let state = match (version["voided"] == true, version["expirationDate"].as_str()) {
                (true, _) => "void".to_owned(),
                (false, Some(date)) => format!("ends {date}"),
                (false, None) => String::new(),
            };
            vec![
                version["revision"].to_string(),
                version["at"].as_i64().map_or_else(String::new, moment),
                state,
                fields(&version["fields"]),
            ]
        })
        .collect();
    say(&table(&["version", "since", "state", "fields"], &rows))?;
    Ok(Verdict::Good)
}

fn fields(fields: &Value) -> String {
    let all = fields.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={}", text(value)));
    all.collect::<Vec<_>>().join(" ")
}

pub(super) async fn diff(settings: &Settings, args: &DiffArgs) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let pass_type = args.pass.pass_type(settings);
    let path = ["passes", pass_type.as_str(), args.pass.serial.as_str(), "diff"];
    let (from, to) = (args.from.map(|n| n.to_string()), args.to.map(|n| n.to_string()));
    let query: Vec<(&str, &str)> = [("from", from.as_deref()), ("to", to.as_deref())]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let found = door.get(&path, &query).await?;
    if args.json {
        say(&format!("{found:#}\n"))?;
        return Ok(Verdict::Good);
    }
    say(&format!("from version {} to {}\n", found["from"], found["to"]))?;
    let row = |change: &Value| vec![text(&change["key"]), text(&change["from"]), text(&change["to"])];
    let rows: Vec<_> =
        ["changes", "pass"].into_iter().filter_map(|part| found[part].as_array()).flatten().map(row).collect();
    if rows.is_empty() {
        say("nothing differs\n")?;
    } else {
        say(&table(&["key", "from", "to"], &rows))?;
    }
    for message in found["messages"].as_array().into_iter().flatten() {
        say(&format!("phones showed: {}\n", text(&message["message"]).escape_debug()))?;
    }
    Ok(Verdict::Good)
}
