//! Rows out of a file of another provider: CSV with a head, or a JSON object a line. One that cannot be read is a row that
//! says so: it is reported like any other refusal, and holds up nothing.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

/// Longest line of a file, in bytes.
const LONGEST: u64 = 1024 * 1024;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A head, then a line for each registration or pass.
    Csv,
    /// A JSON object a line.
    Jsonl,
}

impl Format {
    /// As the file's name says.
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        match path.extension().and_then(|end| end.to_str()).map(str::to_ascii_lowercase).as_deref() {
            Some("csv" | "tsv" | "txt") => Ok(Self::Csv),
            Some("jsonl" | "ndjson" | "json") => Ok(Self::Jsonl),
            _ => bail!(
                "{}: the name ends in neither .csv nor .jsonl; say --format csv or --format jsonl",
                path.display()
            ),
        }
    }
}

/// A file's rows.
pub(super) enum Rows {
    Csv { reader: Box<csv::Reader<File>>, columns: Vec<Column>, crlf: bool },
    Jsonl { reader: BufReader<File>, line: u64, read: u64 },
}

/// What a column is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// A field of the row.
    Named(&'static str),
    /// A placeholder of the template, as a text.
    Field(String),
    /// A placeholder of the template, as JSON.
    Json(String),
}

const NAMES: [(&str, &str); 18] = [
    ("serial", "serialNumber"),
    ("serialnumber", "serialNumber"),
    ("passtype", "passTypeIdentifier"),
    ("passtypeidentifier", "passTypeIdentifier"),
    ("template", "template"),
    ("token", "authenticationToken"),
    ("authtoken", "authenticationToken"),
    ("authenticationtoken", "authenticationToken"),
    ("tokenhash", "tokenHash"),
    ("algorithm", "tokenAlgorithm"),
    ("tokenalgorithm", "tokenAlgorithm"),
    ("device", "deviceLibraryIdentifier"),
    ("deviceid", "deviceLibraryIdentifier"),
    ("devicelibraryidentifier", "deviceLibraryIdentifier"),
    ("pushtoken", "pushToken"),
    ("registered", "registeredAt"),
    ("registeredat", "registeredAt"),
    ("createdat", "registeredAt"),
];

impl Rows {
    /// Opens a file.
    pub(super) fn open(path: &Path, format: Format, delimiter: u8) -> anyhow::Result<Self> {
        let unreadable = || format!("{} cannot be read", path.display());
        let file = File::open(path).with_context(unreadable)?;
        if format == Format::Jsonl {
            return Ok(Self::Jsonl { reader: BufReader::new(file), line: 0, read: 0 });
        }
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(file);
        let head = reader.headers().with_context(|| format!("{}: the head cannot be read", path.display()))?;
        let columns = head.iter().map(column).collect::<Result<Vec<_>, _>>();
        let columns = columns.with_context(|| format!("{}: the head", path.display()))?;
        let crlf = ends_with_crlf(path).with_context(unreadable)?;
        Ok(Self::Csv { reader: Box::new(reader), columns, crlf })
    }

    /// The next row, with its line; `None`: the file is at its end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Value>> {
        match self {
            Self::Csv { reader, columns, crlf } => next_record(reader, columns, *crlf),
            Self::Jsonl { reader, line, read } => next_line(reader, line, read),
        }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> u64 {
        match self {
            Self::Csv { reader, .. } => reader.position().byte(),
            Self::Jsonl { read, .. } => *read,
        }
    }
}

fn column(name: &str) -> anyhow::Result<Column> {
    let name = name.trim().trim_start_matches('\u{feff}');
    if let Some(field) = name.strip_prefix("field.") {
        return Ok(Column::Field(field.to_owned()));
    }
    if let Some(field) = name.strip_prefix("json.") {
        return Ok(Column::Json(field.to_owned()));
    }
    let plain: String = name.to_lowercase().chars().filter(|c| !matches!(c, '_' | '-' | ' ')).collect();
    match NAMES.iter().find(|(known, _)| *known == plain) {
        Some((_, field)) => Ok(Column::Named(field)),
        None => bail!(
            "\"{}\" is no column; there are serial, pass_type, template, token, token_hash, token_algorithm, device, push_token, registered_at, and field.NAME (a text) or json.NAME for the template's placeholders",
            name.escape_debug()
        ),
    }
}

/// Whether the lines of a file end with `\r\n`, as its first one says.
fn ends_with_crlf(path: &Path) -> std::io::Result<bool> {
    let mut first = Vec::new();
    std::io::Read::take(BufReader::new(File::open(path)?), LONGEST).read_until(b'\n', &mut first)?;
    Ok(first.ends_with(b"\r\n"))
}

fn next_record(reader: &mut csv::Reader<File>, columns: &[Column], crlf: bool) -> anyhow::Result<Option<Value>> {
    let mut record = csv::ByteRecord::new();
    if !reader.read_byte_record(&mut record).context("the file cannot be read further")? {
        return Ok(None);
    }
    // A record ends with `\r` for the reader: the `\n` before the next one is not counted yet.
    let line = record.position().map_or(0, csv::Position::line) + u64::from(crlf);
    if record.len() != columns.len() {
        let why = format!("the line has {} columns, the head has {}", record.len(), columns.len());
        return Ok(Some(json!({"line": line, "unreadable": why})));
    }
    let mut row = Map::new();
    let mut fields = Map::new();
    for (column, bytes) in columns.iter().zip(&record) {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Ok(Some(json!({"line": line, "unreadable": "the line is not UTF-8"})));
        };
        if text.is_empty() {
            continue;
        }
        match column {
            Column::Named(name) => drop(row.insert((*name).to_owned(), json!(text))),
            Column::Field(name) => drop(fields.insert(name.clone(), json!(text))),
            Column::Json(name) => match serde_json::from_str::<Value>(text) {
                Ok(value) => drop(fields.insert(name.clone(), value)),
                Err(error) => {
                    let why = format!("json.{name} is no JSON: {error}");
                    return Ok(Some(json!({"line": line, "unreadable": why})));
                }
            },
        }
    }
    row.insert("line".to_owned(), json!(line));
    if !fields.is_empty() {
        row.insert("fields".to_owned(), Value::Object(fields));
    }
    Ok(Some(Value::Object(row)))
}

fn next_line(reader: &mut BufReader<File>, line: &mut u64, read: &mut u64) -> anyhow::Result<Option<Value>> {
    loop {
        let mut bytes = Vec::new();
        let taken = std::io::Read::take(&mut *reader, LONGEST).read_until(b'\n', &mut bytes);
        let taken = taken.context("the file cannot be read further")?;
        if taken == 0 {
            return Ok(None);
        }
        *line += 1;
        *read += taken as u64;
        if taken as u64 == LONGEST && bytes.last() != Some(&b'\n') {
            let rest = reader.skip_until(b'\n').context("the file cannot be read further")?;
            *read += rest as u64;
            return Ok(Some(json!({"line": line, "unreadable": "the line is longer than 1 MiB"})));
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        return Ok(Some(match serde_json::from_slice::<Value>(&bytes) {
            Ok(Value::Object(mut row)) => {
                row.insert("line".to_owned(), json!(line));
                Value::Object(row)
            }
            Ok(_) => json!({"line": line, "unreadable": "the line is no JSON object"}),
            Err(error) => json!({"line": line, "unreadable": format!("the line is no JSON: {error}")}),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8], format: Format) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        std::fs::write(&path, text).unwrap();
        let mut rows = Rows::open(&path, format, b',').unwrap();
        let mut found = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            found.push(row);
        }
        assert_eq!(rows.position(), text.len() as u64);
        found
    }

    #[test]
    fn a_csv_file_is_read_with_its_lines() {
        let text = b"Serial Number,authentication_token,device,pushToken,field.name,json.points\r\n\
            1,secret,d1,aa,\"Ada,\nCountess\",5\r\n2,secret,d2,bb,Bea,x\r\n3,secret\r\n4,\xff,d,cc,Cy,7\r\n5,t,,,Di,\r\n";
        let found = rows(text, Format::Csv);
        assert_eq!(
            found[0],
            json!({"serialNumber": "1", "authenticationToken": "secret", "deviceLibraryIdentifier": "d1", "pushToken": "aa",
                "line": 2, "fields": {"name": "Ada,\nCountess", "points": 5}})
        );
        let told: Vec<_> = found[1..4]
            .iter()
            .map(|row| (row["line"].as_u64().unwrap(), row["unreadable"].as_str().unwrap()))
            .collect();
        assert_eq!((told[0].0, told[1].0, told[2].0), (4, 5, 6));
        assert!(
            told[0].1.contains("json.points") && told[1].1.contains("2 columns") && told[2].1.contains("UTF-8"),
            "{told:?}"
        );
        assert_eq!(
            found[4],
            json!({"serialNumber": "5", "authenticationToken": "t", "line": 7, "fields": {"name": "Di"}})
        );
    }

    #[test]
    fn json_lines_are_read_with_their_lines() {
        let long = format!("{{\"serial\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
        let text = format!("{{\"serial\":\"1\"}}\n\n[1]\n{long}\n{{\"serial\":\n{{\"serial\":\"6\"}}");
        let found = rows(text.as_bytes(), Format::Jsonl);
        assert_eq!(found[0], json!({"serial": "1", "line": 1}));
        assert_eq!((&found[1]["line"], &found[1]["unreadable"]), (&json!(3), &json!("the line is no JSON object")));
        assert!(found[2]["unreadable"].as_str().unwrap().contains("1 MiB"));
        assert!(found[3]["unreadable"].as_str().unwrap().contains("no JSON"));
        assert_eq!(found[4], json!({"serial": "6", "line": 6}));
    }

    #[test]
    fn an_unknown_column_is_named() {
        let error = column("sreial").unwrap_err().to_string();
        assert!(error.contains("\"sreial\"") && error.contains("push_token"), "{error}");
    }
}
