//! `tidings pass order issue|update|show|package|delete`: orders of Apple's order tracking.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_shared::config::Settings;

use super::show::text;
use crate::commands::say;
use crate::door::{Body, Door, Room, Verdict, Where};
use crate::table::table;

/// Orders.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum OrderCommand {
    /// Make an order from a JSON file that is laid over its template's order.json.
    Issue(IssueArgs),
    /// Lay a JSON file over an order's content (RFC 7396: null takes a key away).
    Update(UpdateArgs),
    /// Show an order.
    Show(OrderArgs),
    /// Download the signed package.
    Package(PackageArgs),
    /// Delete an order.
    Delete(OrderArgs),
}

/// Which order.
#[derive(Clone, Debug, Args)]
pub(crate) struct OrderName {
    /// The order identifier.
    identifier: String,
    /// The order type identifier, for example order.org.example.
    #[arg(long = "type", value_name = "TYPE")]
    order_type: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct IssueArgs {
    /// The JSON file; `-` is standard input.
    file: PathBuf,
    /// The order type identifier (default: the only one that is served).
    #[arg(long = "type", value_name = "TYPE")]
    order_type: Option<String>,
    /// The order identifier (default: a random one).
    #[arg(long)]
    identifier: Option<String>,
    /// The template (default: the built-in one, which has no images).
    #[arg(long)]
    template: Option<String>,
    #[command(flatten)]
    at: Where,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    order: OrderName,
    /// The JSON file; `-` is standard input.
    file: PathBuf,
    #[command(flatten)]
    at: Where,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct OrderArgs {
    #[command(flatten)]
    order: OrderName,
    #[command(flatten)]
    at: Where,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct PackageArgs {
    #[command(flatten)]
    order: OrderName,
    /// Where it is written (default: IDENTIFIER.order).
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn run(settings: &Settings, command: &OrderCommand) -> anyhow::Result<Verdict> {
    let open = |at: &Where| Door::new(settings, Room::Wallet, at);
    match command {
        OrderCommand::Issue(args) => {
            let mut body = json!({ "order": read(&args.file)? });
            for (key, value) in
                [("orderType", &args.order_type), ("orderIdentifier", &args.identifier), ("template", &args.template)]
            {
                if let Some(value) = value {
                    body[key] = value.as_str().into();
                }
            }
            show(&open(&args.at)?.ask(Method::POST, &["orders"], &[], Some(&body), None).await?)?;
        }
        OrderCommand::Update(args) => {
            let body = json!({ "order": read(&args.file)? });
            let answer = open(&args.at)?.ask(Method::PATCH, &path(&args.order), &[], Some(&body), None).await?;
            show(&answer)?;
        }
        OrderCommand::Show(args) => {
            let answer = open(&args.at)?.get(&path(&args.order), &[]).await?;
            say(&format!("{answer:#}\n"))?;
        }
        OrderCommand::Package(args) => {
            let path = [path(&args.order).as_slice(), &["package"]].concat();
            let bytes = open(&args.at)?.send(Method::GET, &path, &[], Body::Empty, None).await?;
            let file = args.out.clone().unwrap_or_else(|| format!("{}.order", args.order.identifier).into());
            std::fs::write(&file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
            say(&format!("{} ({} bytes)\n", file.display(), bytes.len()))?;
        }
        OrderCommand::Delete(args) => {
            open(&args.at)?.ask(Method::DELETE, &path(&args.order), &[], None, None).await?;
        }
    }
    Ok(Verdict::Good)
}

fn path(order: &OrderName) -> [&str; 3] {
    ["orders", &order.order_type, &order.identifier]
}

fn show(answer: &Value) -> anyhow::Result<()> {
    let rows: Vec<_> =
        answer.as_object().into_iter().flatten().map(|(name, value)| vec![name.clone(), text(value)]).collect();
    say(&table(&["order", ""], &rows))
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let place = || format!("{}: the order's JSON cannot be read", file.display());
    let mut content = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut content).with_context(place)?;
    } else {
        content = std::fs::read_to_string(file).with_context(place)?;
    }
    serde_json::from_str(&content).with_context(place)
}
