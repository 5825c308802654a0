//! Templates: the texts of a notification in several languages (Fluent), compiled when they are uploaded and rendered once
//! for each notification and language, when the notification is accepted: a missing variable is told to the sender, later
//! changes of a template change nothing that was accepted, and sending a push costs no more than without a template.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tidings_shared::push_api::Push;

mod compile;
mod language;
mod render;
pub(crate) mod store;
#[cfg(test)]
mod tests;

pub(crate) use compile::{Compiled, Faults};
pub(crate) use language::choose;
pub(crate) use render::Unrenderable;

/// The most languages of a template.
pub(crate) const MAX_LOCALES: usize = 100;
/// Compiled templates that are kept.
const KEPT: usize = 1000;

/// The push in each language of a template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Localized {
    /// For devices whose language is not among the others.
    pub(crate) default: Push,
    /// By language, the default's too.
    pub(crate) pushes: BTreeMap<String, Push>,
}

/// Compiled templates by name and revision, so that a template is compiled once and not for every notification.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<String, (i64, Arc<Compiled>)>>);

impl Cache {
    /// The compiled form of a stored template.
    pub(crate) fn compiled(&self, stored: &store::Stored) -> Result<Arc<Compiled>, Faults> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((revision, compiled)) = kept.get(&stored.name)
            && *revision == stored.revision
        {
            return Ok(Arc::clone(compiled));
        }
        let compiled = Arc::new(Compiled::new(&stored.template)?);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(stored.name.clone(), (stored.revision, Arc::clone(&compiled)));
        Ok(compiled)
    }
}

/// The push for a device of this language out of what was stored with a notification (a JSON object of pushes by
/// language); `None`: the default one.
pub(crate) fn pick(localized: &str, locale: Option<&str>) -> Result<Option<Push>, serde_json::Error> {
    let mut pushes: BTreeMap<String, Value> = serde_json::from_str(localized)?;
    let (chosen, _) = choose(locale, pushes.keys().map(String::as_str), "");
    pushes.remove(&chosen).map(serde_json::from_value).transpose()
}
