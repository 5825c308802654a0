//! The log in memory: for simulation, for tests of the engine, and for a broker that keeps nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidings_shared::clock::Clock;

use super::index::{Entry, Index, Limits, Pending, Placed};
use super::message::{Appended, Key, Message, Offset};
use super::record::{RecordKey, RecordKind};
use super::{AppendDone, LogError, MessageLog, PutDone, Reading, Stored};

/// Messages are dropped in chapters of this many.
const CHAPTER: usize = 1_024;

/// A log that lives as long as its process. It answers within the call, in the caller's thread: runs replay.
#[derive(Debug)]
pub struct MemoryLog {
    clock: Clock,
    epoch: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    index: Index<Arc<Message>, ()>,
    records: BTreeMap<RecordKey, Bytes>,
}

impl Placed for Arc<Message> {
    fn bytes(&self) -> u64 {
        (self.topic.len() + self.payload.len()) as u64
    }
}

impl MemoryLog {
    /// An empty log; `epoch` names its life.
    #[must_use]
    pub fn new(clock: Clock, limits: Limits, epoch: u64) -> Self {
        let state = State { index: Index::new(limits), records: BTreeMap::new() };
        Self { clock, epoch, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn aged(&self) -> (MutexGuard<'_, State>, i64) {
        let now = self.clock.now_ms();
        let mut state = self.state();
        state.index.age(now);
        (state, now)
    }

    fn store(&self, batch: Vec<Arc<Message>>) -> Vec<Appended> {
        let (mut state, now) = self.aged();
        let index = &mut state.index;
        let appended = batch.into_iter().map(|message| append(index, message, now)).collect();
        index.take_dead_chapters(|_| false);
        appended
    }
}

fn append(index: &mut Index<Arc<Message>, ()>, message: Arc<Message>, now: i64) -> Appended {
    let next = index.head().next();
    let planned = index.plan(&mut Pending::default(), &message, next);
    if planned.appended.duplicate {
        return planned.appended;
    }
    if index.chapters().back().is_none_or(|chapter| chapter.len() >= CHAPTER) {
        index.begin_chapter(next, ());
    }
    let entry = Entry {
        offset: next,
        previous: planned.appended.previous,
        floor: planned.floor,
        time_ms: message.time_ms,
        expires_at_ms: message.expires_at_ms,
        place: Arc::clone(&message),
    };
    index.insert(&message.key, entry, Some(planned.identity), now);
    planned.appended
}

impl MessageLog for MemoryLog {
    fn append(&self, batch: Vec<Arc<Message>>, done: AppendDone) {
        let appended = self.store(batch);
        done(Ok(appended));
    }

    fn read(&self, key: &Key, after: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        let (state, now) = self.aged();
        let found = state.index.of_key(key, after, limit, now);
        Ok(found.into_iter().map(|(offset, message, ())| (offset, message)).collect())
    }

    fn read_on(&self, key: &Key, after: Offset, limit: usize, _bytes: usize) -> Result<Reading, LogError> {
        let (state, now) = self.aged();
        let found = state.index.of_key(key, after, limit, now);
        let messages = found.into_iter().map(|(offset, message, ())| (offset, message)).collect();
        Ok(Reading { messages, floor: state.index.floor(key) })
    }

    fn scan(&self, after: Offset, limit: usize) -> Result<Vec<Stored>, LogError> {
        let (state, now) = self.aged();
        let found = state.index.of_all(after, limit, now);
        Ok(found.into_iter().map(|(offset, message, ())| (offset, message)).collect())
    }

    fn floor(&self, key: &Key) -> Offset {
        self.aged().0.index.floor(key)
    }

    fn put(&self, records: Vec<(RecordKey, Option<Bytes>)>, _durable: bool, done: PutDone) {
        let mut state = self.state();
        for (key, value) in records {
            match value {
                Some(value) => state.records.insert(key, value),
                None => state.records.remove(&key),
            };
        }
        drop(state);
        done(Ok(()));
    }

    fn records(&self, kind: RecordKind) -> Vec<(RecordKey, Bytes)> {
        let state = self.state();
        let of_kind = state.records.iter().filter(|(key, _)| key.kind == kind);
        of_kind.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn head(&self) -> Offset {
        self.state().index.head()
    }

    fn first(&self) -> Offset {
        self.state().index.first()
    }
}
