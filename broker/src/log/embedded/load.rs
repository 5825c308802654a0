//! Opening: every segment is taken into the index, from its own index file where there is one that fits, else message by
//! message; what cannot be read is told with its numbers, and the end is repaired.

use std::sync::Arc;

use super::super::LogError;
use super::super::message::Offset;
use super::file::{Header, name_of};
use super::folder::Folder;
use super::index_file::{self, Summary};
use super::segment::{self, DiskIndex, Loaded, Segment};
use super::writer::Active;

/// Behind a damaged end the next offset is so much further on. Nobody knows how many messages there were, and a reader may
/// have seen them: an offset must not be given again.
const LEAP: u64 = 1 << 21;

/// What the writer goes on with.
pub(super) struct Opened {
    /// The segment that grows.
    pub(super) active: Active,
    /// The next offset.
    pub(super) next: Offset,
    /// Finished segments that have no index yet.
    pub(super) unindexed: Vec<Arc<Segment>>,
}

/// Takes all segments into the index.
pub(super) fn load(folder: &Folder, index: &mut DiskIndex, now_ms: i64) -> Result<Opened, LogError> {
    let bases = folder.segments()?;
    remove_orphans(folder, &bases)?;
    let mut segments = Vec::new();
    let mut next = Offset(1);
    for (at, base) in bases.iter().enumerate() {
        match segment::open(folder, *base)? {
            Some(segment) => segments.push(segment),
            None => next = next.max(set_aside(folder, index, *base, bases.get(at + 1).copied())?),
        }
    }
    let indexed = usable_indexes(folder, index, &segments, now_ms);
    let mut unindexed = Vec::new();
    let mut active = None;
    for (at, segment) in segments.iter().enumerate() {
        next = next.max(segment.base);
        if indexed[at] {
            index.begin_chapter(segment.base, Arc::clone(segment));
            if index_file::load(folder, segment, index) {
                continue;
            }
            tracing::warn!(file = %name_of(&folder.index(segment.base.0)), "the index of a segment could not be used and is made again");
            index.end_chapter();
        }
        let loaded = segment::load(segment, index, now_ms)?;
        next = next.max(loaded.newest.unwrap_or_default().next());
        let Some(following) = segments.get(at + 1).map(|segment| segment.base) else {
            next = next.max(repair(&loaded)?);
            segment.set_length(loaded.length);
            active = Some(Active::new(loaded));
            break;
        };
        if loaded.tail > 0 {
            let path = segment.file.path();
            tracing::error!(
                file = %name_of(path), bytes = loaded.tail, after_offset = %loaded.newest.unwrap_or_default(), before_offset = %following,
                messages_at_most = following.0.saturating_sub(index.head().0).saturating_sub(1),
                "the end of a finished segment is damaged: its messages are lost"
            );
            index.mark_damaged(Offset(following.0.saturating_sub(1)));
        }
        if loaded.whole && index_file::summary(folder, segment).is_none() {
            unindexed.push(Arc::clone(segment));
        }
    }
    next = next.max(index.head().next());
    let active = match active {
        Some(active) => active,
        None => {
            let segment = Arc::new(Segment::create(folder, next)?);
            index.begin_chapter(next, Arc::clone(&segment));
            Active::empty(segment)
        }
    };
    Ok(Opened { active, next, unindexed })
}

/// Index files whose segment is gone.
fn remove_orphans(folder: &Folder, segments: &[u64]) -> Result<(), LogError> {
    for base in folder.indexes()?.into_iter().filter(|base| segments.binary_search(base).is_err()) {
        let path = folder.index(base);
        std::fs::remove_file(&path).map_err(|error| LogError::io("remove", &path, &error))?;
    }
    Ok(())
}

/// A file in which not even the first message can be read goes out of the way; the offsets that may have been in it are
/// never given again.
fn set_aside(folder: &Folder, index: &mut DiskIndex, base: u64, following: Option<u64>) -> Result<Offset, LogError> {
    let path = folder.segment(base);
    let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
    let end = following.unwrap_or_else(|| base.saturating_add(LEAP));
    let aside = folder.set_aside(&path)?;
    tracing::error!(
        file = %name_of(&path), bytes, from_offset = base, before_offset = end, kept_as = %name_of(&aside),
        "a segment is damaged from its first byte on and was set aside: its messages are lost, and their readers are told that recovery is not whole"
    );
    index.mark_damaged(Offset(end.saturating_sub(1)));
    Ok(Offset(end))
}

/// Which segments are read from their index files: finished ones whose messages are out of the deduplication window,
/// for what an index does not hold is the messages' ids.
fn usable_indexes(folder: &Folder, index: &DiskIndex, segments: &[Arc<Segment>], now_ms: i64) -> Vec<bool> {
    let mut usable = vec![false; segments.len()];
    let mut newer = 0_u64;
    for (at, segment) in segments.iter().enumerate().rev().skip(1) {
        let summary: Option<Summary> = index_file::summary(folder, segment);
        if let Some(summary) = summary {
            usable[at] = !index.in_window(summary.newest_ms, now_ms) || index.window_is_full(newer);
            newer = newer.saturating_add(summary.messages);
        }
    }
    usable
}

/// Cuts off what is no whole message at the end of the log; the next offset that may be given.
fn repair(loaded: &Loaded) -> Result<Offset, LogError> {
    let newest = loaded.newest.unwrap_or_default();
    if loaded.tail == 0 {
        return Ok(newest.next());
    }
    let file = &loaded.segment.file;
    tracing::warn!(
        file = %name_of(file.path()), bytes = loaded.tail, from_byte = loaded.length, after_offset = %newest,
        "cut an unfinished write off the end of the message log: nothing of it had been acknowledged unless the disk lost it"
    );
    file.truncate(loaded.length)
        .and_then(|()| file.sync())
        .map_err(|error| LogError::io("repair", file.path(), &error))?;
    Ok(Offset(loaded.segment.base.0.max(newest.0).saturating_add(LEAP)))
}

impl Active {
    fn new(loaded: Loaded) -> Self {
        let Loaded { segment, length, oldest_ms, .. } = loaded;
        Self { segment, length, reserved: length, oldest_ms, broken: false }
    }

    /// A segment without a message.
    pub(super) fn empty(segment: Arc<Segment>) -> Self {
        let length = Header::LENGTH as u64;
        Self { segment, length, reserved: length, oldest_ms: None, broken: false }
    }
}
