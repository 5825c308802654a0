//! `{{field}}` in the strings of a template: finding them, and putting the fields of one pass in their place.
//!
//! A string that is nothing but one placeholder takes over the field's JSON value (a number stays a number); inside
//! a longer string the field appears as text. `{{field|text}}` says what stands there while the field is absent.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fault::Faults;

/// A piece of a string.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Field { name: &'a str, default: Option<&'a str> },
}

/// Whether a string holds at least one placeholder (well formed or not).
#[must_use]
pub(super) fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// The names of all placeholders in a JSON value. Malformed ones are noted as faults.
pub(super) fn names(value: &Value, faults: &mut Faults) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    visit(value, "", &mut |key, text| match split(text) {
        Ok(pieces) => {
            for piece in pieces {
                if let Piece::Field { name, .. } = piece {
                    names.insert(name.to_owned());
                }
            }
        }
        Err(rule) => faults.add(key, format!("\"{text}\""), rule),
    });
    names
}

/// Whether every placeholder of this name has a default.
pub(super) fn has_default(value: &Value, name: &str) -> bool {
    let mut all = true;
    visit(value, "", &mut |_, text| {
        for piece in split(text).unwrap_or_default() {
            if let Piece::Field { name: found, default } = piece
                && found == name
            {
                all &= default.is_some();
            }
        }
    });
    all
}

/// The value with every placeholder replaced. `lookup` answers a field's value.
///
/// # Errors
/// Names each placeholder without a value and without a default, and where it stands.
pub(super) fn fill<'f>(value: &Value, lookup: &dyn Fn(&str) -> Option<&'f Value>) -> Result<Value, Faults> {
    let mut faults = Faults::default();
    let filled = fill_value(value, "", lookup, &mut faults);
    faults.into_result().map(|()| filled)
}

fn fill_value<'f>(value: &Value, key: &str, lookup: &dyn Fn(&str) -> Option<&'f Value>, faults: &mut Faults) -> Value {
    match value {
        Value::String(text) if is_template(text) => fill_text(text, key, lookup, faults),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| fill_value(item, &format!("{key}[{index}]"), lookup, faults))
            .collect(),
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .map(|(name, item)| (name.clone(), fill_value(item, &join(key, name), lookup, faults)))
                .collect::<Map<_, _>>(),
        ),
        other => other.clone(),
    }
}

fn fill_text<'f>(text: &str, key: &str, lookup: &dyn Fn(&str) -> Option<&'f Value>, faults: &mut Faults) -> Value {
    let pieces = match split(text) {
        Ok(pieces) => pieces,
        Err(rule) => {
            faults.add(key, format!("\"{text}\""), rule);
            return Value::Null;
        }
    };
    if let [Piece::Field { name, default }] = pieces.as_slice() {
        return match (lookup(name), default) {
            (Some(found), _) if !found.is_null() => found.clone(),
            (_, Some(default)) => Value::String((*default).to_owned()),
            _ => {
                missing(key, name, faults);
                Value::Null
            }
        };
    }
    let mut filled = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Field { name, default } => match (lookup(name), default) {
                (Some(Value::String(found)), _) => filled.push_str(found),
                (Some(found), _) if !found.is_null() => filled.push_str(&found.to_string()),
                (_, Some(default)) => filled.push_str(default),
                _ => missing(key, name, faults),
            },
        }
    }
    Value::String(filled)
}

fn missing(key: &str, name: &str, faults: &mut Faults) {
    faults.add(
        key,
        format!("no value for {{{{{name}}}}}"),
        format!("give the pass a field `{name}`, or the placeholder a default: {{{{{name}|text}}}}"),
    );
}

fn split(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        if start > 0 {
            pieces.push(Piece::Text(&rest[..start]));
        }
        let inside = &rest[start + 2..];
        let end = inside.find("}}").ok_or("a placeholder that opens with {{ closes with }}")?;
        let (name, default) = match inside[..end].split_once('|') {
            Some((name, default)) => (name.trim(), Some(default)),
            None => (inside[..end].trim(), None),
        };
        if !valid_name(name) {
            return Err(
                "a placeholder's name is letters, digits, `_`, `.` and `-`, at most 64 of them: {{name}}".to_owned()
            );
        }
        pieces.push(Piece::Field { name, default });
        rest = &inside[end + 2..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Whether a field may have this name.
#[must_use]
pub(crate) fn valid_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn visit(value: &Value, key: &str, each: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => each(key, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                visit(item, &format!("{key}[{index}]"), each);
            }
        }
        Value::Object(entries) => {
            for (name, item) in entries {
                visit(item, &join(key, name), each);
            }
        }
        _ => {}
    }
}

/// `a` and `b` as `a.b`; the empty key is the root.
pub(super) fn join(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(value: &Value, fields: &Value) -> Result<Value, String> {
        fill(value, &|name| fields.get(name)).map_err(|faults| faults.to_string())
    }

    #[test]
    fn a_lone_placeholder_keeps_the_type_of_its_field() {
        let template = json!({"value": "{{points}}", "text": "You have {{ points }} points, {{name|friend}}"});
        assert_eq!(
            filled(&template, &json!({"points": 12})).unwrap(),
            json!({"value": 12, "text": "You have 12 points, friend"})
        );
    }

    #[test]
    fn a_missing_field_is_named_with_its_place() {
        let error = filled(&json!({"a": ["x", "{{who}}"]}), &json!({})).unwrap_err();
        assert!(error.starts_with("a[1]: found no value for {{who}}; give the pass a field `who`"), "{error}");
    }

    #[test]
    fn fields_are_not_expanded_again() {
        let value = filled(&json!("{{a}}"), &json!({"a": "{{b}}"})).unwrap();
        assert_eq!(value, json!("{{b}}"));
    }

    #[test]
    fn malformed_placeholders_are_faults() {
        let mut faults = Faults::default();
        let names = names(&json!({"a": "{{x", "b": "{{not a name}}", "c": "{{ok}}"}), &mut faults);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["ok"]);
        assert_eq!(faults.list().len(), 2);
    }
}
