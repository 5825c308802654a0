//! A bounded memory: it keeps what was used lately and forgets the rest, at a fixed cost.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A map of at most `2 * limit` entries in two generations: when the young one is full it becomes the old one, and what
/// was old is forgotten. Whatever is touched is young again.
#[derive(Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    limit: usize,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// An empty memory of `limit` entries in each generation.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), limit: limit.max(1) }
    }

    /// The entry, without making it young.
    pub fn peek<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// The entry, made if there is none, and young from now on.
    pub fn touch(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        if !self.young.contains_key(&key) {
            let value = self.old.remove(&key).unwrap_or_else(new);
            if self.young.len() >= self.limit {
                self.old = std::mem::take(&mut self.young);
            }
            return self.young.entry(key).or_insert(value);
        }
        self.young.entry(key).or_insert_with(new)
    }

    /// Forgets the entry.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let mut recent = Recent::new(10);
        for number in 0..1000 {
            *recent.touch(7, || 0) += 1;
            recent.touch(1000 + number, || number);
            assert!(recent.len() <= 20);
        }
        assert_eq!(recent.peek(&7), Some(&1000), "what is used stays");
        assert_eq!(recent.peek(&1000), None, "what is not is forgotten");
        recent.remove(&7);
        assert_eq!(recent.peek(&7), None);
    }
}
