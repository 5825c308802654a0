//! `tidings pass bulk`: a change of every pass that a query finds, in the service's background.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use tidings_shared::config::Settings;

use super::arguments::Change;
use crate::commands::say;
use crate::door::{Door, Room, Verdict, Where};
use crate::table::table;

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(500);

/// Which passes, and what becomes of them.
#[derive(Clone, Debug, Args)]
pub(crate) struct BulkArgs {
    /// Which passes (JSON), for example '{"template":"card","fields":{"level":"Gold"}}'; '{}' is all.
    #[arg(long = "where", value_name = "JSON")]
    query: String,
    #[command(flatten)]
    change: Change,
    /// Make them void.
    #[arg(long, conflicts_with = "valid")]
    void: bool,
    /// Make them valid again.
    #[arg(long)]
    valid: bool,
    /// When they end, for example 2027-01-31T23:59:00Z.
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,
    /// Change nothing; say how many there are, and what would become of the first ten.
    #[arg(long)]
    dry_run: bool,
    /// Wait for the end. Ends with 1 when a pass could not be changed.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn run(settings: &Settings, args: &BulkArgs) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let query: Value = serde_json::from_str(&args.query).context("--where is no JSON")?;
    let mut change = args.change.body()?;
    if args.void || args.valid {
        change.insert("voided".to_owned(), json!(args.void));
    }
    if let Some(expires) = &args.expires {
        change.insert("expirationDate".to_owned(), json!(expires));
    }
    let body = json!({ "query": query, "change": change, "dryRun": args.dry_run });
    let job = door.ask(Method::POST, &["jobs"], &[], Some(&body), None).await?;
    if args.dry_run {
        let text = |pass: &Value, name: &str| pass[name].as_str().unwrap_or_default().to_owned();
        let rows: Vec<_> = job["sample"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|pass| {
                let messages: Vec<_> =
                    pass["messages"].as_array().into_iter().flatten().map(|message| text(message, "message")).collect();
                let outcome = match (pass["fault"].as_str(), pass["changed"] == true) {
                    (Some(fault), _) => fault.to_owned(),
                    (None, true) => "changes".to_owned(),
                    (None, false) => "stays".to_owned(),
                };
                vec![text(pass, "serialNumber"), outcome, messages.join(" / ")]
            })
            .collect();
        if !rows.is_empty() {
            say(&table(&["pass", "", "phones show"], &rows))?;
        }
        say(&format!("{} passes\n", job["total"]))?;
        return Ok(Verdict::Good);
    }
    let id = job["id"].as_str().context("the service's answer names no job")?.to_owned();
    if !args.wait {
        say(&format!("{id}\nGET /api/jobs/{id} says how many passes it has and how far it is\n"))?;
        return Ok(Verdict::Good);
    }
    loop {
        let shown = door.get(&["jobs", &id], &[]).await?;
        if shown["state"] != "running" {
            say(&format!(
                "{}: {} passes, {} changed, {} could not be changed\n",
                shown["state"].as_str().unwrap_or_default(),
                shown["done"],
                shown["changed"],
                shown["failed"]
            ))?;
            for fault in shown["faults"].as_array().into_iter().flatten() {
                let text = |name: &str| fault[name].as_str().unwrap_or_default();
                say(&format!("  {}: {}\n", text("serialNumber").escape_debug(), text("message")))?;
            }
            return Ok(if shown["failed"] == 0 { Verdict::Good } else { Verdict::Bad });
        }
        tokio::time::sleep(LOOK).await;
    }
}
