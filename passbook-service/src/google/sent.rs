//! What Google has of an object: kept, so that only what has changed is told, and people hear what has changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::map::Mapped;

/// An object as Google has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// The object.
    pub object: Value,
    /// The values of the fields whose changes people are told, by key.
    #[serde(default)]
    pub told: BTreeMap<String, String>,
}

impl Sent {
    /// What is kept once Google has this.
    #[must_use]
    pub fn of(mapped: &Mapped) -> Self {
        let told = mapped.told.iter().map(|(key, told)| (key.clone(), told.value.clone())).collect();
        Self { object: mapped.object.clone(), told }
    }

    /// As text for the database.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::json!({ "object": self.object, "told": self.told }).to_string()
    }

    /// From the database; what cannot be read is as if nothing had been told.
    #[must_use]
    pub fn read(text: Option<&str>) -> Option<Self> {
        serde_json::from_str(text?).ok()
    }

    /// What PATCH is to say: the parts that differ, and null for those that are gone.
    #[must_use]
    pub fn patch_to(&self, wanted: &Value) -> Map<String, Value> {
        let empty = Map::new();
        let (old, new) = (self.object.as_object().unwrap_or(&empty), wanted.as_object().unwrap_or(&empty));
        let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
        let gone = old.keys().filter(|key| !new.contains_key(*key));
        changed
            .map(|(key, value)| (key.clone(), value.clone()))
            .chain(gone.map(|key| (key.clone(), Value::Null)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_says_what_differs_and_what_is_gone() {
        let sent = Sent { object: json!({"id": "1", "a": 1, "b": {"c": 2}, "d": 3}), told: BTreeMap::new() };
        let patch = sent.patch_to(&json!({"id": "1", "a": 1, "b": {"c": 3}, "e": 4}));
        assert_eq!(Value::Object(patch), json!({"b": {"c": 3}, "e": 4, "d": null}));
        assert_eq!(Sent::read(Some(&sent.text())), Some(sent.clone()));
        assert!(sent.patch_to(&sent.object).is_empty());
    }
}
