//! What only this service knows of a report: whether the pass is here, whether the device is registered, whether it was
//! pushed, whether the status was ours. The names in a line are looked up and then forgotten.

use std::collections::BTreeMap;

use tidings_shared::storage::StorageError;

use super::Cause;
use crate::metrics::Metrics;
use crate::store::{PassId, Store};

/// A push this long before a report may be its cause, ms.
const LATELY_MS: i64 = 3_600_000;

/// Facts and what they mean.
const FACTS: [(&str, &str); 9] = [
    ("pass_here", "the pass is here"),
    ("pass_not_here", "the pass is not here: deleted, or never taken over"),
    (
        "token_unused",
        "the pass's token is the imported hash still: no phone has come with a token that fits it; see whether the file's tokens were right",
    ),
    ("registered", "the device is registered for the pass"),
    ("not_registered", "the device is not registered for the pass here"),
    ("pushed", "this service had pushed the device within the hour before"),
    (
        "not_pushed",
        "this service had not pushed the device within the hour before: another server did, or Apple kept an old push",
    ),
    ("status_ours", "this service has answered with this status since it was started"),
    ("status_not_ours", "this service has not answered with this status since it was started: a proxy before it did"),
];

/// What a fact means.
#[must_use]
pub fn meaning_of(fact: &str) -> &'static str {
    FACTS.iter().find(|(code, _)| *code == fact).map_or("", |(_, meaning)| *meaning)
}

/// What a line names. Never stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) device: Option<String>,
    pub(super) pass_type: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) status: Option<u16>,
}

impl Named {
    /// Reads the names in a line.
    pub(super) fn of(text: &str) -> Self {
        Self {
            device: value(text, "for device ").or_else(|| value(text, "Device = ")),
            pass_type: value(text, "pass type ").or_else(|| value(text, "Web service error for ")),
            serial: value(text, "serial number "),
            status: value(text, "Unexpected response code ").and_then(|code| code.parse().ok()),
        }
    }

    fn pass(&self) -> Option<PassId> {
        Some(PassId { pass_type: self.pass_type.clone()?, serial: self.serial.clone()? })
    }
}

/// What stands behind a word: in quotes, or up to a delimiter.
fn value(text: &str, word: &str) -> Option<String> {
    let rest = &text[text.find(word)? + word.len()..];
    let found = match rest.strip_prefix('\'') {
        Some(quoted) => quoted.split('\'').next(),
        None => rest.split([',', ';', ')', ' ']).next(),
    }?;
    let found = found.trim_end_matches('.');
    (!found.is_empty() && found.len() <= 255).then(|| found.to_owned())
}

/// Looks the names of some lines up: each fact with how many of them it is true for.
pub(super) async fn facts(
    store: &Store,
    metrics: &Metrics,
    cause: Cause,
    named: &[Named],
    now_ms: i64,
) -> Result<BTreeMap<&'static str, i64>, StorageError> {
    let mut facts = BTreeMap::new();
    let mut is = |fact: &'static str| *facts.entry(fact).or_insert(0) += 1;
    for one in named {
        if let Some(status) = one.status {
            is(if metrics.has_answered(status) { "status_ours" } else { "status_not_ours" });
        }
        if let Some(pass) = one.pass() {
            match store.unread(&pass).await? {
                None => is("pass_not_here"),
                Some(found) => {
                    is("pass_here");
                    if found.token_algorithm != crate::token::Algorithm::Sha384 {
                        is("token_unused");
                    }
                }
            }
            if let Some(device) = &one.device {
                is(if store.is_registered(device, &pass).await? { "registered" } else { "not_registered" });
            }
        }
        if let (Some(device), "spurious_push") = (&one.device, cause.code) {
            let pushed = store.last_push(device).await?;
            is(if pushed.is_some_and(|at| at >= now_ms - LATELY_MS) { "pushed" } else { "not_pushed" });
        }
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_in_a_line_are_found() {
        let text = |text: &str| Some(text.to_owned());
        for (line, expected) in [
            (
                "Get pass task (for device D1, pass type pass.a, serial number S-1; with web service url https://x) encountered error: Unexpected response code 596",
                Named { device: text("D1"), pass_type: text("pass.a"), serial: text("S-1"), status: Some(596) },
            ),
            (
                "Web service error for pass.a (https://x): Server requested update to serial number 'it 5', but the pass was unchanged.",
                Named { pass_type: text("pass.a"), serial: text("it 5"), ..Named::default() },
            ),
            (
                "Web service error for pass.a (https://x): Device received spurious push. Request for passesUpdatedSince 'e.1' returned no serial numbers. (Device = D2)",
                Named { device: text("D2"), pass_type: text("pass.a"), ..Named::default() },
            ),
            ("the moon is full", Named::default()),
            ("serial number ", Named::default()),
        ] {
            assert_eq!(Named::of(line), expected, "{line}");
        }
    }

    #[test]
    fn every_fact_has_a_meaning() {
        for (fact, _) in FACTS {
            assert!(!meaning_of(fact).is_empty());
        }
    }
}
