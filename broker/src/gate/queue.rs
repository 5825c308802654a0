//! Who is next when more want to log in than can be served at once: the order of the turns, and nothing else.
//!
//! Networks take turns, so that a crowd from one address makes nobody else wait. Within a network, who has begun (its
//! CONNECT is read, its handshake half done) goes before who has not. Among those who have not, the oldest is next, until
//! even the oldest has waited for so long that it may have given up: then there is more than can be served, waiting in order
//! would make everybody too late, and the newest is next.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

/// Nobody is kept waiting in order for longer than this.
const PATIENCE: Duration = Duration::from_secs(3);

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    network: IpAddr,
    begun: bool,
    number: u64,
}

#[derive(Debug)]
struct Waiter {
    waker: Waker,
    since: Instant,
}

/// Those of one network, by age.
#[derive(Debug, Default)]
struct Line {
    begun: BTreeMap<u64, Waiter>,
    new: BTreeMap<u64, Waiter>,
}

impl Line {
    fn of(&mut self, begun: bool) -> &mut BTreeMap<u64, Waiter> {
        if begun { &mut self.begun } else { &mut self.new }
    }

    fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.new.is_empty()
    }

    fn next(&mut self, now: Instant) -> Option<Waiter> {
        if let Some((_, waiter)) = self.begun.pop_first() {
            return Some(waiter);
        }
        let oldest = self.new.first_entry()?;
        let in_time = now.saturating_duration_since(oldest.get().since) < PATIENCE;
        if in_time { Some(oldest.remove()) } else { self.new.pop_last().map(|(_, waiter)| waiter) }
    }
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: HashMap<IpAddr, Line>,
    /// Every network that has a line, once, in the order of their turns.
    ring: VecDeque<IpAddr>,
    next: u64,
    length: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn join(&mut self, network: IpAddr, begun: bool, waker: Waker, now: Instant) -> Place {
        let number = self.next;
        self.next += 1;
        self.length += 1;
        let line = self.lines.entry(network).or_insert_with(|| {
            self.ring.push_back(network);
            Line::default()
        });
        line.of(begun).insert(number, Waiter { waker, since: now });
        Place { network, begun, number }
    }

    /// Whoever still waits there, to have its waker renewed.
    pub(super) fn waker(&mut self, place: Place) -> Option<&mut Waker> {
        let line = self.lines.get_mut(&place.network)?;
        line.of(place.begun).get_mut(&place.number).map(|waiter| &mut waiter.waker)
    }

    /// Gives the place up; false when its turn had come.
    pub(super) fn leave(&mut self, place: Place) -> bool {
        // An empty line is taken away when the ring comes to it.
        let line = self.lines.get_mut(&place.network);
        let waited = line.is_some_and(|line| line.of(place.begun).remove(&place.number).is_some());
        self.length -= usize::from(waited);
        waited
    }

    /// Takes out who is next.
    pub(super) fn next(&mut self, now: Instant) -> Option<Waker> {
        while let Some(network) = self.ring.pop_front() {
            let Some(line) = self.lines.get_mut(&network) else { continue };
            let waiter = line.next(now);
            if line.is_empty() {
                self.lines.remove(&network);
            } else {
                self.ring.push_back(network);
            }
            if let Some(waiter) = waiter {
                self.length -= 1;
                return Some(waiter.waker);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::task::Wake;

    /// Notes its name when it is woken.
    struct Named(&'static str, Arc<Mutex<Vec<&'static str>>>);

    impl Wake for Named {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    struct Door {
        queue: Queue,
        woken: Arc<Mutex<Vec<&'static str>>>,
        now: Instant,
    }

    impl Door {
        fn new() -> Self {
            Self { queue: Queue::default(), woken: Arc::default(), now: Instant::now() }
        }

        fn join(&mut self, network: u8, begun: bool, name: &'static str) -> Place {
            let waker = Waker::from(Arc::new(Named(name, self.woken.clone())));
            self.queue.join(IpAddr::from([10, 0, 0, network]), begun, waker, self.now)
        }

        fn order(&mut self) -> Vec<&'static str> {
            while let Some(waker) = self.queue.next(self.now) {
                waker.wake();
            }
            assert!(self.queue.lines.is_empty() && self.queue.ring.is_empty() && self.queue.len() == 0);
            std::mem::take(&mut self.woken.lock().unwrap())
        }
    }

    #[test]
    fn a_crowd_from_one_network_keeps_nobody_else_waiting() {
        let mut door = Door::new();
        for name in ["a1", "a2", "a3"] {
            door.join(1, false, name);
        }
        door.join(2, false, "b1");
        door.join(3, false, "c1");
        assert_eq!(door.order(), ["a1", "b1", "c1", "a2", "a3"]);
    }

    #[test]
    fn who_has_begun_is_served_before_who_has_not() {
        let mut door = Door::new();
        door.join(1, false, "new");
        door.join(1, true, "begun 1");
        door.join(1, true, "begun 2");
        assert_eq!(door.order(), ["begun 1", "begun 2", "new"]);
    }

    #[test]
    fn in_order_while_that_helps_and_the_newest_first_when_there_is_too_much() {
        let mut door = Door::new();
        door.join(1, false, "1");
        door.now += PATIENCE / 2;
        door.join(1, false, "2");
        door.join(1, false, "3");
        door.queue.next(door.now).unwrap().wake();
        door.now += PATIENCE;
        door.join(1, false, "4");
        assert_eq!(door.order(), ["1", "4", "3", "2"]);
    }

    #[test]
    fn who_leaves_is_never_called() {
        let mut door = Door::new();
        let gone = door.join(1, false, "gone");
        door.join(2, true, "stays");
        assert!(door.queue.leave(gone) && !door.queue.leave(gone));
        assert!(door.queue.waker(gone).is_none());
        let back = door.join(1, false, "back");
        assert!(door.queue.waker(back).is_some());
        assert_eq!(door.order(), ["back", "stays"]);
        assert!(!door.queue.leave(back), "its turn had come");
    }
}
