//! Shared keys of handlers and services.

use std::fmt;
use std::sync::Arc;

use subtle::{Choice, ConstantTimeEq};

/// The keys that are valid now; two at once while they rotate. Comparing takes the same time whichever fits.
#[derive(Clone, Default)]
pub struct ServiceKeys(Arc<[String]>);

impl ServiceKeys {
    /// Keys from configuration; empty ones are left out, so that an empty presented key never fits.
    #[must_use]
    pub fn new(keys: Vec<String>) -> Self {
        Self(keys.into_iter().filter(|key| !key.is_empty()).collect())
    }

    /// Whether `presented` is one of them.
    #[must_use]
    pub fn accepts(&self, presented: &str) -> bool {
        let mut found = Choice::from(0);
        for key in self.0.iter() {
            found |= key.as_bytes().ct_eq(presented.as_bytes());
        }
        found.into()
    }

    /// The key to present to others: the first.
    #[must_use]
    pub fn current(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// Whether there is none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ServiceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceKeys({} keys)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_keys_are_valid_while_they_rotate_and_nothing_else_is() {
        let keys = ServiceKeys::new(vec!["old".into(), "new".into(), String::new()]);
        assert!(keys.accepts("old") && keys.accepts("new"));
        for other in ["", "ol", "oldd", "NEW"] {
            assert!(!keys.accepts(other), "{other}");
        }
        assert!(!ServiceKeys::default().accepts(""));
        assert!(!format!("{keys:?}").contains("old"));
    }
}
