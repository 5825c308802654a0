//! One segment: a file of messages in the order of their offsets. The last one grows, the others only wait to be
//! dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::LogError;
use super::super::index::{Entry, Index, Placed};
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
    length: AtomicU64,
}

impl Placed for Place {
    fn bytes(&self) -> u64 {
        self.length.into()
    }
}

/// The index of the embedded log.
pub(super) type DiskIndex = Index<Place, Arc<Segment>>;

impl Segment {
    /// Makes the segment that begins with `base`. When this returns, it survives a loss of power.
    pub(super) fn create(folder: &Folder, base: Offset) -> Result<Self, LogError> {
        let path = folder.segment(base.0);
        let header = Header { magic: MAGIC, salt: folder::random() as u32, number: base.0 };
        let file = create_whole(folder, &path, &header.to_bytes())?;
        Ok(Self::of(file, header))
    }

    fn of(file: LogFile, header: Header) -> Self {
        let length = AtomicU64::new(Header::LENGTH as u64);
        Self { file, salt: header.salt, base: Offset(header.number), length }
    }

    /// Its bytes on disk.
    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    /// Says that it is so long now.
    pub(super) fn set_length(&self, length: u64) {
        self.length.store(length, Ordering::Relaxed);
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
    /// Whether every byte of it is a whole message.
    pub(super) whole: bool,
}

/// Opens the segment without reading its messages; `None` when nothing in its file can be read.
pub(super) fn open(folder: &Folder, base: u64) -> Result<Option<Arc<Segment>>, LogError> {
    let path = folder.segment(base);
    let unreadable = |error: std::io::Error| LogError::io("read", &path, &error);
    let file = LogFile::open(&path, folder).map_err(unreadable)?;
    let mut bytes = file.read_at_most(0, Header::LENGTH + frame::OVERHEAD).map_err(unreadable)?;
    if let Some(first) = bytes.get(Header::LENGTH..).and_then(frame::length) {
        // Only a damaged header needs the first message.
        if Header::read(&bytes, MAGIC, &path).is_err() {
            bytes = file.read_at_most(0, Header::LENGTH.saturating_add(first)).map_err(unreadable)?;
        }
    }
    let Some((header, replaced)) = Header::read_or_replace(&bytes, MAGIC, base, &path)? else { return Ok(None) };
    if replaced {
        tracing::error!(file = %name_of(&path), "the first bytes of a segment were damaged and are written again: nothing was lost with them");
        file.write_at(&header.to_bytes(), 0).and_then(|()| file.sync()).map_err(unreadable)?;
    }
    let length = file.length().map_err(unreadable)?;
    let segment = Segment::of(file, header);
    segment.set_length(length);
    Ok(Some(Arc::new(segment)))
}

/// Reads a segment and takes its messages into the index.
pub(super) fn load(segment: &Arc<Segment>, index: &mut DiskIndex, now_ms: i64) -> Result<Loaded, LogError> {
    let path = segment.file.path();
    let bytes = segment.file.read_all().map_err(|error| LogError::io("read", path, &error))?;
    index.begin_chapter(segment.base, Arc::clone(segment));
    let mut loaded = Loaded {
        segment: Arc::clone(segment),
        length: Header::LENGTH as u64,
        tail: 0,
        newest: None,
        oldest_ms: None,
        whole: true,
    };
    let mut hole = None;
    for piece in Scan::new(&bytes, segment.salt, Header::LENGTH) {
        let (at, end, body) = match piece {
            Piece::Frame { at, end, body } => (at, end, Some(body)),
            Piece::Damage { at, end } => (at, end, None),
        };
        let read = body.and_then(|body| body::read_head(body).ok());
        let read = read.filter(|(head, _)| head.offset > index.head() && head.offset >= segment.base);
        let Some((head, rest)) = read else {
            loaded.whole = false;
            let from = *hole.get_or_insert(at);
            loaded.tail = (end - from) as u64;
            continue;
        };
        loaded.tail = 0;
        if let Some(from) = hole.take() {
            tracing::error!(
                file = %name_of(path), from_byte = from, to_byte = at, bytes = at - from, after_offset = %index.head(), before_offset = %head.offset,
                messages_at_most = head.offset.0.saturating_sub(index.head().0).saturating_sub(1),
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
