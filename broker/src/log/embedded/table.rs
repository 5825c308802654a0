//! All live records, in the order of their keys.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::super::record::{RecordKey, RecordKind};
use super::records::frame_bytes;

/// Records by key, and how much they take on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    records: BTreeMap<RecordKey, Bytes>,
    bytes: u64,
}

impl Table {
    /// Sets or removes one.
    pub(super) fn set(&mut self, key: RecordKey, value: Option<Bytes>) {
        let old = match value {
            Some(value) => {
                self.bytes += frame_bytes(&key, &value);
                self.records.insert(key.clone(), value)
            }
            None => self.records.remove(&key),
        };
        if let Some(old) = old {
            self.bytes = self.bytes.saturating_sub(frame_bytes(&key, &old));
        }
    }

    /// Takes one put.
    pub(super) fn put(&mut self, records: Vec<(RecordKey, Option<Bytes>)>) {
        for (key, value) in records {
            self.set(key, value);
        }
    }

    /// All behind a key, in order.
    pub(super) fn iter_after(&self, after: Option<&RecordKey>) -> impl Iterator<Item = (&RecordKey, &Bytes)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.records.range((from, Bound::Unbounded))
    }

    /// All of a kind.
    pub(super) fn of_kind(&self, kind: RecordKind) -> Vec<(RecordKey, Bytes)> {
        let from = Bound::Included(RecordKey { kind, id: Bytes::new() });
        let of_kind = self.records.range((from, Bound::Unbounded)).take_while(|(key, _)| key.kind == kind);
        of_kind.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// About how many bytes a file with only these would have.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
