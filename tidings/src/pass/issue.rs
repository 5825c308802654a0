//! `tidings pass issue`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use tidings_shared::config::Settings;

use super::arguments::Change;
use crate::commands::say;
use crate::door::{Body, Door, Room, Verdict, Where};

/// A pass to be made.
#[derive(Clone, Debug, Args)]
pub(crate) struct IssueArgs {
    /// The template.
    template: String,
    /// The serial number (default: the service makes one).
    #[arg(long)]
    serial: Option<String>,
    /// The pass type identifier (default: the template's, else the first configured one).
    #[arg(long = "type", value_name = "TYPE")]
    pass_type: Option<String>,
    #[command(flatten)]
    change: Change,
    /// When it ends, for example 2027-01-31T23:59:00Z.
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,
    /// Write the signed package there.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the service's JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn run(settings: &Settings, args: &IssueArgs) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let mut body = args.change.body()?;
    body.insert("template".to_owned(), json!(args.template));
    for (name, value) in [("serial", &args.serial), ("passType", &args.pass_type), ("expirationDate", &args.expires)] {
        if let Some(value) = value {
            body.insert(name.to_owned(), json!(value));
        }
    }
    let made = door.ask(Method::POST, &["passes"], &[], Some(&Value::Object(body)), None).await?;
    let text = |name: &str| made[name].as_str().unwrap_or_default();
    if let Some(file) = &args.out {
        let path = ["passes", text("passTypeIdentifier"), text("serialNumber"), "package"];
        let token = ("pass-token", text("authenticationToken"));
        let package = door.send(Method::GET, &path, &[], Body::Empty, Some(token)).await?;
        std::fs::write(file, package).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    if args.json {
        say(&format!("{made:#}\n"))?;
    } else {
        say(&format!("{}\n{}\n", text("serialNumber"), text("downloadUrl")))?;
    }
    Ok(Verdict::Good)
}
