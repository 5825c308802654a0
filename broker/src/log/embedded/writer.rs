//! The one thread that writes: it takes everything that waits, writes it at once, synchronises once, and only
//! then tells the index and the callers.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::LogError;
use super::super::index::{Cause, Entry, Pending, Planned};
use super::super::message::{Appended, Message, Offset};
use super::super::record::RecordKey;
use super::body::{self, Head};
use super::keeper::{Chore, Keeper};
use super::records::{self, RecordsFile};
use super::segment::{DiskIndex, Place, Segment, refusal};
use super::{Shared, frame, lock};
use crate::metrics::Dropped;

/// What waits is taken in groups of about so many bytes.
const GROUP_BYTES: usize = 8 << 20;

/// Segments that are kept only for the ids of their messages are no more than so many bytes.
const KEPT_FOR_IDS: u64 = 256 << 20;

/// Commits begin at least this far apart. Under load each covers everything that came meanwhile, which costs a fraction of
/// the processor time of one commit per message; after a pause the first is not kept waiting.
const PACE: Duration = Duration::from_millis(1);

/// So much room is reserved at a time at the end of the segment that grows.
const RESERVED: u64 = 1 << 20;

/// How often there is housekeeping.
const TICK: Duration = Duration::from_secs(1);

type Done<T> = Box<dyn FnOnce(Result<T, LogError>) + Send>;

/// Answers exactly once: with [`LogError::Closed`] when it is dropped unanswered.
pub(super) struct Answer<T>(Option<Done<T>>);

impl<T> Answer<T> {
    pub(super) fn new(done: Done<T>) -> Self {
        Self(Some(done))
    }

    pub(super) fn give(mut self, result: Result<T, LogError>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(LogError::Closed));
        }
    }
}

/// One thing to write.
pub(super) enum Work {
    Append { batch: Vec<Arc<Message>>, bytes: usize, answer: Answer<Vec<Appended>> },
    Put { records: Vec<(RecordKey, Option<Bytes>)>, durable: bool, answer: Answer<()> },
    Close,
}

type AppendWork = (Vec<Arc<Message>>, Answer<Vec<Appended>>);
type PutWork = (Vec<(RecordKey, Option<Bytes>)>, Answer<()>);

/// The segment that grows.
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) length: u64,
    /// Up to here there is room.
    pub(super) reserved: u64,
    pub(super) oldest_ms: Option<i64>,
    /// Set when its end is not what we wrote: nothing may be appended to it any more.
    pub(super) broken: bool,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) work: Receiver<Work>,
    pub(super) active: Active,
    pub(super) next: Offset,
    pub(super) keeper: Keeper,
    pub(super) records: RecordsFile,
    pub(super) compact_at: u64,
    pub(super) kept_ms: i64,
    /// When the commit of this round began.
    pub(super) began: Option<Instant>,
}

/// A message that is written but not yet durable.
type Written = (Arc<Message>, Entry<Place>, Planned);

impl Active {
    /// Cuts off what is behind the last message: room that is not needed, or half a write.
    fn release(&mut self) {
        self.reserved = self.length;
        self.broken |= self.segment.file.truncate(self.length).is_err();
    }
}

impl Writer {
    pub(super) fn run(mut self) {
        let mut open = true;
        while open {
            let mut appends = Vec::new();
            let mut puts = Vec::new();
            let mut durable = false;
            let mut bytes = 0;
            // Before it is asked for work, so that whoever brings some meanwhile has nobody to wake.
            self.keep_pace();
            let patience = if self.records.is_rewriting() { Duration::ZERO } else { TICK };
            let mut next = match self.work.recv_timeout(patience) {
                Ok(work) => Some(work),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Work::Close),
            };
            if matches!(next, Some(Work::Append { .. } | Work::Put { .. })) {
                self.began = Some(Instant::now());
            }
            while let Some(work) = next {
                match work {
                    Work::Append { batch, bytes: size, answer } => {
                        bytes += size;
                        appends.push((batch, answer));
                    }
                    Work::Put { records, durable: must_last, answer } => {
                        durable |= must_last;
                        puts.push((records, answer));
                    }
                    Work::Close => open = false,
                }
                next = if bytes < GROUP_BYTES { self.work.try_recv().ok() } else { None };
            }
            if !appends.is_empty() {
                self.commit(appends);
                self.shared.waiting.fetch_sub(bytes, std::sync::atomic::Ordering::Relaxed);
            }
            if !puts.is_empty() {
                self.put(puts, durable);
            }
            if self.records.is_rewriting()
                && let Err(error) = self.rewrite_a_slice()
            {
                self.shared.refuses(&error);
            }
            self.keep_house();
        }
        self.active.release();
        if let Err(error) = self.records.sync(&self.shared.folder) {
            tracing::error!(%error, "the last records may be lost if the machine loses power now");
        }
    }

    fn keep_pace(&mut self) {
        if let Some(began) = self.began.take() {
            std::thread::sleep((began + PACE).saturating_duration_since(Instant::now()));
        }
    }

    fn commit(&mut self, appends: Vec<AppendWork>) {
        let (batches, answers): (Vec<_>, Vec<_>) = appends.into_iter().unzip();
        match self.try_commit(&batches) {
            Ok(placed) => {
                self.shared.accepts();
                for (answer, placed) in answers.into_iter().zip(placed) {
                    answer.give(Ok(placed));
                }
            }
            Err(error) => {
                self.shared.metrics.refused.inc_by(batches.iter().map(|batch| batch.len() as u64).sum());
                self.shared.refuses(&error);
                for answer in answers {
                    answer.give(Err(error.clone()));
                }
            }
        }
    }

    fn try_commit(&mut self, batches: &[Vec<Arc<Message>>]) -> Result<Vec<Vec<Appended>>, LogError> {
        let now = self.shared.clock.now_ms();
        let planned = self.plan(batches, now);
        let fresh: Vec<_> = batches
            .iter()
            .flatten()
            .zip(planned.iter().flatten())
            .filter(|(_, planned)| !planned.appended.duplicate)
            .collect();
        let placed = planned.iter().map(|batch| batch.iter().map(|planned| planned.appended).collect()).collect();
        let Some((_, first)) = fresh.first() else {
            return Ok(placed);
        };
        if self.active.broken || self.active.length >= self.shared.segment_bytes {
            self.roll(first.appended.offset)?;
        }
        let (bytes, written) = self.encode(&fresh)?;
        self.write(&bytes)?;
        self.active.oldest_ms = self.active.oldest_ms.or(written.first().map(|(message, ..)| message.time_ms));
        let metrics = &self.shared.metrics;
        metrics.messages.inc_by(written.len() as u64);
        metrics.bytes.inc_by(bytes.len() as u64);
        metrics.group.observe(written.len() as f64);
        let mut index = lock(&self.shared.index);
        for (message, entry, planned) in written {
            index.insert(&message.key, entry, Some(planned.identity), now);
        }
        Ok(placed)
    }

    fn plan(&mut self, batches: &[Vec<Arc<Message>>], now: i64) -> Vec<Vec<Planned>> {
        let mut pending = Pending::default();
        let mut index = lock(&self.shared.index);
        index.age(now);
        let next = &mut self.next;
        let mut plan = |message: &Arc<Message>| {
            let planned = index.plan(&mut pending, message, *next);
            if !planned.appended.duplicate {
                *next = next.next();
            }
            planned
        };
        batches.iter().map(|batch| batch.iter().map(&mut plan).collect()).collect()
    }

    fn encode(&self, fresh: &[(&Arc<Message>, &Planned)]) -> Result<(Vec<u8>, Vec<Written>), LogError> {
        let mut bytes = Vec::new();
        let mut written = Vec::with_capacity(fresh.len());
        for (message, planned) in fresh {
            let head = Head {
                offset: planned.appended.offset,
                previous: planned.appended.previous,
                floor: planned.floor,
                time_ms: message.time_ms,
                expires_at_ms: message.expires_at_ms,
                key: message.key.clone(),
            };
            let start = bytes.len();
            frame::write(&mut bytes, self.active.segment.salt, |out| body::write(out, &head, message)).map_err(
                |error| LogError::Io {
                    action: "encode a message for",
                    path: self.active.segment.file.path().to_path_buf(),
                    detail: error.to_string(),
                },
            )?;
            let place = Place {
                at: self.active.length + start as u64,
                length: u32::try_from(bytes.len() - start).unwrap_or(u32::MAX),
            };
            let entry = Entry {
                offset: head.offset,
                previous: head.previous,
                floor: head.floor,
                time_ms: head.time_ms,
                expires_at_ms: head.expires_at_ms,
                place,
            };
            written.push((Arc::clone(message), entry, **planned));
        }
        Ok((bytes, written))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let segment = Arc::clone(&self.active.segment);
        let file = &segment.file;
        let began = Instant::now();
        let end = self.active.length + bytes.len() as u64;
        if end > self.active.reserved {
            // No more than the segment can grow: the log's limit counts what is on the disk.
            self.active.reserved = (end + RESERVED).min(self.shared.segment_bytes).max(end);
            file.reserve(self.active.length, self.active.reserved - self.active.length);
        }
        let outcome = file.write_at(bytes, self.active.length).map_err(|error| ("write", error)).and_then(|()| {
            file.sync().map_err(|error| {
                // What the system still holds of this file after a failed sync is unknown: only a new file is certain.
                self.active.broken = true;
                ("synchronise", error)
            })
        });
        self.shared.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        if let Err((action, error)) = outcome {
            self.active.release();
            return Err(refusal(action, &self.shared.folder, file.path(), &error));
        }
        self.active.length = end;
        segment.set_length(end);
        Ok(())
    }

    /// Starts a new segment whose first offset is `base`.
    fn roll(&mut self, base: Offset) -> Result<(), LogError> {
        if base <= self.active.segment.base {
            return Ok(());
        }
        let segment = Arc::new(Segment::create(&self.shared.folder, base)?);
        lock(&self.shared.index).begin_chapter(base, Arc::clone(&segment));
        let mut full = std::mem::replace(&mut self.active, Active::empty(segment));
        full.release();
        if !full.broken {
            self.keeper.give(Chore::Index(full.segment));
        }
        self.drop_dead_segments(self.shared.clock.now_ms());
        Ok(())
    }

    fn put(&mut self, puts: Vec<PutWork>, durable: bool) {
        let (records, answers): (Vec<_>, Vec<_>) = puts.into_iter().unzip();
        let outcome = self.try_put(&records, durable);
        match &outcome {
            Ok(()) => {
                let mut table = lock(&self.shared.table);
                for put in records {
                    table.put(put);
                }
            }
            Err(error) => self.shared.refuses(error),
        }
        for answer in answers {
            answer.give(outcome.clone());
        }
    }

    fn try_put(&mut self, puts: &[Vec<(RecordKey, Option<Bytes>)>], durable: bool) -> Result<(), LogError> {
        if self.records.is_broken() {
            self.replace_records()?;
        }
        let mut frames = Vec::new();
        for put in puts {
            records::encode(&mut frames, self.records.salt(), put)?;
        }
        self.records.append(&self.shared.folder, &frames, durable)
    }

    fn replace_records(&mut self) -> Result<(), LogError> {
        self.records.replace(&self.shared.folder, &lock(&self.shared.table))?;
        self.compact_at = (self.records.length() * 2).max(self.shared.records_bytes);
        Ok(())
    }

    /// Carries the next generation of the records on by so much as holds no append up.
    fn rewrite_a_slice(&mut self) -> Result<(), LogError> {
        let slice = self.records.slice(&lock(&self.shared.table))?;
        self.records.write_slice(&self.shared.folder, slice)?;
        if !self.records.is_rewriting() {
            self.compact_at = (self.records.length() * 2).max(self.shared.records_bytes);
        }
        Ok(())
    }

    fn keep_house(&mut self) {
        let now = self.shared.clock.now_ms();
        if now.abs_diff(self.kept_ms) < TICK.as_millis() as u64 {
            return;
        }
        self.kept_ms = now;
        let rest = self.shared.segment_age_ms;
        if self.active.oldest_ms.is_some_and(|oldest| oldest.saturating_add(rest) <= now) {
            let base = self.next;
            if let Err(error) = self.roll(base) {
                self.shared.refuses(&error);
            }
        }
        self.drop_dead_segments(now);
        if let Err(error) = self.keep_records() {
            self.shared.refuses(&error);
        }
        if self.shared.is_refusing() && self.probe().is_ok() {
            self.shared.accepts();
        }
    }

    fn drop_dead_segments(&self, now: i64) {
        let metrics = &self.shared.metrics;
        let mut index = lock(&self.shared.index);
        index.age(now);
        let kept_from = kept_for_ids(&index, now);
        let mut dead = index.take_dead_chapters(|chapter| chapter.base >= kept_from);
        let length = |index: &DiskIndex| index.chapters().iter().map(|chapter| chapter.store.length()).sum::<u64>();
        let mut total = length(&index);
        while self.shared.total_bytes > 0 && total > self.shared.total_bytes && index.drop_first_chapter() {
            dead.extend(index.take_dead_chapters(|_| false));
            total = length(&index);
        }
        for (cause, count) in Cause::ALL.into_iter().zip(index.take_dropped()) {
            metrics.dropped.get_or_create(&Dropped { reason: cause.word() }).inc_by(count);
        }
        metrics.segments.set(index.chapters().len() as i64);
        metrics.size.set(i64::try_from(total).unwrap_or(i64::MAX));
        drop(index);
        for chapter in dead {
            self.keeper.give(Chore::Remove(chapter.store));
        }
    }

    fn keep_records(&mut self) -> Result<(), LogError> {
        if self.records.is_broken() {
            return self.replace_records();
        }
        if self.records.length() >= self.compact_at && !self.records.is_rewriting() {
            let live = lock(&self.shared.table).bytes();
            if self.records.length() > live.saturating_mul(2) {
                self.records.begin_rewrite(&self.shared.folder)?;
            } else {
                self.compact_at = live.saturating_mul(2).saturating_add(self.shared.records_bytes);
            }
        }
        self.records.sync(&self.shared.folder)
    }

    /// Whether the disk takes something again, when nobody asks.
    fn probe(&self) -> std::io::Result<()> {
        let path = self.shared.folder.path().join("probe.tmp");
        let probe = || {
            let file = super::file::LogFile::create(&path, &self.shared.folder)?;
            file.write_at(&[0; 1 << 16], 0)?;
            file.sync()
        };
        let outcome = probe();
        let _ = std::fs::remove_file(&path);
        outcome
    }
}

/// Segments from this one on are kept although nothing in them is: after a restart, the ids of their messages must still
/// be recognised when they are published again.
fn kept_for_ids(index: &DiskIndex, now: i64) -> Offset {
    let (mut from, mut bytes, mut messages) = (Offset(u64::MAX), 0, 0);
    for chapter in index.chapters().iter().rev() {
        if chapter.is_dead() {
            bytes += chapter.store.length();
        }
        let remembered = chapter.len() == 0 || index.in_window(chapter.newest_ms(), now);
        if bytes > KEPT_FOR_IDS || index.window_is_full(messages) || !remembered {
            break;
        }
        messages += chapter.len() as u64;
        from = chapter.base;
    }
    from
}

/// The state of being refused, shown on `/readyz`.
#[derive(Default)]
pub(super) struct Trouble(Mutex<Option<LogError>>);

impl Trouble {
    /// Keeps the error; whether it is news.
    pub(super) fn set(&self, error: Option<&LogError>) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = held.is_some() != error.is_some();
        *held = error.cloned();
        news
    }

    pub(super) fn get(&self) -> Option<LogError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
