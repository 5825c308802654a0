//! The fields of a pass, in the order in which people read them, with their values as people read them.

use serde_json::{Map, Value, json};

use super::text::Languages;

/// The groups of fields, the most visible ones first.
const GROUPS: [&str; 6] =
    ["primaryFields", "headerFields", "secondaryFields", "auxiliaryFields", "additionalInfoFields", "backFields"];
/// Google shows this many text modules of an object.
const MOST_MODULES: usize = 10;

/// One field.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    pub(super) group: &'static str,
    pub(super) key: &'a str,
    pub(super) label: &'a str,
    pub(super) value: &'a Value,
    pub(super) currency: Option<&'a str>,
    pub(super) change_message: Option<&'a str>,
    /// The value as people read it.
    pub(super) text: String,
}

/// The fields of a style.
pub(super) fn fields(content: &Map<String, Value>) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    for group in GROUPS {
        for entry in content.get(group).and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| entry.get(name).and_then(Value::as_str);
            let (Some(key), Some(value)) = (text("key"), entry.get("value")) else { continue };
            let currency = text("currencyCode");
            fields.push(Field {
                group,
                key,
                label: text("label").unwrap_or_default(),
                value,
                currency,
                change_message: text("changeMessage").filter(|message| !message.is_empty()),
                text: shown(entry, value, currency),
            });
        }
    }
    fields
}

/// A value as people read it; Google formats nothing.
fn shown(field: &Value, value: &Value, currency: Option<&str>) -> String {
    let is = |name: &str, wanted: &str| field.get(name).and_then(Value::as_str) == Some(wanted);
    let has = |name: &str| field.get(name).and_then(Value::as_str).is_some_and(|style| style != "PKDateStyleNone");
    match value {
        Value::String(text) if has("dateStyle") || has("timeStyle") => moment(text, has("dateStyle"), has("timeStyle")),
        Value::String(text) => text.clone(),
        Value::Number(number) => match (currency, number.as_f64()) {
            (Some(currency), Some(amount)) => format!("{amount:.2} {currency}"),
            (None, Some(part)) if is("numberStyle", "PKNumberStylePercent") => format!("{} %", part * 100.0),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// `2026-04-30T18:05+02:00` as `2026-04-30 18:05`: the form that is read alike in every language.
fn moment(text: &str, date: bool, time: bool) -> String {
    let (Some(day), Some(clock)) = (text.get(..10), text.get(11..16)) else { return text.to_owned() };
    match (date, time) {
        (true, false) => day.to_owned(),
        (false, true) => clock.to_owned(),
        _ => format!("{day} {clock}"),
    }
}

/// Google's text modules of the fields. What is beyond the number that Google shows is gathered in the last one, so that
/// nothing is lost.
pub(super) fn modules(fields: &[&Field<'_>], languages: &Languages) -> Vec<Value> {
    let (single, gathered) =
        if fields.len() > MOST_MODULES { fields.split_at(MOST_MODULES - 1) } else { (fields, &[][..]) };
    let mut modules: Vec<Value> = single
        .iter()
        .map(|field| {
            let mut module = json!({
                "id": identifier(field.key),
                "header": languages.plain(field.label),
                "body": languages.plain(&field.text),
            });
            if languages.is_translated(field.label) {
                module["localizedHeader"] = languages.localized(field.label);
            }
            if languages.is_translated(&field.text) {
                module["localizedBody"] = languages.localized(&field.text);
            }
            module
        })
        .collect();
    if !gathered.is_empty() {
        let lines: Vec<String> = gathered
            .iter()
            .map(|field| match languages.plain(field.label) {
                label if label.is_empty() => languages.plain(&field.text),
                label => format!("{label}: {}", languages.plain(&field.text)),
            })
            .collect();
        modules.push(json!({ "id": "more", "header": "…", "body": lines.join("\n") }));
    }
    modules
}

/// A key as Google takes it: letters, digits, `_` and `-`.
fn identifier(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_people_read_them() {
        let content = json!({"backFields": [
            {"key": "a", "value": "2026-04-30T18:05+02:00", "dateStyle": "PKDateStyleShort", "timeStyle": "PKDateStyleShort"},
            {"key": "b", "value": "2026-04-30T18:05+02:00", "dateStyle": "PKDateStyleShort"},
            {"key": "c", "value": 12.5, "currencyCode": "EUR"},
            {"key": "d", "value": 0.25, "numberStyle": "PKNumberStylePercent"},
            {"key": "e", "value": 7},
            {"key": "f", "value": "plain"},
        ]});
        let found: Vec<String> = fields(content.as_object().unwrap()).into_iter().map(|field| field.text).collect();
        assert_eq!(found, ["2026-04-30 18:05", "2026-04-30", "12.50 EUR", "25 %", "7", "plain"]);
    }

    #[test]
    fn more_fields_than_google_shows_are_gathered_in_the_last() {
        let many: Vec<Value> =
            (0..12).map(|n| json!({"key": format!("k{n}"), "label": format!("L{n}"), "value": n})).collect();
        let content = json!({ "backFields": many });
        let fields = fields(content.as_object().unwrap());
        let modules =
            modules(&fields.iter().collect::<Vec<_>>(), &Languages::new("en", std::collections::BTreeMap::new()));
        assert_eq!(modules.len(), 10);
        assert_eq!(modules[9]["body"], "L9: 9\nL10: 10\nL11: 11");
        assert_eq!(modules[0], json!({"id": "k0", "header": "L0", "body": "0"}));
    }
}
