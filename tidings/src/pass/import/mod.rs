//! `tidings pass import`.

mod reader;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

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
/// Bytes of a file in one request, about: the service takes 16 MiB, and a line is 1 MiB at most.
const LARGEST: u64 = 6 * 1024 * 1024;

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
    /// What stands between the columns of a CSV file (default: a comma; a tab where the file's name ends in .tsv).
    #[arg(long)]
    delimiter: Option<char>,
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
    push_tokens: u64,
    refused: u64,
    /// The first of them.
    shown: Vec<Value>,
}

/// Ends with 1 when lines were refused.
pub(super) async fn run(settings: &Settings, args: &ImportArgs) -> anyhow::Result<Verdict> {
    let tab = args.file.extension().is_some_and(|end| end.eq_ignore_ascii_case("tsv"));
    let delimiter = u8::try_from(args.delimiter.unwrap_or(if tab { '\t' } else { ',' })).ok().filter(u8::is_ascii);
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
    // What is stored is told by the service afterwards; what is only checked is told now or never.
    let mut report = if args.dry_run { Some(Report::new(args)) } else { None };
    loop {
        let (batch, complete) = batch(&mut rows, usize::from(args.batch), after)?;
        let last = batch.last().and_then(|row| row["line"].as_i64()).unwrap_or(after);
        let body = json!({"name": args.file.file_name().map(|name| name.to_string_lossy()), "after": after, "last": last,
            "template": args.template, "passType": args.pass_type, "rows": batch, "complete": complete, "dryRun": args.dry_run});
        let result = door.ask(Method::POST, &["imports", &id, "rows"], &[], Some(&body), None).await?;
        after = last;
        sum.add(&result);
        if let Some(report) = &mut report {
            report.write(&result["refused"])?;
        }
        let done = rows.position().min(size);
        progress.set(done, Some(size), format!("line {after}, {} refused", sum.refused));
        if complete {
            progress.finish(done, Some(size), &format!("line {after}, {} refused", sum.refused));
            break;
        }
    }
    finish(&door, &id, args, sum, report).await
}

/// The next rows behind a line, no more than fit into a request; and whether they are the last ones.
fn batch(rows: &mut Rows, most: usize, after: i64) -> anyhow::Result<(Vec<Value>, bool)> {
    let mut batch = Vec::with_capacity(most);
    let begin = rows.position();
    while batch.len() < most && rows.position() - begin < LARGEST {
        let Some(row) = rows.next()? else { return Ok((batch, true)) };
        if row["line"].as_i64().is_some_and(|line| line > after) {
            batch.push(row);
        }
    }
    Ok((batch, false))
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
    match door.get(&["imports", id], &[]).await {
        Ok(found) => Ok(found["line"].as_i64().unwrap_or(0)),
        // No run of it has come so far as to store a row.
        Err(error) if error.to_string().contains("(import_unknown)") => Ok(0),
        Err(error) => Err(error),
    }
}

async fn finish(door: &Door, id: &str, args: &ImportArgs, sum: Sum, report: Option<Report>) -> anyhow::Result<Verdict> {
    let mut told = sum.told();
    let (mut refused, mut shown) = (sum.refused, sum.shown);
    let mut report = report.unwrap_or_else(|| Report::new(args));
    if !args.dry_run {
        // All of this file, whatever runs it took.
        let state = door.get(&["imports", id], &[]).await?;
        told = line(
            ["passes", "knownPasses", "registrations", "knownRegistrations", "pushTokens"]
                .map(|key| state[key].as_u64().unwrap_or(0)),
        );
        refused = state["refused"].as_u64().unwrap_or(0);
        shown = refusals(door, id, &mut report).await?;
    }
    say(&format!("{}{told}", if args.dry_run { "nothing was stored; this file has " } else { "" }))?;
    if args.dry_run && sum.known_passes + sum.passes > 0 {
        say("(a pass whose lines are far apart is counted more than once here, and once in the import)\n")?;
    }
    if refused == 0 {
        say("no line was refused\n")?;
        return Ok(Verdict::Good);
    }
    for refusal in &shown {
        say(&format!("line {}: {}\n", refusal["line"], reason(refusal)))?;
    }
    let written = report.finish()?;
    let them = if written < refused { format!("the first {written} of them") } else { "them all".to_owned() };
    say(&format!("{refused} lines or registrations were refused; {} has {them}\n", report.path.display()))?;
    Ok(Verdict::Bad)
}

/// Writes what the service has of them into the report, a page at a time; the first ones.
async fn refusals(door: &Door, id: &str, report: &mut Report) -> anyhow::Result<Vec<Value>> {
    let mut shown: Vec<Value> = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let page = door.get(&["imports", id, "refusals"], &[("after", &after)]).await?;
        report.write(&page["refusals"])?;
        let room = SHOWN - shown.len();
        shown.extend(page["refusals"].as_array().into_iter().flatten().take(room).cloned());
        match page["next"].as_i64() {
            Some(next) => after = next.to_string(),
            None => return Ok(shown),
        }
    }
}

fn reason(refusal: &Value) -> String {
    let text = |key: &str| refusal[key].as_str().unwrap_or_default().escape_debug().to_string();
    let found = if text("found").is_empty() { String::new() } else { format!(" (found {})", text("found")) };
    format!("{}: {}{found}", text("field"), text("rule"))
}

/// The file of refusals; it is there when there are some.
struct Report {
    path: PathBuf,
    writer: Option<csv::Writer<File>>,
    written: u64,
}

impl Report {
    fn new(args: &ImportArgs) -> Self {
        let path = args.report.clone().unwrap_or_else(|| {
            let mut name = args.file.clone().into_os_string();
            name.push(".refused.csv");
            PathBuf::from(name)
        });
        Self { path, writer: None, written: 0 }
    }

    fn write(&mut self, refused: &Value) -> anyhow::Result<()> {
        let place = || format!("{}: the report of refused lines", self.path.display());
        for refusal in refused.as_array().into_iter().flatten() {
            let writer = match &mut self.writer {
                Some(writer) => writer,
                none => {
                    let mut writer = csv::Writer::from_path(&self.path).with_context(place)?;
                    writer.write_record(["line", "field", "found", "rule"]).with_context(place)?;
                    none.insert(writer)
                }
            };
            let text = |key: &str| refusal[key].as_str().unwrap_or_default().to_owned();
            let record = [refusal["line"].to_string(), text("field"), text("found"), text("rule")];
            writer.write_record(record).with_context(place)?;
            self.written += 1;
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<u64> {
        if let Some(writer) = &mut self.writer {
            writer.flush().with_context(|| format!("{}: the report of refused lines", self.path.display()))?;
        }
        Ok(self.written)
    }
}

impl Sum {
    fn add(&mut self, result: &Value) {
        let count = |key: &str| result[key].as_u64().unwrap_or(0);
        self.passes += count("passes");
        self.known_passes += count("knownPasses");
        self.registrations += count("registrations");
        self.known_registrations += count("knownRegistrations");
        self.push_tokens += count("pushTokens");
        let refused = result["refused"].as_array().map(Vec::as_slice).unwrap_or_default();
        self.refused += refused.len() as u64;
        self.shown.extend(refused.iter().take(SHOWN - self.shown.len()).cloned());
    }

    fn told(&self) -> String {
        line([self.passes, self.known_passes, self.registrations, self.known_registrations, self.push_tokens])
    }
}

fn line([passes, known_passes, registrations, known_registrations, push_tokens]: [u64; 5]) -> String {
    let newer = if push_tokens == 0 { String::new() } else { format!(", {push_tokens} newer push tokens") };
    format!(
        "{passes} new passes ({known_passes} were here), {registrations} new registrations ({known_registrations} were here){newer}\n"
    )
}
