//! `tidings pass import`.

mod reader;

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use tidings_shared::config::Settings;

use self::reader::{Format, Rows};
use super::progress::Progress;
use crate::commands::say;
use crate::door::{Door, Room, Verdict, Where};

/// Refused lines that are shown; the report has all.
const SHOWN: usize = 10;

/// What is taken over.
#[derive(Clone, Debug, Args)]
pub(crate) struct ImportArgs {
    /// A CSV file with a head, or a file with a JSON object a line.
    file: PathBuf,
    /// The template of rows that name none.
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// The pass type of rows that name none.
    #[arg(long = "type", value_name = "TYPE")]
    pass_type: Option<String>,
    /// How the file is written (default: as its name ends).
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What stands between the columns of a CSV file.
    #[arg(long, default_value = ",")]
    delimiter: char,
    /// Check everything and store nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where the refused lines are written to, as CSV (default: FILE.refused.csv).
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Rows of one request.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=2000))]
    batch: u16,
    #[command(flatten)]
    at: Where,
}

/// What came of it so far.
#[derive(Default)]
struct Sum {
    passes: u64,
    known_passes: u64,
    registrations: u64,
    known_registrations: u64,
    refused: Vec<Value>,
}

/// Ends with 1 when lines were refused.
pub(super) async fn run(settings: &Settings, args: &ImportArgs) -> anyhow::Result<Verdict> {
    let delimiter = u8::try_from(args.delimiter).ok().filter(u8::is_ascii);
    let delimiter = delimiter.context("--delimiter is one ASCII character, for example ';'")?;
    let format = args.format.map_or_else(|| Format::of(&args.file), Ok)?;
    let mut rows = Rows::open(&args.file, format, delimiter)?;
    let size = std::fs::metadata(&args.file).map(|file| file.len()).unwrap_or(0);
    let door = Door::new(settings, Room::Wallet, &args.at)?;
    let id = identity(args)?;
    let mut after = if args.dry_run { 0 } else { begin(&door, &id).await? };
    if after > 0 {
        say(&format!("this file was taken up to line {after} before; it goes on there\n"))?;
    }
    let mut sum = Sum::default();
    let mut progress = Progress::new("bytes");
    loop {
        let batch = batch(&mut rows, usize::from(args.batch), after)?;
        let complete = batch.len() < usize::from(args.batch);
        let last = batch.last().and_then(|row| row["line"].as_i64()).unwrap_or(after);
        let body = json!({"name": args.file.file_name().map(|name| name.to_string_lossy()), "after": after, "last": last,
            "template": args.template, "passType": args.pass_type, "rows": batch, "complete": complete, "dryRun": args.dry_run});
        let result = door.ask(Method::POST, &["imports", &id, "rows"], &[], Some(&body), None).await?;
        after = last;
        sum.add(&result);
        let done = rows.position().min(size);
        progress.set(done, Some(size), format!("line {after}, {} refused", sum.refused.len()));
        if complete {
            progress.finish(done, Some(size), &format!("line {after}, {} refused", sum.refused.len()));
            break;
        }
    }
    finish(&door, &id, args, sum).await
}

/// The next rows behind a line.
fn batch(rows: &mut Rows, most: usize, after: i64) -> anyhow::Result<Vec<Value>> {
    let mut batch = Vec::with_capacity(most);
    while batch.len() < most {
        let Some(row) = rows.next()? else { break };
        if row["line"].as_i64().is_some_and(|line| line > after) {
            batch.push(row);
        }
    }
    Ok(batch)
}

/// Names the file by what is in it and what is asked with it: the same again goes on, another begins.
fn identity(args: &ImportArgs) -> anyhow::Result<String> {
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let asked = json!([args.template, args.pass_type, args.delimiter]).to_string();
    digest.update(asked.as_bytes());
    let mut file =
        std::fs::File::open(&args.file).with_context(|| format!("{} cannot be read", args.file.display()))?;
    let mut piece = vec![0; 1024 * 1024];
    loop {
        let read = file.read(&mut piece).with_context(|| format!("{} cannot be read", args.file.display()))?;
        if read == 0 {
            break;
        }
        digest.update(&piece[..read]);
    }
    Ok(digest.finish().as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The line that the service has come to.
async fn begin(door: &Door, id: &str) -> anyhow::Result<i64> {
    let found = door.get(&["imports"], &[]).await?;
    let known = found["imports"].as_array().into_iter().flatten().find(|import| import["id"] == id);
    Ok(known.and_then(|import| import["line"].as_i64()).unwrap_or(0))
}

async fn finish(door: &Door, id: &str, args: &ImportArgs, sum: Sum) -> anyhow::Result<Verdict> {
    let mut told = sum.told();
    let mut refused = sum.refused;
    if !args.dry_run {
        // All of this file, whatever runs it took.
        let state = door.get(&["imports", id], &[]).await?;
        told = line(
            [&state["passes"], &state["knownPasses"], &state["registrations"], &state["knownRegistrations"]]
                .map(|count| count.as_u64().unwrap_or(0)),
        );
        refused = refusals(door, id).await?;
    }
    say(&format!("{}{told}", if args.dry_run { "nothing was stored; this file has " } else { "" }))?;
    if refused.is_empty() {
        say("no line was refused\n")?;
        return Ok(Verdict::Good);
    }
    for refusal in refused.iter().take(SHOWN) {
        say(&format!("line {}: {}\n", refusal["line"], reason(refusal)))?;
    }
    let report = args.report.clone().unwrap_or_else(|| {
        let mut name = args.file.clone().into_os_string();
        name.push(".refused.csv");
        PathBuf::from(name)
    });
    write_report(&report, &refused)?;
    say(&format!("{} lines were refused; {} has them all\n", refused.len(), report.display()))?;
    Ok(Verdict::Bad)
}

async fn refusals(door: &Door, id: &str) -> anyhow::Result<Vec<Value>> {
    let mut refused = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let page = door.get(&["imports", id, "refusals"], &[("after", &after)]).await?;
        refused.extend(page["refusals"].as_array().into_iter().flatten().cloned());
        match page["next"].as_i64() {
            Some(next) => after = next.to_string(),
            None => return Ok(refused),
        }
    }
}

fn reason(refusal: &Value) -> String {
    let text = |key: &str| refusal[key].as_str().unwrap_or_default().escape_debug().to_string();
    let found = if text("found").is_empty() { String::new() } else { format!(" (found {})", text("found")) };
    format!("{}: {}{found}", text("field"), text("rule"))
}

fn write_report(path: &Path, refused: &[Value]) -> anyhow::Result<()> {
    let place = || format!("{}: the report of refused lines", path.display());
    let mut writer = csv::Writer::from_path(path).with_context(place)?;
    writer.write_record(["line", "field", "found", "rule"]).with_context(place)?;
    for refusal in refused {
        let text = |key: &str| refusal[key].as_str().unwrap_or_default().to_owned();
        let record = [refusal["line"].to_string(), text("field"), text("found"), text("rule")];
        writer.write_record(record).with_context(place)?;
    }
    writer.flush().with_context(place)
}

impl Sum {
    fn add(&mut self, result: &Value) {
        let count = |key: &str| result[key].as_u64().unwrap_or(0);
        self.passes += count("passes");
        self.known_passes += count("knownPasses");
        self.registrations += count("registrations");
        self.known_registrations += count("knownRegistrations");
        self.refused.extend(result["refused"].as_array().into_iter().flatten().cloned());
    }

    fn told(&self) -> String {
        line([self.passes, self.known_passes, self.registrations, self.known_registrations])
    }
}

fn line([passes, known_passes, registrations, known_registrations]: [u64; 4]) -> String {
    format!(
        "{passes} new passes ({known_passes} were here), {registrations} new registrations ({known_registrations} were here)\n"
    )
}
