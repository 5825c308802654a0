//! One segment: a file of messages in the order of their offsets. The last one grows, the others only wait to be
//! dropped.

use std::sync::Arc;

use super::super::LogError;
use super::super::index::{Entry, Index};
use super::super::message::{Message, Offset};
use super::body;
use super::file::{Header, LogFile, name_of};
use super::folder::{self, Folder};
use super::frame::{self, Piece, Scan};

const MAGIC: [u8; 8] = *b"TIDEMSGS";

/// Where a message is in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) length: u32,
}

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: LogFile,
    pub(super) salt: u32,
    pub(super) base: Offset,
}

/// The index of the embedded log.
pub(super) type DiskIndex = Index<Place, Arc<Segment>>;

impl Segment {
    /// Makes the segment that begins with `base`. When this returns, it survives a loss of power.
    pub(super) fn create(folder: &Folder, base: Offset) -> Result<Self, LogError> {
        let path = folder.segment(base.0);
        let header = Header { magic: MAGIC, salt: folder::random() as u32, number: base.0 };
        let file = create_whole(folder, &path, &header.to_bytes())?;
        Ok(Self { file, salt: header.salt, base })
    }

    /// Reads one message; `None` when it is damaged.
    pub(super) fn read(&self, place: Place) -> Result<Option<(Offset, Message)>, LogError> {
        let length = usize::try_from(place.length).unwrap_or(usize::MAX);
        let bytes = match self.file.read_at(place.at, length) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(LogError::io("read", self.file.path(), &error)),
        };
        let read = frame::body(&bytes, self.salt)
            .map(|body| body::read_head(body).and_then(|(head, rest)| body::read_rest(head, rest)));
        Ok(read.and_then(Result::ok))
    }
}

/// Makes a file with this content under a temporary name, synchronises it and gives it its own name.
pub(super) fn create_whole(folder: &Folder, path: &std::path::Path, content: &[u8]) -> Result<LogFile, LogError> {
    let new = folder::temporary(path);
    let make = || {
        let _ = std::fs::remove_file(&new);
        let file = LogFile::create(&new, folder)?;
        file.write_at(content, 0)?;
        file.sync()?;
        std::fs::rename(&new, path)?;
        folder.sync()?;
        Ok(file.renamed(path))
    };
    make().map_err(|error: std::io::Error| {
        let _ = std::fs::remove_file(&new);
        refusal("create", folder, path, &error)
    })
}

/// What a failed write means: a full disk is a state of its own.
pub(super) fn refusal(
    action: &'static str,
    folder: &Folder,
    path: &std::path::Path,
    error: &std::io::Error,
) -> LogError {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            LogError::Full { folder: folder.path().to_path_buf(), detail: error.to_string() }
        }
        _ => LogError::io(action, path, error),
    }
}

/// What opening a segment found.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) segment: Arc<Segment>,
    /// Bytes up to the end of the last whole message.
    pub(super) length: u64,
    /// Bytes behind that, which are no whole message.
    pub(super) tail: u64,
    pub(super) newest: Option<Offset>,
    pub(super) oldest_ms: Option<i64>,
}

/// Opens a segment and takes its messages into the index.
pub(super) fn load(folder: &Folder, base: u64, index: &mut DiskIndex, now_ms: i64) -> Result<Loaded, LogError> {
    let path = folder.segment(base);
    let unreadable = |error: std::io::Error| LogError::io("read", &path, &error);
    let file = LogFile::open(&path, folder).map_err(unreadable)?;
    let bytes = file.read_all().map_err(unreadable)?;
    let header = Header::read(&bytes, MAGIC, &path)?;
    let segment = Arc::new(Segment { file, salt: header.salt, base: Offset(base) });
    index.begin_chapter(Offset(base), Arc::clone(&segment));
    let mut loaded =
        Loaded { segment: Arc::clone(&segment), length: Header::LENGTH as u64, tail: 0, newest: None, oldest_ms: None };
    let mut hole = None;
    for piece in Scan::new(&bytes, header.salt, Header::LENGTH) {
        let (at, end, body) = match piece {
            Piece::Frame { at, end, body } => (at, end, body),
            Piece::Damage { at, end } => {
                hole = hole.or(Some(at));
                if end == bytes.len() {
                    loaded.tail = (end - hole.unwrap_or(at)) as u64;
                }
                continue;
            }
        };
        let read = body::read_head(body).ok().filter(|(head, _)| head.offset > index.head() && head.offset.0 >= base);
        let Some((head, rest)) = read else {
            hole = hole.or(Some(at));
            if end == bytes.len() {
                loaded.tail = (end - hole.unwrap_or(at)) as u64;
            }
            continue;
        };
        if let Some(from) = hole.take() {
            tracing::error!(
                file = %name_of(&path), from_byte = from, to_byte = at, after_offset = %index.head(), before_offset = %head.offset,
                "the message log is damaged: the messages between these bytes are lost; readers behind them are told that recovery is not whole"
            );
            index.mark_damaged(Offset(head.offset.0.saturating_sub(1)));
        }
        let identity = if index.in_window(head.time_ms, now_ms) {
            body::read_rest(head.clone(), rest).ok().map(|(_, message)| index.identity(&message))
        } else {
            None
        };
        loaded.newest = Some(head.offset);
        loaded.oldest_ms = loaded.oldest_ms.or(Some(head.time_ms));
        loaded.length = end as u64;
        let place = Place { at: at as u64, length: u32::try_from(end - at).unwrap_or(u32::MAX) };
        let entry = Entry {
            offset: head.offset,
            previous: head.previous,
            floor: head.floor,
            time_ms: head.time_ms,
            expires_at_ms: head.expires_at_ms,
            place,
        };
        index.insert(&head.key, entry, identity, now_ms);
    }
    Ok(loaded)
}
