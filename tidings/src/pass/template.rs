//! `tidings pass template`: begin, check, upload and list.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use tidings_passbook_service::package::{STARTERS, Template, starter};
use tidings_shared::config::Settings;

use super::preview::issuer;
use crate::commands::say;
use crate::door::{Body, Door, Room, Verdict, Where};
use crate::table::table;

/// What is done with templates.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// Check a folder against Apple's rules. Ends with 1 when one is broken; warnings alone are no fault.
    Check {
        /// The folder.
        folder: PathBuf,
        /// Warnings are faults too.
        #[arg(long)]
        strict: bool,
    },
    /// Begin a template.
    New {
        /// The folder to be made.
        folder: PathBuf,
        /// The style.
        #[arg(long, default_value = "generic", value_parser = clap::builder::PossibleValuesParser::new(STARTERS))]
        style: String,
    },
    /// Upload a folder to the service, as a new template or a new version; its passes follow.
    Put(PutArgs),
    /// List the service's templates.
    List {
        #[command(flatten)]
        at: Where,
    },
}

/// What is uploaded.
#[derive(Clone, Debug, Args)]
pub(crate) struct PutArgs {
    /// The folder.
    folder: PathBuf,
    /// The template's name (default: the folder's).
    #[arg(long)]
    name: Option<String>,
    /// Only let the service check it.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    at: Where,
}

pub(super) async fn run(settings: &Settings, command: &TemplateCommand) -> anyhow::Result<Verdict> {
    match command {
        TemplateCommand::Check { folder, strict } => check(settings, folder, *strict),
        TemplateCommand::New { folder, style } => new(folder, style),
        TemplateCommand::Put(args) => put(settings, args).await,
        TemplateCommand::List { at } => list(settings, at).await,
    }
}

fn check(settings: &Settings, folder: &Path, strict: bool) -> anyhow::Result<Verdict> {
    let checked = Template::from_folder(folder)
        .map_err(|error| error.faults)
        .and_then(|template| template.check_for(&issuer(settings, &template)).map(|()| template));
    let template = match checked {
        Ok(template) => template,
        Err(faults) => {
            for fault in faults.list() {
                say(&format!("fault    {fault}\n"))?;
            }
            say(&format!("{}: {} faults\n", folder.display(), faults.list().len()))?;
            return Ok(Verdict::Bad);
        }
    };
    for warning in &template.warnings {
        say(&format!("warning  {warning}\n"))?;
    }
    let fields: Vec<_> = template.fields.iter().map(String::as_str).collect();
    say(&format!(
        "{}: good, {} warnings; style {}; fields: {}\n",
        folder.display(),
        template.warnings.len(),
        template.style(),
        if fields.is_empty() { "none".to_owned() } else { fields.join(", ") }
    ))?;
    Ok(if strict && !template.warnings.is_empty() { Verdict::Bad } else { Verdict::Good })
}

fn new(folder: &Path, style: &str) -> anyhow::Result<Verdict> {
    let place = folder.display();
    if folder.exists() {
        bail!("{place} is there already; name a folder that is not");
    }
    let files = starter(style).context("there is no such style")?;
    for (name, bytes) in files {
        let file = folder.join(&name);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        }
        std::fs::write(&file, bytes).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    say(&format!(
        "{place}: a {style} to begin with\n  tidings pass template check {place}\n  tidings pass preview {place} --out {place}-preview\n"
    ))?;
    Ok(Verdict::Good)
}

async fn put(settings: &Settings, args: &PutArgs) -> anyhow::Result<Verdict> {
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let of_folder = || args.folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let name = args.name.clone().or_else(of_folder).context("the folder has no name; give one with --name")?;
    let archive = zipped(&args.folder)?;
    let query: &[_] = if args.dry_run { &[("dryRun", "true")] } else { &[] };
    let body = Body::Bytes("application/zip", &archive);
    let answer = door.send(Method::PUT, &["templates", &name], query, body, None).await?;
    let shown: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
    for warning in shown["warnings"].as_array().into_iter().flatten() {
        let text = |name: &str| warning[name].as_str().unwrap_or_default();
        say(&format!("warning  {}: found {}; {}\n", text("key"), text("found"), text("rule")))?;
    }
    say(&match args.dry_run {
        true => format!("{name}: the service would take it\n"),
        false => format!("{name}: version {}\n", shown["revision"]),
    })?;
    Ok(Verdict::Good)
}

async fn list(settings: &Settings, at: &Where) -> anyhow::Result<Verdict> {
    let found = Door::new(settings, Room::Wallet, at)?.get(&["templates"], &[]).await?;
    let rows: Vec<_> = found["templates"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|template| {
            let text = |name: &str| template[name].as_str().unwrap_or_default().to_owned();
            let list = |name: &str| {
                let items = template[name].as_array().into_iter().flatten().filter_map(|item| item.as_str());
                items.collect::<Vec<_>>().join(" ")
            };
            let warnings = template["warnings"].as_array().map_or(0, Vec::len).to_string();
            let version = template["revision"].to_string();
            vec![text("name"), text("style"), text("source"), version, list("languages"), list("fields"), warnings]
        })
        .collect();
    say(&table(&["template", "style", "source", "version", "languages", "fields", "warnings"], &rows))?;
    Ok(Verdict::Good)
}

/// The folder as an archive; hidden files are left out.
fn zipped(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    add(&mut writer, folder, "")?;
    Ok(writer.finish()?.into_inner())
}

fn add(writer: &mut zip::ZipWriter<Cursor<Vec<u8>>>, folder: &Path, prefix: &str) -> anyhow::Result<()> {
    let place = || format!("{} cannot be read", folder.display());
    for entry in std::fs::read_dir(folder).with_context(place)? {
        let entry = entry.with_context(place)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            add(writer, &path, &format!("{prefix}{name}/"))?;
        } else {
            let bytes = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            writer.start_file(format!("{prefix}{name}"), zip::write::SimpleFileOptions::default())?;
            writer.write_all(&bytes)?;
        }
    }
    Ok(())
}
