//! `tidings pass campaign`.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_shared::config::Settings;

use super::progress::Progress;
use crate::commands::say;
use crate::door::{Door, Room, Verdict, Where};
use crate::operate::moment;
use crate::table::table;

/// How often a campaign that is watched is asked for.
const LOOK: Duration = Duration::from_secs(1);

/// What is done with campaigns.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum CampaignCommand {
    /// Push to every device of a query that has something to fetch, as fast as the service bears it.
    Start(StartArgs),
    /// List campaigns, the newest first.
    List {
        /// Print the service's JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: Where,
    },
    /// Show how far a campaign is, and how many devices have asked since it began.
    Show(OneArgs),
    /// Watch a campaign until its sweep is over. Ends with 1 when it was cancelled.
    Watch(OneArgs),
    /// Stop a campaign where it is.
    Pause(OneArgs),
    /// Let a paused campaign go on where it stands.
    Resume(OneArgs),
    /// Sweep once more over those that have not asked since the campaign began.
    Sweep(OneArgs),
    /// End a campaign.
    Cancel(OneArgs),
}

/// A campaign to be started.
#[derive(Clone, Debug, Args)]
pub(crate) struct StartArgs {
    /// For people.
    name: String,
    /// Which passes (JSON), for example '{"template":"card","fields":{"tier":"gold"}}'; default: all.
    #[arg(long, value_name = "JSON", conflicts_with_all = ["template", "pass_type", "serial"])]
    query: Option<String>,
    /// Only passes of this template.
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// Only passes of this pass type.
    #[arg(long = "type", value_name = "TYPE")]
    pass_type: Option<String>,
    /// Only these passes (may be repeated).
    #[arg(long, value_name = "SERIAL")]
    serial: Vec<String>,
    /// Pushes a second that it begins with and never goes below.
    #[arg(long, default_value_t = 10)]
    floor: u32,
    /// Pushes a second that it never goes above.
    #[arg(long, default_value_t = 2000)]
    ceiling: u32,
    /// Slow down when the list takes longer than this, in ms (99th percentile).
    #[arg(long, default_value_t = 250)]
    list_ms: u32,
    /// Slow down when getting a pass takes longer than this, in ms (99th percentile).
    #[arg(long, default_value_t = 1000)]
    get_ms: u32,
    /// Slow down when more of a thousand answers to devices are errors.
    #[arg(long, default_value_t = 10)]
    errors_per_mille: u32,
    /// Sweep again this many hours after a sweep, to those that have not asked.
    #[arg(long, value_name = "HOURS")]
    repeat_hours: Option<u32>,
    /// With --repeat-hours: most sweeps, the first one included.
    #[arg(long, default_value_t = 3, requires = "repeat_hours")]
    at_most: u32,
    /// With --repeat-hours: stop when this many of a hundred devices have asked.
    #[arg(long, default_value_t = 100, requires = "repeat_hours")]
    coverage: u32,
    /// Watch it until its sweep is over.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    at: Where,
}

/// Which campaign.
#[derive(Clone, Debug, Args)]
pub(crate) struct OneArgs {
    /// Its id.
    id: String,
    /// Print the service's JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn run(settings: &Settings, command: &CampaignCommand) -> anyhow::Result<Verdict> {
    let (args, verb) = match command {
        CampaignCommand::Start(args) => return start(settings, args).await,
        CampaignCommand::List { json, at } => return list(settings, *json, at).await,
        CampaignCommand::Show(args) => return show(settings, args).await,
        CampaignCommand::Watch(args) => return watch(&Door::new(settings, Room::Wallet, &args.at)?, &args.id).await,
        CampaignCommand::Pause(args) => (args, "pause"),
        CampaignCommand::Resume(args) => (args, "resume"),
        CampaignCommand::Sweep(args) => (args, "sweep"),
        CampaignCommand::Cancel(args) => (args, "cancel"),
    };
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let campaign = door.ask(Method::POST, &["campaigns", &args.id, verb], &[], None, None).await?;
    if args.json {
        say(&format!("{campaign:#}\n"))?;
    } else {
        say(&summary(&campaign))?;
    }
    Ok(Verdict::Good)
}

async fn start(settings: &Settings, args: &StartArgs) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let query = match &args.query {
        Some(text) => serde_json::from_str(text).context("--query is no JSON")?,
        None => {
            let mut query = json!({});
            if let Some(template) = &args.template {
                query["template"] = json!(template);
            }
            if let Some(pass_type) = &args.pass_type {
                query["passType"] = json!(pass_type);
            }
            if !args.serial.is_empty() {
                query["serials"] = json!(args.serial);
            }
            query
        }
    };
    let mut body = json!({"name": args.name, "query": query, "rate": {"floor": args.floor, "ceiling": args.ceiling,
        "listMs": args.list_ms, "getMs": args.get_ms, "errorsPerMille": args.errors_per_mille}});
    if let Some(hours) = args.repeat_hours {
        let every = hours.saturating_mul(3600);
        body["repeat"] = json!({"everySeconds": every, "atMost": args.at_most, "coverage": args.coverage});
    }
    let campaign = door.ask(Method::POST, &["campaigns"], &[], Some(&body), None).await?;
    say(&summary(&campaign))?;
    match campaign["id"].as_str().filter(|_| args.watch) {
        Some(id) => watch(&door, id).await,
        None => Ok(Verdict::Good),
    }
}

async fn list(settings: &Settings, json: bool, at: &Where) -> anyhow::Result<Verdict> {
    let found = Door::new(settings, Room::Wallet, at)?.get(&["campaigns"], &[]).await?;
    if json {
        say(&format!("{found:#}\n"))?;
        return Ok(Verdict::Good);
    }
    let rows: Vec<_> = found["campaigns"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|campaign| {
            vec![
                text(&campaign["id"]),
                text(&campaign["name"]),
                text(&campaign["state"]),
                campaign["sweep"].to_string(),
                format!("{} of {}", campaign["lookedAt"], total(campaign)),
                campaign["counts"]["pushed"].to_string(),
                campaign["createdAt"].as_i64().map_or_else(String::new, moment),
            ]
        })
        .collect();
    say(&table(&["id", "name", "state", "sweep", "looked at", "pushed", "begun"], &rows))?;
    Ok(Verdict::Good)
}

async fn show(settings: &Settings, args: &OneArgs) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let mut campaign = door.get(&["campaigns", &args.id], &[]).await?;
    let coverage = door.get(&["campaigns", &args.id, "coverage"], &[]).await?;
    if args.json {
        if !coverage["devices"].is_null() {
            campaign["coverage"] = coverage;
        }
        say(&format!("{campaign:#}\n"))?;
        return Ok(Verdict::Good);
    }
    say(&summary(&campaign))?;
    if coverage["devices"].is_null() {
        say("coverage: it is being counted; ask again in a minute\n")?;
        return Ok(Verdict::Good);
    }
    say(&format!(
        "coverage: of {} devices {} have asked since, {} had everything, {} are left ({} of them cannot be pushed); counted at {}\n",
        coverage["devices"],
        coverage["asked"],
        coverage["current"],
        coverage["uncovered"],
        coverage["quarantined"],
        coverage["countedAt"].as_i64().map_or_else(String::new, moment),
    ))?;
    Ok(Verdict::Good)
}

/// Shows a bar until the sweep is over or somebody stops it.
async fn watch(door: &Door, id: &str) -> anyhow::Result<Verdict> {
    let mut progress = Progress::new("registrations");
    loop {
        let campaign = door.get(&["campaigns", id], &[]).await?;
        let (done, all) = (campaign["lookedAt"].as_u64().unwrap_or(0), campaign["total"].as_u64());
        if campaign["state"] != "running" {
            progress.finish(done, all, &message(&campaign));
            say(&summary(&campaign))?;
            return Ok(if campaign["state"] == "cancelled" { Verdict::Bad } else { Verdict::Good });
        }
        progress.set(done, all, message(&campaign));
        tokio::time::sleep(LOOK).await;
    }
}

fn message(campaign: &Value) -> String {
    let mut message =
        format!("{} pushed, {:.0}/s", campaign["counts"]["pushed"], campaign["rate"].as_f64().unwrap_or_default());
    if let Some(error) = campaign["lastError"].as_str() {
        message.push_str(", waits: ");
        message.push_str(&error.escape_debug().to_string());
    }
    message
}

fn summary(campaign: &Value) -> String {
    let counts = &campaign["counts"];
    let mut text = format!(
        "campaign {} \"{}\": {}, sweep {}\nlooked at {} of {} registrations: {} pushed, {} had everything, {} pushed a moment before, {} cannot be pushed, {} refused\nrate: {:.0} pushes a second\n",
        text(&campaign["id"]),
        text(&campaign["name"]),
        text(&campaign["state"]),
        campaign["sweep"],
        campaign["lookedAt"],
        total(campaign),
        counts["pushed"],
        counts["current"],
        counts["recent"],
        counts["unpushable"],
        counts["refused"],
        campaign["rate"].as_f64().unwrap_or_default(),
    );
    let waits = if campaign["state"] == "running" { "waits because" } else { "some pushes were given up because" };
    for (key, what) in [("rateReason", "last slowed down because"), ("lastError", waits)] {
        if let Some(reason) = campaign[key].as_str().filter(|reason| !reason.is_empty()) {
            text.push_str(&format!("{what} {}\n", reason.escape_debug()));
        }
    }
    if let Some(next) = campaign["nextAt"].as_i64() {
        text.push_str(&format!("next sweep: {}\n", moment(next)));
    }
    text
}

fn total(campaign: &Value) -> String {
    campaign["total"].as_i64().map_or_else(|| "?".to_owned(), |total| total.to_string())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().escape_debug().to_string()
}
