//! What is kept and where, in memory: offsets by key, in chapters that are dropped as a whole. The rules of
//! retention, of deduplication and of whole recovery live here, once for every implementation of the log.

use std::collections::{HashMap, VecDeque};

use slab::Slab;

use super::dedup::{Identity, Window};
use super::message::{Appended, Key, Message, Offset};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages older than this are dropped, in ms.
    pub age_ms: i64,
    /// Messages kept for each user; the oldest are dropped.
    pub per_user: usize,
    /// Bytes kept for each user, as they are stored; the oldest are dropped, and the newest one always stays. 0: no limit.
    pub per_user_bytes: u64,
    /// Messages kept for each command topic; the oldest are dropped.
    pub per_command_topic: usize,
    /// How long a repeated message id is recognised, in ms.
    pub dedup_window_ms: i64,
    /// How many message ids are remembered at most.
    pub dedup_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            age_ms: 7 * 24 * 3_600_000,
            per_user: 1_000,
            per_user_bytes: 16 << 20,
            per_command_topic: 1_000_000,
            dedup_window_ms: 10 * 60_000,
            dedup_entries: 1_000_000,
        }
    }
}

/// Says how long a message is.
pub(super) trait Placed: Clone {
    /// Its bytes as they are stored.
    fn bytes(&self) -> u64;
}

/// Why messages are kept no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// They were too old.
    Age,
    /// There were too many of one user, or of one command topic.
    Count,
    /// They were too many bytes of one user.
    Bytes,
    /// The whole log was too large.
    Total,
}

/// How many messages were dropped, by [`Cause`].
pub(super) type Dropped = [u64; Cause::ALL.len()];

impl Cause {
    /// Every cause, in the order of [`Dropped`].
    pub(super) const ALL: [Self; 4] = [Self::Age, Self::Count, Self::Bytes, Self::Total];

    /// Its name in metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Total => "total",
        }
    }
}

/// One kept message; `P` says where it is.
#[derive(Clone, Debug)]
pub(super) struct Row<P> {
    pub(super) offset: Offset,
    key: usize,
    time_ms: i64,
    expires_at_ms: Option<i64>,
    place: P,
}

/// What the index has to know of a message.
#[derive(Clone, Debug)]
pub(super) struct Entry<P> {
    pub(super) offset: Offset,
    pub(super) previous: Option<Offset>,
    pub(super) floor: Offset,
    pub(super) time_ms: i64,
    pub(super) expires_at_ms: Option<i64>,
    pub(super) place: P,
}

/// Rows that are dropped together; `F` is what they live in (a file, or nothing).
#[derive(Debug)]
pub(super) struct Chapter<P, F> {
    pub(super) base: Offset,
    pub(super) store: F,
    rows: Vec<Row<P>>,
    live: usize,
}

#[derive(Debug)]
struct Keyed {
    key: Key,
    offsets: VecDeque<Offset>,
    /// What they take, all together.
    bytes: u64,
    floor: Offset,
    last: Option<Offset>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Index<P, F> {
    limits: Limits,
    chapters: VecDeque<Chapter<P, F>>,
    keys: Slab<Keyed>,
    by_key: HashMap<Key, usize>,
    window: Window,
    head: Offset,
    aged: Offset,
    damaged: Offset,
    dropped: Dropped,
}

/// Offsets given out but not yet durable; dropped when the write fails.
#[derive(Debug, Default)]
pub(super) struct Pending {
    last: HashMap<Key, Offset>,
    seen: HashMap<Identity, Offset>,
}

/// What becomes of one message of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) appended: Appended,
    pub(super) floor: Offset,
    pub(super) identity: Identity,
}

impl<P: Placed, F: Clone> Index<P, F> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            chapters: VecDeque::new(),
            keys: Slab::new(),
            by_key: HashMap::new(),
            window: Window::new(limits.dedup_window_ms, limits.dedup_entries),
            head: Offset::START,
            aged: Offset::START,
            damaged: Offset::START,
            dropped: Dropped::default(),
        }
    }

    /// How many messages were dropped since this was asked last.
    pub(super) fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    pub(super) fn head(&self) -> Offset {
        self.head
    }

    pub(super) fn first(&self) -> Offset {
        self.chapters.front().map_or_else(|| self.head.next(), |chapter| chapter.base)
    }

    pub(super) fn chapters(&self) -> &VecDeque<Chapter<P, F>> {
        &self.chapters
    }

    /// Starts the next chapter; rows go to the last one. Whatever stood before it counts as read: a reader at the end
    /// of the log stays there when all of it is dropped.
    pub(super) fn begin_chapter(&mut self, base: Offset, store: F) {
        self.head = self.head.max(Offset(base.0.saturating_sub(1)));
        self.chapters.push_back(Chapter { base, store, rows: Vec::new(), live: 0 });
    }

    /// Takes the newest chapter back, which must be empty.
    pub(super) fn end_chapter(&mut self) {
        self.chapters.pop_back();
    }

    /// Says that messages up to this offset were lost to damage, of keys that nobody knows any more.
    pub(super) fn mark_damaged(&mut self, through: Offset) {
        self.damaged = self.damaged.max(through);
    }

    /// Says that one message cannot be read any more.
    pub(super) fn mark_lost(&mut self, offset: Offset) {
        let key = self.row(offset).map(|(_, row)| row.key);
        if let Some(keyed) = key.and_then(|id| self.keys.get_mut(id)) {
            keyed.floor = keyed.floor.max(offset);
        }
    }

    /// The floor below which something that retention dropped, or damage took, may be missing.
    pub(super) fn floor(&self, key: &Key) -> Offset {
        let dropped = Offset(self.first().0.saturating_sub(1));
        let own = self.by_key.get(key).and_then(|id| self.keys.get(*id)).map(|keyed| keyed.floor);
        own.unwrap_or(dropped).max(self.damaged)
    }

    /// Decides offset, predecessor and duplication of the next message. `next` is the offset it would get.
    pub(super) fn plan(&self, pending: &mut Pending, message: &Message, next: Offset) -> Planned {
        let identity = self.window.identity(message);
        let last = pending.last.get(&message.key).copied().or_else(|| self.last(&message.key));
        let floor = self.floor(&message.key);
        let known = pending.seen.get(&identity).copied().or_else(|| self.window.get(identity));
        if let Some(offset) = known {
            return Planned { appended: Appended { offset, previous: last, duplicate: true }, floor, identity };
        }
        pending.seen.insert(identity, next);
        pending.last.insert(message.key.clone(), next);
        Planned { appended: Appended { offset: next, previous: last, duplicate: false }, floor, identity }
    }

    fn last(&self, key: &Key) -> Option<Offset> {
        self.by_key.get(key).and_then(|id| self.keys.get(*id)).and_then(|keyed| keyed.last)
    }

    /// The identity under which a message is recognised again.
    pub(super) fn identity(&self, message: &Message) -> Identity {
        self.window.identity(message)
    }

    /// Whether so many messages fill the deduplication window: older ones are not remembered.
    pub(super) fn window_is_full(&self, messages: u64) -> bool {
        messages >= self.limits.dedup_entries as u64
    }

    /// Whether a message of this time is still within the deduplication window.
    pub(super) fn in_window(&self, time_ms: i64, now_ms: i64) -> bool {
        time_ms.saturating_add(self.limits.dedup_window_ms) > now_ms
    }

    /// Takes a durable message in, in the order of offsets, into the last chapter.
    pub(super) fn insert(&mut self, key: &Key, entry: Entry<P>, identity: Option<Identity>, now_ms: i64) {
        let id = self.key_id(key, &entry);
        if let Some(identity) = identity {
            self.window.insert(now_ms, entry.time_ms, identity, entry.offset);
        }
        self.insert_of(id, entry);
    }

    /// The number of a key, as long as it is known here; `entry` is its next message.
    pub(super) fn key_id(&mut self, key: &Key, entry: &Entry<P>) -> usize {
        if let Some(id) = self.by_key.get(key) {
            return *id;
        }
        let floor = entry.floor.max(entry.previous.unwrap_or_default());
        let keyed = Keyed { key: key.clone(), offsets: VecDeque::new(), bytes: 0, floor, last: entry.previous };
        let id = self.keys.insert(keyed);
        self.by_key.insert(key.clone(), id);
        id
    }

    /// As [`Index::insert`], for the key with this number.
    pub(super) fn insert_of(&mut self, id: usize, entry: Entry<P>) {
        let (Some(chapter), Some(keyed)) = (self.chapters.back_mut(), self.keys.get_mut(id)) else {
            return;
        };
        if entry.previous > keyed.last {
            keyed.floor = keyed.floor.max(entry.previous.unwrap_or_default());
        }
        keyed.last = Some(entry.offset);
        keyed.offsets.push_back(entry.offset);
        keyed.bytes = keyed.bytes.saturating_add(entry.place.bytes());
        chapter.rows.push(Row {
            offset: entry.offset,
            key: id,
            time_ms: entry.time_ms,
            expires_at_ms: entry.expires_at_ms,
            place: entry.place,
        });
        chapter.live += 1;
        self.head = self.head.max(entry.offset);
        while let Some(cause) = self.keys.get(id).and_then(|keyed| self.too_much(keyed)) {
            self.drop_oldest(id, cause);
        }
    }

    fn too_much(&self, keyed: &Keyed) -> Option<Cause> {
        let (count, bytes) = match keyed.key {
            Key::User(_) => (self.limits.per_user, self.limits.per_user_bytes),
            Key::Command(_) => (self.limits.per_command_topic, 0),
        };
        if keyed.offsets.len() > count {
            return Some(Cause::Count);
        }
        (bytes > 0 && keyed.bytes > bytes && keyed.offsets.len() > 1).then_some(Cause::Bytes)
    }

    fn drop_oldest(&mut self, id: usize, cause: Cause) {
        let Some(offset) = self.keys.get_mut(id).and_then(|keyed| keyed.offsets.pop_front()) else {
            return;
        };
        let bytes = self.row(offset).map_or(0, |(_, row)| row.place.bytes());
        if let Some(keyed) = self.keys.get_mut(id) {
            keyed.floor = keyed.floor.max(offset);
            keyed.bytes = keyed.bytes.saturating_sub(bytes);
        }
        if let Some(at) = self.chapter_of(offset) {
            self.chapters[at].live -= 1;
        }
        self.dropped[cause as usize] += 1;
    }

    fn drop_through(&mut self, id: usize, offset: Offset, cause: Cause) {
        while self.keys.get(id).and_then(|keyed| keyed.offsets.front()).is_some_and(|front| *front <= offset) {
            self.drop_oldest(id, cause);
        }
    }

    /// Drops everything in the oldest chapter, unless it is the one that grows; whether there was one to drop.
    pub(super) fn drop_first_chapter(&mut self) -> bool {
        if self.chapters.len() < 2 {
            return false;
        }
        let rows: Vec<_> = self.chapters[0].rows.iter().map(|row| (row.key, row.offset)).collect();
        for (id, offset) in rows {
            self.drop_through(id, offset, Cause::Total);
        }
        true
    }

    /// Applies the age limit. Costs what it drops.
    pub(super) fn age(&mut self, now_ms: i64) {
        let cutoff = now_ms.saturating_sub(self.limits.age_ms);
        self.window.forget_old(now_ms);
        while let Some((offset, key)) =
            self.row_after(self.aged).filter(|row| row.time_ms < cutoff).map(|row| (row.offset, row.key))
        {
            self.aged = offset;
            self.drop_through(key, offset, Cause::Age);
        }
    }

    fn row_after(&self, after: Offset) -> Option<&Row<P>> {
        let start = self.chapters.partition_point(|chapter| {
            chapter.rows.last().is_none_or(|row| row.offset <= after) && chapter.base <= after
        });
        self.chapters.range(start..).find_map(|chapter| {
            let at = chapter.rows.partition_point(|row| row.offset <= after);
            chapter.rows.get(at)
        })
    }

    fn chapter_of(&self, offset: Offset) -> Option<usize> {
        self.chapters.partition_point(|chapter| chapter.base <= offset).checked_sub(1)
    }

    fn row(&self, offset: Offset) -> Option<(&Chapter<P, F>, &Row<P>)> {
        let chapter = &self.chapters[self.chapter_of(offset)?];
        let at = chapter.rows.binary_search_by_key(&offset, |row| row.offset).ok()?;
        Some((chapter, &chapter.rows[at]))
    }

    /// Takes out the chapters that hold nothing alive any more, except the last one and those that are to be kept.
    pub(super) fn take_dead_chapters(&mut self, keep: impl Fn(&Chapter<P, F>) -> bool) -> Vec<Chapter<P, F>> {
        let mut dead = Vec::new();
        let mut at = 0;
        while at + 1 < self.chapters.len() {
            if self.chapters[at].live > 0 || keep(&self.chapters[at]) {
                at += 1;
                continue;
            }
            if let Some(chapter) = self.chapters.remove(at) {
                dead.push(chapter);
            }
        }
        let dropped = Offset(self.first().0.saturating_sub(1));
        let touched = dead.iter().flat_map(|chapter| chapter.rows.iter().map(|row| row.key));
        for id in touched {
            if self
                .keys
                .get(id)
                .is_some_and(|keyed| keyed.offsets.is_empty() && keyed.last.is_none_or(|last| last <= dropped))
            {
                let keyed = self.keys.remove(id);
                self.by_key.remove(&keyed.key);
            }
        }
        dead
    }

    /// The places of at most `limit` kept messages of a key after an offset.
    pub(super) fn of_key(&self, key: &Key, after: Offset, limit: usize, now_ms: i64) -> Vec<(Offset, P, F)> {
        let Some(keyed) = self.by_key.get(key).and_then(|id| self.keys.get(*id)) else {
            return Vec::new();
        };
        let start = keyed.offsets.partition_point(|offset| *offset <= after);
        keyed
            .offsets
            .range(start..)
            .filter_map(|offset| self.row(*offset))
            .filter(|(_, row)| row.expires_at_ms.is_none_or(|expires| expires > now_ms))
            .take(limit)
            .map(|(chapter, row)| (row.offset, row.place.clone(), chapter.store.clone()))
            .collect()
    }

    /// The places of at most `limit` kept messages of any key after an offset.
    pub(super) fn of_all(&self, after: Offset, limit: usize, now_ms: i64) -> Vec<(Offset, P, F)> {
        let start = self.chapter_of(after.next()).unwrap_or(0);
        self.chapters
            .range(start..)
            .flat_map(|chapter| {
                let at = chapter.rows.partition_point(|row| row.offset <= after);
                chapter.rows[at..].iter().map(move |row| (chapter, row))
            })
            .filter(|(_, row)| row.expires_at_ms.is_none_or(|expires| expires > now_ms) && self.is_kept(row))
            .take(limit)
            .map(|(chapter, row)| (row.offset, row.place.clone(), chapter.store.clone()))
            .collect()
    }

    fn is_kept(&self, row: &Row<P>) -> bool {
        self.keys.get(row.key).and_then(|keyed| keyed.offsets.front()).is_some_and(|front| *front <= row.offset)
    }
}

impl<P, F> Chapter<P, F> {
    /// Whether nothing in it is kept any more.
    pub(super) fn is_dead(&self) -> bool {
        self.live == 0
    }

    /// When its last message came, ms since 1970.
    pub(super) fn newest_ms(&self) -> i64 {
        self.rows.last().map_or(i64::MIN, |row| row.time_ms)
    }

    /// How many messages it holds, kept or not.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}
