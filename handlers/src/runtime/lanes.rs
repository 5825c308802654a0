//! Which messages are being handled, and which wait: the messages of one sender are handled one after the other,
//! in the order in which they arrived; those of different senders beside each other. No sockets, no tasks.

use std::collections::{HashMap, VecDeque};

use tidings_shared::identity::UserId;
use tidings_shared::message_id::MessageId;

/// Messages by their ids. `J` is the work itself, `D` one delivery of it (what has to be acknowledged).
pub(super) struct Lanes<J, D> {
    messages: HashMap<MessageId, Entry<J, D>>,
    /// The messages of a sender: the first is being handled, the others wait.
    lanes: HashMap<UserId, VecDeque<MessageId>>,
}

struct Entry<J, D> {
    lane: Option<UserId>,
    job: Option<J>,
    deliveries: Vec<D>,
}

impl<J, D> Default for Lanes<J, D> {
    fn default() -> Self {
        Self { messages: HashMap::new(), lanes: HashMap::new() }
    }
}

impl<J, D> Lanes<J, D> {
    /// How many messages are being handled or wait.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Takes in a delivery. The work is given back when it is to be begun now. A further delivery of a message that is
    /// already here is only remembered.
    pub(super) fn arrive(&mut self, id: &MessageId, lane: Option<UserId>, job: J, delivery: Option<D>) -> Option<J> {
        if let Some(entry) = self.messages.get_mut(id) {
            entry.deliveries.extend(delivery);
            return None;
        }
        let mut begin = Some(job);
        let mut waits = None;
        if let Some(user) = &lane {
            let queue = self.lanes.entry(user.clone()).or_default();
            queue.push_back(id.clone());
            if queue.len() > 1 {
                waits = begin.take();
            }
        }
        let deliveries = delivery.into_iter().collect();
        self.messages.insert(id.clone(), Entry { lane, job: waits, deliveries });
        begin
    }

    /// A message is finished: every delivery of it, and the work that is to be begun next.
    pub(super) fn finish(&mut self, id: &MessageId) -> (Vec<D>, Option<(MessageId, J)>) {
        let Some(entry) = self.messages.remove(id) else {
            return (Vec::new(), None);
        };
        let next = entry.lane.and_then(|user| {
            let queue = self.lanes.get_mut(&user)?;
            queue.retain(|other| other != id);
            let Some(next) = queue.front().cloned() else {
                self.lanes.remove(&user);
                return None;
            };
            let job = self.messages.get_mut(&next)?.job.take()?;
            Some((next, job))
        });
        (entry.deliveries, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: usize) -> MessageId {
        MessageId::new(&format!("m{number}")).unwrap()
    }

    fn user(number: u8) -> Option<UserId> {
        (number > 0).then(|| UserId::new(&number.to_string()).unwrap())
    }

    #[test]
    fn a_sender_waits_for_themselves_and_for_nobody_else() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.arrive(&id(1), user(1), "a", Some(1)), Some("a"));
        assert_eq!(lanes.arrive(&id(2), user(1), "b", Some(2)), None);
        assert_eq!(lanes.arrive(&id(3), user(2), "c", Some(3)), Some("c"));
        assert_eq!(lanes.arrive(&id(4), None, "d", Some(4)), Some("d"));
        assert_eq!(lanes.arrive(&id(5), None, "e", Some(5)), Some("e"));
        assert_eq!(lanes.finish(&id(1)), (vec![1], Some((id(2), "b"))));
        assert_eq!(lanes.finish(&id(2)), (vec![2], None));
        assert_eq!(lanes.arrive(&id(6), user(1), "f", Some(6)), Some("f"));
    }

    #[test]
    fn a_message_that_comes_again_is_handled_once_and_acknowledged_each_time() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.arrive(&id(1), user(1), "a", Some(1)), Some("a"));
        assert_eq!(lanes.arrive(&id(1), user(1), "a", Some(9)), None);
        assert_eq!(lanes.finish(&id(1)), (vec![1, 9], None));
        assert_eq!(lanes.len(), 0);
    }

    proptest! {
        #[test]
        fn every_message_is_begun_once_and_in_its_senders_order(
            steps in prop::collection::vec((0_u8..4, any::<prop::sample::Index>(), any::<bool>()), 1..200)
        ) {
            let mut lanes = Lanes::<usize, usize>::default();
            let mut running: Vec<usize> = Vec::new();
            let mut begun: Vec<(u8, usize)> = Vec::new();
            let mut senders = Vec::new();
            for (sender, index, arrives) in steps {
                if arrives {
                    let number = senders.len();
                    senders.push(sender);
                    if let Some(job) = lanes.arrive(&id(number), user(sender), number, Some(number)) {
                        running.push(job);
                        begun.push((sender, job));
                    }
                } else if !running.is_empty() {
                    let done = running.remove(index.index(running.len()));
                    let (deliveries, next) = lanes.finish(&id(done));
                    prop_assert_eq!(deliveries, vec![done]);
                    if let Some((_, job)) = next {
                        running.push(job);
                        begun.push((senders[job], job));
                    }
                }
                for sender in 1..4 {
                    let at_once = running.iter().filter(|job| senders[**job] == sender).count();
                    prop_assert!(at_once <= 1);
                }
            }
            while let Some(done) = running.pop() {
                let (_, next) = lanes.finish(&id(done));
                if let Some((_, job)) = next {
                    running.push(job);
                    begun.push((senders[job], job));
                }
            }
            prop_assert_eq!(begun.len(), senders.len());
            prop_assert_eq!(lanes.len(), 0);
            for sender in 1..4 {
                let order: Vec<_> = begun.iter().filter(|(by, _)| *by == sender).map(|(_, job)| *job).collect();
                prop_assert!(order.is_sorted());
            }
        }
    }
}
