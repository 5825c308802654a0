//! What a device may complain about: in the quiet histories nothing at all. In the wild ones a change may be committed
//! while a device is in the middle of an update, and pushes may be doubled on their way; then no server could have
//! kept a real device from writing two of its lines. Each such line needs a reason in the history that is used up by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidings_simulators::wallet::{Complaint, TaskError};

/// From when to when something happened, in ticks of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: u64,
    /// `u64::MAX` while nobody knows its end.
    pub(super) to: u64,
}

impl Span {
    fn meets(self, other: Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// Why a device asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// By itself.
    Own,
    /// A push that the gateway took at this moment; `doubled`: it had come before.
    Push { taken_at: u64, doubled: bool },
}

/// The history's own time. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Ticks(Arc<AtomicU64>);

impl Ticks {
    /// The next moment.
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// What happened so far.
pub(super) struct History {
    ticks: Ticks,
    /// Serial, and from the request to the moment at which the change surely had its tag.
    changes: Vec<(String, Span)>,
    /// When processes died.
    crashes: Vec<Span>,
    /// The updates of each device, oldest first.
    updates: BTreeMap<usize, Vec<Span>>,
    /// Changes that have excused a line of a device already: device, change, which kind of line.
    used: BTreeSet<(usize, usize, bool)>,
    /// Lines that were excused.
    pub(super) excused: u64,
}

impl History {
    pub(super) fn new(ticks: Ticks) -> Self {
        Self {
            ticks,
            changes: Vec::new(),
            crashes: Vec::new(),
            updates: BTreeMap::new(),
            used: BTreeSet::new(),
            excused: 0,
        }
    }

    /// The next moment.
    pub(super) fn tick(&self) -> u64 {
        self.ticks.next()
    }

    pub(super) fn change_begins(&mut self, serial: &str) -> usize {
        let from = self.tick();
        self.changes.push((serial.to_owned(), Span { from, to: u64::MAX }));
        self.changes.len() - 1
    }

    /// The change has its tag.
    pub(super) fn change_is_listed(&mut self, change: usize) {
        self.changes[change].1.to = self.tick();
    }

    /// Every change has its tag, and every push is handed over.
    pub(super) fn all_quiet(&mut self) {
        let now = self.tick();
        for (_, span) in &mut self.changes {
            span.to = span.to.min(now);
        }
    }

    pub(super) fn crashed(&mut self, from: u64) {
        let to = self.tick();
        self.crashes.push(Span { from, to });
    }

    pub(super) fn updated(&mut self, device: usize, from: u64) {
        let to = self.tick();
        self.updates.entry(device).or_default().push(Span { from, to });
    }

    /// Whether a line of a device's latest update is one that no server could have avoided; the reason is used up.
    pub(super) fn excuses(&mut self, device: usize, complaint: &Complaint, occasion: Occasion) -> bool {
        let updates = self.updates.get(&device).cloned().unwrap_or_default();
        let Some((latest, earlier)) = updates.split_last() else { return false };
        let excused = match complaint {
            // A process died while the device waited for its answer.
            Complaint::Failed { error: TaskError::Network(_), .. } => {
                self.crashes.iter().any(|crash| crash.meets(*latest))
            }
            // The change was fetched together with an earlier one, before the device could know of it.
            Complaint::Unchanged(_, serial) => self.use_up(device, true, |change, span| {
                change == serial && earlier.iter().any(|update| update.meets(span))
            }),
            // The same push came twice, or an update that was under way has brought already what the push is about.
            Complaint::SpuriousPush(..) => match occasion {
                Occasion::Own => false,
                Occasion::Push { doubled: true, .. } => true,
                // Only a device that brings the tag has surely got it: with its second update since, that is.
                Occasion::Push { taken_at, doubled: false } => self.use_up(device, false, |_, span| {
                    let known = earlier.iter().filter(|update| update.from >= span.to && update.to < taken_at).count();
                    span.from <= taken_at && known < 2 && earlier.iter().any(|update| update.to >= span.from)
                }),
            },
            _ => false,
        };
        self.excused += u64::from(excused);
        excused
    }

    fn use_up(&mut self, device: usize, kind: bool, fits: impl Fn(&str, Span) -> bool) -> bool {
        let found = self
            .changes
            .iter()
            .enumerate()
            .position(|(index, (serial, span))| !self.used.contains(&(device, index, kind)) && fits(serial, *span));
        found.is_some_and(|index| self.used.insert((device, index, kind)))
    }
}
