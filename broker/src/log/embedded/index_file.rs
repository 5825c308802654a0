//! `NUMBER.index`: what the index needs of a finished segment, so that opening a log does not read every message.
//!
//! It is made from the segment alone and holds nothing of its own: one that is missing, torn, damaged, of another version
//! or of another segment is made again. So it is never synchronised, and never trusted without its checksums.
//!
//! A header (with the salt of its segment), a frame with a [`Summary`], a frame with the [`Rows`]. A segment that is
//! damaged has none: it is read in full at every start, and the damage is told.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::LogError;
use super::super::index::Entry;
use super::super::message::{Key, Offset};
use super::body::{self, Head};
use super::file::{Header, LogFile};
use super::folder::{self, Folder};
use super::frame::{self, OVERHEAD};
use super::segment::{DiskIndex, Place, Segment};

const MAGIC: [u8; 8] = *b"TIDEINDX";

/// How much of a segment is read at once.
const WINDOW: usize = 1 << 20;

/// Where the summary surely ends.
const SUMMARY_BYTES: usize = 256;

/// What is known of a segment before its rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    /// The segment's length in bytes: all of them are whole messages.
    pub(super) length: u64,
    /// How many messages.
    pub(super) messages: u64,
    /// The newest of their times, in ms since 1970.
    pub(super) newest_ms: i64,
}

/// The messages of a segment, each told by how it differs from the one before it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Rows {
    keys: Vec<Key>,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    /// Offset, minus that of the row before (of the first: minus the segment's base).
    step: u64,
    /// Which of the keys.
    key: u32,
    /// Offset minus that of the message before it under the same key; 0: there was none.
    back: u64,
    /// Offset minus the floor.
    floor: u64,
    /// Time, minus that of the row before.
    time_ms: i64,
    /// Expiry minus time.
    expires_ms: Option<i64>,
    /// Length of the frame.
    length: u32,
}

/// Reads the summary of a segment's index; `None` when there is no index of this segment that can be used.
pub(super) fn summary(folder: &Folder, segment: &Segment) -> Option<Summary> {
    let file = LogFile::open(&folder.index(segment.base.0), folder).ok()?;
    let bytes = file.read_at_most(0, SUMMARY_BYTES).ok()?;
    check(&bytes, segment, file.path())
}

fn check(bytes: &[u8], segment: &Segment, path: &Path) -> Option<Summary> {
    let header = Header::read(bytes, MAGIC, path).ok()?;
    let summary: Summary = postcard::from_bytes(frame::body(bytes.get(Header::LENGTH..)?, header.salt)?).ok()?;
    let own = header.salt == segment.salt && header.number == segment.base.0;
    (own && segment.file.length().ok()? == summary.length).then_some(summary)
}

/// Takes the messages of a segment into the index, whose newest chapter is the segment's. `false` when its index
/// cannot be used; nothing was taken in then.
pub(super) fn load(folder: &Folder, segment: &Segment, index: &mut DiskIndex) -> bool {
    let read = || {
        let file = LogFile::open(&folder.index(segment.base.0), folder).ok()?;
        let bytes = file.read_all().ok()?;
        let summary = check(&bytes, segment, file.path())?;
        let first = Header::LENGTH + OVERHEAD + frame::body(&bytes[Header::LENGTH..], segment.salt)?.len();
        let rows: Rows = postcard::from_bytes(frame::body(bytes.get(first..)?, segment.salt)?).ok()?;
        entries(segment.base, summary, &rows).map(|entries| (rows.keys, entries))
    };
    let Some((keys, entries)) = read() else { return false };
    // Each key is looked up once, not once for each of its messages.
    let mut ids = vec![None; keys.len()];
    for (key, entry) in entries {
        let id = *ids[key].get_or_insert_with(|| index.key_id(&keys[key], &entry));
        index.insert_of(id, entry);
    }
    true
}

/// Reads bytes as rows, for fuzzing.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_rows(bytes: &[u8]) {
    if let Ok(rows) = postcard::from_bytes::<Rows>(bytes) {
        let _ = entries(Offset(1), Summary { length: 0, messages: 0, newest_ms: 0 }, &rows);
    }
}

/// The rows as entries of the index; `None` when they contradict themselves or their segment.
fn entries(base: Offset, summary: Summary, rows: &Rows) -> Option<Vec<(usize, Entry<Place>)>> {
    let mut entries = Vec::with_capacity(rows.rows.len());
    let (mut offset, mut time_ms, mut at) = (base.0, 0_i64, Header::LENGTH as u64);
    for (nth, row) in rows.rows.iter().enumerate() {
        if nth > 0 && row.step == 0 {
            return None;
        }
        offset = offset.checked_add(row.step)?;
        time_ms = time_ms.checked_add(row.time_ms)?;
        let key = usize::try_from(row.key).ok().filter(|key| *key < rows.keys.len())?;
        let entry = Entry {
            offset: Offset(offset),
            previous: if row.back == 0 { None } else { Some(Offset(offset.checked_sub(row.back)?)) },
            floor: Offset(offset.checked_sub(row.floor)?),
            time_ms,
            expires_at_ms: row.expires_ms.map(|after| time_ms.saturating_add(after)),
            place: Place { at, length: row.length },
        };
        at = at.checked_add(u64::from(row.length))?;
        entries.push((key, entry));
    }
    (at == summary.length && entries.len() as u64 == summary.messages).then_some(entries)
}

/// Makes the index of a segment that grows no more. A segment with damage gets none. `go_on` is asked now and then.
pub(super) fn make(folder: &Folder, segment: &Segment, go_on: impl Fn() -> bool) -> Result<(), LogError> {
    let path = folder.index(segment.base.0);
    let failed = |error: io::Error| LogError::io("make", &path, &error);
    let Some((summary, rows)) = rows_of(segment, go_on).map_err(failed)? else { return Ok(()) };
    let mut content = Header { magic: MAGIC, salt: segment.salt, number: segment.base.0 }.to_bytes();
    let written = frame::write(&mut content, segment.salt, |out| postcard::to_io(&summary, out).map(drop))
        .and_then(|()| frame::write(&mut content, segment.salt, |out| postcard::to_io(&rows, out).map(drop)));
    written.map_err(|error| failed(io::Error::other(error)))?;
    let new = folder::temporary(&path);
    let store = || {
        let _ = std::fs::remove_file(&new);
        LogFile::create(&new, folder)?.write_at(&content, 0)?;
        std::fs::rename(&new, &path)
    };
    store().map_err(|error| {
        let _ = std::fs::remove_file(&new);
        failed(error)
    })
}

/// Reads a segment from its beginning to its end; `None` when something in it is not whole, or when it is to stop.
fn rows_of(segment: &Segment, go_on: impl Fn() -> bool) -> io::Result<Option<(Summary, Rows)>> {
    let length = segment.file.length()?;
    let mut rows = Rows::default();
    let mut keys = HashMap::new();
    let mut summary = Summary { length, messages: 0, newest_ms: i64::MIN };
    let mut window = Window { file: &segment.file, bytes: Vec::new(), start: 0 };
    let (mut offset, mut time_ms, mut at) = (segment.base.0, 0, Header::LENGTH as u64);
    while at < length && go_on() {
        let needed = frame::length(window.at(at, OVERHEAD)?).filter(|needed| *needed as u64 <= length - at);
        let Some(needed) = needed else { return Ok(None) };
        let Some(body) = frame::body(window.at(at, needed)?, segment.salt) else { return Ok(None) };
        let Ok((head, _)) = body::read_head(body) else { return Ok(None) };
        let step = head.offset.0.checked_sub(offset).filter(|step| *step > 0 || rows.rows.is_empty());
        let Some(row) = step.and_then(|step| row(&head, step, time_ms, needed)) else { return Ok(None) };
        (offset, time_ms) = (head.offset.0, head.time_ms);
        summary.messages += 1;
        summary.newest_ms = summary.newest_ms.max(head.time_ms);
        let next = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        let key = *keys.entry(head.key).or_insert_with_key(|key| {
            rows.keys.push(key.clone());
            next
        });
        rows.rows.push(Row { key, ..row });
        at += needed as u64;
    }
    Ok((at == length).then_some((summary, rows)))
}

/// A part of a file, in memory.
struct Window<'a> {
    file: &'a LogFile,
    bytes: Vec<u8>,
    start: u64,
}

impl Window<'_> {
    /// What is at `at`: at least so many bytes, unless the file ends before.
    fn at(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let inside = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        if self.bytes.len() < inside.saturating_add(length) {
            self.bytes = self.file.read_at_most(at, length.max(WINDOW))?;
            self.start = at;
            return Ok(&self.bytes);
        }
        Ok(&self.bytes[inside..])
    }
}

fn row(head: &Head, step: u64, before_ms: i64, length: usize) -> Option<Row> {
    Some(Row {
        step,
        key: 0,
        back: head.previous.map_or(Some(0), |previous| head.offset.0.checked_sub(previous.0))?,
        floor: head.offset.0.checked_sub(head.floor.0)?,
        time_ms: head.time_ms.checked_sub(before_ms)?,
        expires_ms: match head.expires_at_ms {
            Some(expires) => Some(expires.checked_sub(head.time_ms)?),
            None => None,
        },
        length: u32::try_from(length).ok()?,
    })
}
