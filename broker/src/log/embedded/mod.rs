//! The log on one machine: segments of messages and a file of records in one folder, one writing thread.
//!
//! What is where: `lock` (held while a broker runs), `epoch`, `NUMBER.segment` (messages from that offset on),
//! `NUMBER.index` (what a start needs of a finished segment; made again when missing), `NUMBER.records` (the newest
//! generation counts), `….damaged` (set aside for a person to look at; may be removed). To restore a folder from a backup, remove `epoch`: readers
//! with a newer cursor are then told that recovery is not whole.

mod body;
#[cfg(test)]
pub(crate) mod faults;
mod file;
mod folder;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod index_file;
mod keeper;
mod load;
mod records;
mod segment;
mod table;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use tidings_shared::clock::Clock;

use self::file::name_of;
use self::folder::Folder;
use self::keeper::{Chore, Keeper};
use self::records::RecordsFile;
use self::segment::{DiskIndex, Place, Segment};
use self::table::Table;
use self::writer::{Answer, Trouble, Work, Writer};
use super::index::{Index, Limits};
use super::message::{Key, Message, Offset};
use super::record::{RecordKey, RecordKind};
use super::{AppendDone, LogError, MessageLog, PutDone, Reading, Stored};
use crate::metrics::LogMetrics;

/// Called when the log begins to refuse (`Some`) and when it accepts again (`None`).
pub type OnTrouble = Box<dyn Fn(Option<&LogError>) + Send + Sync>;

/// How an [`EmbeddedLog`] is kept.
pub struct Options {
    /// Its folder; made when missing.
    pub folder: PathBuf,
    /// How much is kept.
    pub limits: Limits,
    /// A segment longer than this is followed by a new one, in bytes.
    pub segment_bytes: u64,
    /// The oldest segments are dropped when all of them are longer than this, in bytes; 0: no limit.
    pub total_bytes: u64,
    /// The records' file is rewritten when it is longer than this and more than half of it is out of date.
    pub records_bytes: u64,
    /// Appends are refused while so many bytes wait to be written.
    pub waiting_bytes: usize,
    /// The longest message, with everything that travels along.
    pub message_bytes: usize,
    /// The time.
    pub clock: Clock,
    /// Where it counts.
    pub metrics: LogMetrics,
    /// Who is told of trouble.
    pub on_trouble: Option<OnTrouble>,
    #[cfg(test)]
    pub(crate) faults: faults::Faults,
}

impl Options {
    /// The defaults of the configuration, for a log in this folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, clock: Clock) -> Self {
        Self {
            folder: folder.into(),
            limits: Limits::default(),
            segment_bytes: 64 << 20,
            total_bytes: 0,
            records_bytes: 4 << 20,
            waiting_bytes: 64 << 20,
            message_bytes: 16 << 20,
            clock,
            metrics: LogMetrics::default(),
            on_trouble: None,
            #[cfg(test)]
            faults: faults::Faults::default(),
        }
    }
}

/// What the callers and the writer share.
struct Shared {
    folder: Folder,
    index: Mutex<DiskIndex>,
    table: Mutex<Table>,
    waiting: AtomicUsize,
    trouble: Trouble,
    segment_bytes: u64,
    total_bytes: u64,
    segment_age_ms: i64,
    records_bytes: u64,
    clock: Clock,
    metrics: LogMetrics,
    on_trouble: Option<OnTrouble>,
}

impl Shared {
    fn refuses(&self, error: &LogError) {
        if self.trouble.set(Some(error)) {
            tracing::error!(%error, "the message log refuses");
            if let Some(tell) = &self.on_trouble {
                tell(Some(error));
            }
        }
    }

    fn accepts(&self) {
        if self.is_refusing() && self.trouble.set(None) {
            tracing::info!("the message log accepts again");
            if let Some(tell) = &self.on_trouble {
                tell(None);
            }
        }
    }

    fn is_refusing(&self) -> bool {
        self.trouble.get().is_some()
    }
}

/// A [`MessageLog`] in a folder of this machine. Dropping it writes what waits and releases the folder.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    work: Sender<Work>,
    waiting_bytes: usize,
    message_bytes: usize,
    writer: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedLog").field("folder", &self.shared.folder.path()).finish_non_exhaustive()
    }
}

impl EmbeddedLog {
    /// Opens the log, repairs its end and reads its index. Blocks; about a second for every few gigabytes, longer where
    /// index files are missing.
    ///
    /// # Errors
    /// [`LogError::Unwritable`], [`LogError::Locked`], [`LogError::Foreign`], [`LogError::Version`] or
    /// [`LogError::Io`]; each text says what to do.
    pub fn open(options: Options) -> Result<Self, LogError> {
        #[cfg_attr(not(test), expect(unused_mut, reason = "tests put a failing disk in"))]
        let mut folder = Folder::open(&options.folder)?;
        #[cfg(test)]
        {
            folder.faults = options.faults.clone();
        }
        let mut index: DiskIndex = Index::new(options.limits);
        let now = options.clock.now_ms();
        let opened = load::load(&folder, &mut index, now)?;
        // What retention drops once more was counted when it was dropped first.
        index.take_dropped();
        let mut table = Table::default();
        let records = RecordsFile::open(&folder, &mut table)?;
        tracing::info!(
            folder = %folder.path().display(), first = %index.first(), head = %index.head(), segments = index.chapters().len(), records = table.len(),
            "opened the message log"
        );
        let shared = Arc::new(Shared {
            folder,
            index: Mutex::new(index),
            table: Mutex::new(table),
            waiting: AtomicUsize::new(0),
            trouble: Trouble::default(),
            // What is dropped at once should be a small part of the whole.
            segment_bytes: match options.total_bytes {
                0 => options.segment_bytes,
                total => options.segment_bytes.min(total / 8),
            },
            total_bytes: options.total_bytes,
            segment_age_ms: (options.limits.age_ms / 16).max(1_000),
            records_bytes: options.records_bytes,
            clock: options.clock,
            metrics: options.metrics,
            on_trouble: options.on_trouble,
        });
        let (work, queue) = mpsc::channel();
        let keeper = Keeper::start(Arc::clone(&shared))?;
        for segment in opened.unindexed {
            keeper.give(Chore::Index(segment));
        }
        let writer = Writer {
            shared: Arc::clone(&shared),
            work: queue,
            active: opened.active,
            next: opened.next,
            keeper,
            compact_at: records.length().max(options.records_bytes),
            records,
            kept_ms: i64::MIN,
            began: None,
        };
        let path = shared.folder.path();
        let thread = std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || writer.run());
        let writer = Some(thread.map_err(|error| LogError::io("start the writing thread of", path, &error))?);
        Ok(Self { shared, work, waiting_bytes: options.waiting_bytes, message_bytes: options.message_bytes, writer })
    }

    /// Why appends are refused at this moment, if they are.
    #[must_use]
    pub fn trouble(&self) -> Option<LogError> {
        self.shared.trouble.get()
    }

    fn index(&self) -> (MutexGuard<'_, DiskIndex>, i64) {
        let now = self.shared.clock.now_ms();
        let mut index = lock(&self.shared.index);
        index.age(now);
        (index, now)
    }

    /// Follows `find` from place to place until there are `limit` messages or no more places.
    fn collect(
        &self,
        after: Offset,
        limit: usize,
        find: impl Fn(&DiskIndex, Offset, usize, i64) -> Vec<(Offset, Place, Arc<Segment>)>,
    ) -> Result<Vec<Stored>, LogError> {
        let mut stored = Vec::new();
        let mut after = after;
        while stored.len() < limit {
            let wanted = limit - stored.len();
            let places = {
                let (index, now) = self.index();
                find(&index, after, wanted, now)
            };
            let Some((last, ..)) = places.last() else {
                break;
            };
            after = *last;
            let exhausted = places.len() < wanted;
            for (offset, place, segment) in places {
                match segment.read(place)? {
                    Some((found, message)) if found == offset => stored.push((offset, Arc::new(message))),
                    _ => self.lost(offset, &segment),
                }
            }
            if exhausted {
                break;
            }
        }
        Ok(stored)
    }

    fn lost(&self, offset: Offset, segment: &Segment) {
        tracing::error!(%offset, file = %name_of(segment.file.path()), "a stored message is damaged and is left out; its readers are told that recovery is not whole");
        self.shared.metrics.damaged.inc();
        lock(&self.shared.index).mark_lost(offset);
    }
}

impl MessageLog for EmbeddedLog {
    fn append(&self, batch: Vec<Arc<Message>>, done: AppendDone) {
        let answer = Answer::new(done);
        let lengths = batch.iter().map(|message| body::length_bound(message));
        let (bytes, longest) = lengths.fold((0, 0), |(sum, longest), length| (sum + length, longest.max(length)));
        if longest > self.message_bytes {
            return answer.give(Err(LogError::TooLarge { found: longest, allowed: self.message_bytes }));
        }
        let waiting = self.shared.waiting.fetch_add(bytes, Ordering::Relaxed);
        if waiting > 0 && waiting + bytes > self.waiting_bytes {
            self.shared.waiting.fetch_sub(bytes, Ordering::Relaxed);
            return answer.give(Err(LogError::Busy { waiting }));
        }
        // A writer that has ended drops the work, which answers `Closed`.
        let _ = self.work.send(Work::Append { batch, bytes, answer });
    }

    fn read(&self, key: &Key, after: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        self.collect(after, limit, |index, after, limit, now| index.of_key(key, after, limit, now))
    }

    fn read_on(&self, key: &Key, after: Offset, limit: usize, bytes: usize) -> Result<Reading, LogError> {
        let mut reading = Reading { messages: Vec::new(), floor: Offset::START };
        let mut after = after;
        let mut left = bytes as u64;
        loop {
            let (places, floor) = {
                let (index, now) = self.index();
                (index.of_key(key, after, limit, now), index.floor(key))
            };
            reading.floor = reading.floor.max(floor);
            let exhausted = places.is_empty();
            for (offset, place, segment) in places {
                after = offset;
                match segment.read(place)? {
                    Some((found, message)) if found == offset => reading.messages.push((offset, Arc::new(message))),
                    _ => {
                        self.lost(offset, &segment);
                        reading.floor = reading.floor.max(offset);
                    }
                }
                left = left.saturating_sub(u64::from(place.length));
                if left == 0 {
                    break;
                }
            }
            // Damage must not look like the end.
            if exhausted || !reading.messages.is_empty() {
                return Ok(reading);
            }
        }
    }

    fn scan(&self, after: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        self.collect(after, limit, DiskIndex::of_all)
    }

    fn floor(&self, key: &Key) -> Offset {
        self.index().0.floor(key)
    }

    fn put(&self, records: Vec<(RecordKey, Option<Bytes>)>, durable: bool, done: PutDone) {
        let _ = self.work.send(Work::Put { records, durable, answer: Answer::new(done) });
    }

    fn records(&self, kind: RecordKind) -> Vec<(RecordKey, Bytes)> {
        lock(&self.shared.table).of_kind(kind)
    }

    fn epoch(&self) -> u64 {
        self.shared.folder.epoch()
    }

    fn head(&self) -> Offset {
        lock(&self.shared.index).head()
    }

    fn first(&self) -> Offset {
        self.index().0.first()
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        let _ = self.work.send(Work::Close);
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != std::thread::current().id()
            && writer.join().is_err()
        {
            tracing::error!("the writing thread of the message log ended in a panic");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
