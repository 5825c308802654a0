//! What a phone shows when a pass changes: the `changeMessage` of each field whose value is another one.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::validate::{FIELD_GROUPS, STYLES};

/// A message on the lock screen.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct ChangeMessage {
    /// The field's key.
    pub key: String,
    /// The text, with the new value in place of `%@`.
    pub message: String,
}

/// The messages between two versions of a `pass.json`; `strings` translates. Apple shows one only when the value differs
/// and the new version has a `changeMessage`.
#[must_use]
pub fn change_messages(old: &Value, new: &Value, strings: &BTreeMap<String, String>) -> Vec<ChangeMessage> {
    let before: BTreeMap<_, _> =
        fields(old).filter_map(|field| Some((text(field, "key")?, field.get("value")?))).collect();
    let mut messages = Vec::new();
    for field in fields(new) {
        let (Some(key), Some(value), Some(message)) =
            (text(field, "key"), field.get("value"), text(field, "changeMessage"))
        else {
            continue;
        };
        if before.get(key).is_none_or(|old| *old == value) {
            continue;
        }
        let translated = |text: &str| strings.get(text).cloned().unwrap_or_else(|| text.to_owned());
        let shown = value.as_str().map_or_else(|| value.to_string(), &translated);
        messages.push(ChangeMessage { key: key.to_owned(), message: translated(message).replace("%@", &shown) });
    }
    messages
}

/// Every field of a pass, front and back, in order.
pub(super) fn fields(pass: &Value) -> impl Iterator<Item = &Map<String, Value>> {
    STYLES
        .into_iter()
        .chain(std::iter::once("posterGeneric"))
        .filter_map(|style| pass.get(style))
        .flat_map(|content| FIELD_GROUPS.into_iter().filter_map(|group| content.get(group)?.as_array()))
        .flatten()
        .filter_map(Value::as_object)
}

fn text<'a>(field: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    field.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_values_that_differ_and_have_a_message_are_told() {
        let pass = |points: i64, level: &str, name: &str| {
            json!({"storeCard": {
                "headerFields": [{"key": "level", "value": level, "changeMessage": "level_change"}],
                "primaryFields": [{"key": "points", "value": points, "changeMessage": "%@ points"}],
                "backFields": [{"key": "name", "value": name}],
            }})
        };
        let strings = BTreeMap::from([
            ("level_change".to_owned(), "Jetzt %@".to_owned()),
            ("Gold".to_owned(), "Gold!".to_owned()),
        ]);
        let told = change_messages(&pass(1, "Gold", "A"), &pass(2, "Gold", "B"), &strings);
        assert_eq!(told, [ChangeMessage { key: "points".to_owned(), message: "2 points".to_owned() }]);
        let told = change_messages(&pass(1, "Silver", "A"), &pass(1, "Gold", "A"), &strings);
        assert_eq!(told[0].message, "Jetzt Gold!");
        assert_eq!(change_messages(&pass(1, "a", "A"), &pass(1, "a", "A"), &strings), []);
    }
}
