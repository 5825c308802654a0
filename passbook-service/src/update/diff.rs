//! What differs between two versions of a pass, key by key.

use serde_json::Value;

/// A place where two versions differ.
#[derive(Clone, Debug, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct Difference {
    /// Where: `fields.points`, `storeCard.primaryFields[0].value`.
    pub key: String,
    /// Before; null when it was not there.
    pub from: Value,
    /// After; null when it is not there.
    pub to: Value,
}

/// Every place where two values differ, in order.
#[must_use]
pub fn differences(from: &Value, to: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", from, to, &mut found);
    found
}

fn compare(key: &str, from: &Value, to: &Value, found: &mut Vec<Difference>) {
    match (from, to) {
        _ if from == to => {}
        (Value::Object(before), Value::Object(after)) => {
            let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
            for name in names {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let side = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                compare(&key, &side(before), &side(after), found);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for index in 0..before.len().max(after.len()) {
                let side = |items: &[Value]| items.get(index).cloned().unwrap_or_default();
                compare(&format!("{key}[{index}]"), &side(before), &side(after), found);
            }
        }
        _ => found.push(Difference { key: key.to_owned(), from: from.clone(), to: to.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_place_is_named_once_with_both_values() {
        let found = differences(
            &json!({"a": 1, "b": {"c": [1, 2], "gone": true}, "same": "x"}),
            &json!({"a": "1", "b": {"c": [1, 3, 4]}, "same": "x", "new": null}),
        );
        let keys: Vec<_> = found.iter().map(|difference| difference.key.as_str()).collect();
        assert_eq!(keys, ["a", "b.c[1]", "b.c[2]", "b.gone"]);
        assert_eq!((&found[2].from, &found[2].to), (&Value::Null, &json!(4)));
        assert_eq!(differences(&json!([1]), &json!([1])), []);
    }
}
