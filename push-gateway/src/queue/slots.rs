//! The slots of a lane: how many pushes of each class may be under way. Every class leaves some to those above it, so
//! that a campaign under way, however slow its answers are, never holds up an alert.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidings_shared::push_api::Priority;
use tokio::sync::Notify;

/// How many of each class, by rank.
pub(crate) type PerClass = [usize; 3];

/// The slots of one lane.
#[derive(Debug)]
pub(crate) struct Slots {
    all: usize,
    /// What each class leaves to each one above it.
    reserved: usize,
    used: Mutex<PerClass>,
    freed: Notify,
    waiting: AtomicUsize,
}

/// A slot in use; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    class: Priority,
}

/// What is free, as it goes while a claim goes from class to class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    all: usize,
    reserved: usize,
    used: PerClass,
    /// The most that may be taken in all.
    limit: usize,
}

impl Room {
    /// How many of a class there is room for.
    pub(crate) fn of(&self, class: Priority) -> usize {
        let rank = class.rank();
        // Whatever this class and those above leave free, less what they leave to those above them.
        let free = (0..=rank).map(|above| {
            let allowed = self.all.saturating_sub(self.reserved * above).max(1);
            allowed.saturating_sub(self.used[above..].iter().sum())
        });
        free.min().unwrap_or(0).min(self.limit)
    }

    /// Takes so many.
    pub(crate) fn take(&mut self, class: Priority, count: usize) {
        self.used[class.rank()] += count;
        self.limit = self.limit.saturating_sub(count);
    }

    /// At most so many in all.
    pub(crate) fn at_most(self, limit: usize) -> Self {
        Self { limit: self.limit.min(limit), ..self }
    }

    /// Room without end, for tests of the store.
    #[cfg(test)]
    pub(crate) fn wide(limit: usize) -> Self {
        Self { all: usize::MAX, reserved: 0, used: [0; 3], limit }
    }
}

impl Slots {
    pub(crate) fn new(all: usize, reserved: usize) -> Arc<Self> {
        // The lowest class keeps a third.
        let reserved = reserved.min(all / 3);
        Arc::new(Self { all, reserved, used: Mutex::default(), freed: Notify::new(), waiting: AtomicUsize::new(0) })
    }

    pub(crate) fn room(&self) -> Room {
        Room { all: self.all, reserved: self.reserved, used: *self.used(), limit: usize::MAX }
    }

    pub(crate) fn take(self: &Arc<Self>, class: Priority) -> Slot {
        self.used()[class.rank()] += 1;
        Slot { slots: Arc::clone(self), class }
    }

    /// From now on, [`Slots::freed`] ends when `enough` slots have been given back.
    pub(crate) fn expect(&self, enough: usize) {
        self.waiting.store(enough.max(1), Ordering::Release);
    }

    /// Waits for what is expected. It may end too early, once.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn used(&self) -> std::sync::MutexGuard<'_, PerClass> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.used()[self.class.rank()] -= 1;
        let counted = self.slots.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        if counted == Ok(1) {
            self.slots.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_leaves_slots_to_those_above_it() {
        let slots = Slots::new(10, 2);
        let mut room = slots.room();
        assert_eq!(Priority::ALL.map(|class| room.of(class)), [10, 8, 6]);
        room.take(Priority::Bulk, 6);
        assert_eq!(Priority::ALL.map(|class| room.of(class)), [4, 2, 0]);
        room.take(Priority::Normal, 2);
        assert_eq!(Priority::ALL.map(|class| room.of(class)), [2, 0, 0]);
        room.take(Priority::High, 2);
        assert_eq!(Priority::ALL.map(|class| room.of(class)), [0, 0, 0]);
        assert_eq!(slots.room().at_most(3).of(Priority::High), 3);
    }

    #[test]
    fn a_lane_with_a_single_slot_still_sends_everything() {
        let slots = Slots::new(1, 50);
        assert_eq!(slots.room().of(Priority::Bulk), 1);
        let slot = slots.take(Priority::Bulk);
        assert_eq!(slots.room().of(Priority::High), 0);
        drop(slot);
        assert_eq!(slots.room().of(Priority::High), 1);
    }

    #[tokio::test]
    async fn who_waits_for_slots_is_told_when_enough_are_free() {
        let slots = Slots::new(4, 1);
        let taken: Vec<_> = (0..3).map(|_| slots.take(Priority::Normal)).collect();
        slots.expect(3);
        let waiting = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.freed().await }
        });
        tokio::task::yield_now().await;
        drop(taken);
        waiting.await.unwrap();
    }
}
