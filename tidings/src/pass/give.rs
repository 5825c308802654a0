//! `tidings pass link` and `bundle`: giving passes to people.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use tidings_shared::config::Settings;

use crate::commands::say;
use crate::door::{Body, Door, Room, Verdict, Where};
use crate::operate::moment;

/// Which passes go together.
#[derive(Clone, Debug, Args)]
pub(crate) struct Together {
    /// Serial numbers, ten at most.
    #[arg(required = true, num_args = 1..=10)]
    serials: Vec<String>,
    /// Their pass type identifier (default: `wallet.pass_type`).
    #[arg(long = "type", value_name = "TYPE")]
    pass_type: Option<String>,
}

impl Together {
    fn body(&self, settings: &Settings) -> Value {
        let pass_type = self.pass_type.clone().unwrap_or_else(|| settings.text("wallet.pass_type"));
        let passes: Vec<_> =
            self.serials.iter().map(|serial| json!({ "passType": pass_type, "serial": serial })).collect();
        json!({ "passes": passes })
    }
}

/// What is behind the link.
#[derive(Clone, Debug, Args)]
pub(crate) struct LinkArgs {
    #[command(flatten)]
    passes: Together,
    /// How many seconds it opens (default: `wallet.links.ttl`).
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<i64>,
    #[command(flatten)]
    at: Where,
}

/// What is in the file.
#[derive(Clone, Debug, Args)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    passes: Together,
    /// Where it is written.
    #[arg(long, value_name = "FILE", default_value = "passes.pkpasses")]
    out: PathBuf,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn link(settings: &Settings, args: &LinkArgs) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let mut body = args.passes.body(settings);
    if let Some(ttl) = args.ttl {
        body["ttl"] = json!(ttl);
    }
    let link = door.ask(Method::POST, &["links"], &[], Some(&body), None).await?;
    let ends = link["expiresAt"].as_i64().map_or_else(String::new, moment);
    say(&format!("{}\nopens until {ends}\n", link["url"].as_str().unwrap_or_default()))?;
    Ok(Verdict::Good)
}

pub(super) async fn bundle(settings: &Settings, args: &BundleArgs) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let body = args.passes.body(settings);
    let bundle = door.send(Method::POST, &["bundles"], &[], Body::Json(&body), None).await?;
    let place = args.out.display();
    std::fs::write(&args.out, &bundle).with_context(|| format!("{place} cannot be written"))?;
    say(&format!("{place}: {} passes, {} bytes\n", args.passes.serials.len(), bundle.len()))?;
    Ok(Verdict::Good)
}
