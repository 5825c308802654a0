//! Whether a process can do its work, and if not, what it is waiting for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The state of everything a service depends on. Cheap to clone; one per service.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<&'static str, Option<String>>>>);

/// One thing a service depends on. Missing until [`Dependency::ready`] is called.
#[derive(Clone, Debug)]
pub struct Dependency {
    health: Health,
    name: &'static str,
}

impl Health {
    /// Adds a dependency, for example `database`; it is missing until said otherwise.
    #[must_use]
    pub fn register(&self, name: &'static str) -> Dependency {
        self.set(name, Some("not reached yet".to_owned()));
        Dependency { health: self.clone(), name }
    }

    /// `name: why` for everything that is missing; empty when the service is ready.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.iter().filter_map(|(name, why)| why.as_ref().map(|why| format!("{name}: {why}"))).collect()
    }

    fn set(&self, name: &'static str, why: Option<String>) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(name, why);
    }
}

impl Dependency {
    /// It answers.
    pub fn ready(&self) {
        self.health.set(self.name, None);
    }

    /// It does not, and this is what was seen (shown on `/readyz`: no secrets).
    pub fn missing(&self, why: impl Into<String>) {
        self.health.set(self.name, Some(why.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_nothing_is_missing() {
        let health = Health::default();
        let database = health.register("database");
        let broker = health.register("broker");
        database.ready();
        broker.missing("connection refused");
        assert_eq!(health.missing(), ["broker: connection refused"]);
        broker.ready();
        assert!(health.missing().is_empty());
    }
}
