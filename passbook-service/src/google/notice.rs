//! Messages about changes, and Google's limit for them: three notifications of a pass in 24 hours. Beyond it a message is
//! shown in the pass without a notification, as Google asks (Google may throttle who notifies more).

use serde_json::{Value, json};

use super::map::Mapped;
use super::sent::Sent;

/// The time over which notifications are counted.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Google keeps this many messages of an object.
pub const MOST_MESSAGES: usize = 10;

/// Messages in one object about one change.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Google's `Message`.
    pub message: Value,
    /// The notifications of the last 24 hours, with this one if it is one.
    pub notified: Vec<i64>,
    /// Whether people are notified.
    pub notifies: bool,
}

/// The message about what changed between `before` and `now`; `None`: nothing that people are told about.
#[must_use]
pub fn notice(
    before: &Sent,
    now: &Mapped,
    title: &Value,
    id: &str,
    notified: &[i64],
    limit: usize,
    now_ms: i64,
) -> Option<Notice> {
    let changed: Vec<&Value> = now
        .told
        .iter()
        .filter(|(key, told)| before.told.get(*key).is_some_and(|value| *value != told.value))
        .map(|(_, told)| &told.message)
        .collect();
    if changed.is_empty() {
        return None;
    }
    // A clock that was set back must not keep old notifications for ever.
    let mut recent: Vec<i64> = notified.iter().copied().filter(|at| (now_ms - DAY_MS..=now_ms).contains(at)).collect();
    let notifies = recent.len() < limit;
    if notifies {
        recent.push(now_ms);
    }
    let body = joined(&changed);
    let text = |localized: &Value| localized.pointer("/defaultValue/value").cloned().unwrap_or_default();
    let message = json!({
        "id": id,
        "header": text(title),
        "body": text(&body),
        "localizedHeader": title,
        "localizedBody": body,
        "messageType": if notifies { "TEXT_AND_NOTIFY" } else { "TEXT" },
    });
    Some(Notice { message, notified: recent, notifies })
}

/// Several `LocalizedString`s as one, a line each.
fn joined(parts: &[&Value]) -> Value {
    if let [only] = parts {
        return (*only).clone();
    }
    let translation = |part: &Value, language: &str| {
        let translated = part["translatedValues"].as_array().into_iter().flatten();
        translated
            .chain([&part["defaultValue"]])
            .find(|text| text["language"] == language)
            .map(|text| text["value"].clone())
    };
    let lines = |language: Option<&str>| {
        let texts = parts.iter().map(|part| {
            let text = language.and_then(|language| translation(part, language));
            text.unwrap_or_else(|| part["defaultValue"]["value"].clone())
        });
        texts.filter_map(|text| text.as_str().map(str::to_owned)).collect::<Vec<_>>().join("\n")
    };
    let mut languages: Vec<&str> = parts
        .iter()
        .flat_map(|part| part["translatedValues"].as_array().into_iter().flatten())
        .filter_map(|text| text["language"].as_str())
        .collect();
    languages.sort_unstable();
    languages.dedup();
    let default = parts[0]["defaultValue"]["language"].clone();
    let mut all = json!({ "defaultValue": { "language": default, "value": lines(None) } });
    if !languages.is_empty() {
        let texts: Vec<Value> =
            languages.iter().map(|language| json!({ "language": language, "value": lines(Some(language)) })).collect();
        all["translatedValues"] = Value::Array(texts);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::map::Told;
    use super::super::resource::Resource;
    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn text(value: &str) -> Value {
        json!({ "defaultValue": { "language": "en", "value": value } })
    }

    fn mapped(values: &[(&str, &str)]) -> Mapped {
        let told = values
            .iter()
            .map(|(key, value)| {
                ((*key).to_owned(), Told { value: (*value).to_owned(), message: text(&format!("{key} is {value}")) })
            })
            .collect();
        Mapped { resource: Resource::Loyalty, class: Value::Null, object: json!({}), told, title: String::new() }
    }

    fn before(values: &[(&str, &str)]) -> Sent {
        Sent {
            object: json!({}),
            told: values
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn three_notifications_in_24_hours_and_silence_beyond() {
        let mut notified = Vec::new();
        let mut kinds = Vec::new();
        // Four in four hours, and one a day after the first.
        for hour in [0, 1, 2, 3, 24] {
            let at = NOW + hour * 3_600_000 + i64::from(hour == 24);
            let made =
                notice(&before(&[("points", "1")]), &mapped(&[("points", "2")]), &text("Café"), "r2", &notified, 3, at)
                    .unwrap();
            kinds.push(made.message["messageType"].as_str().unwrap().to_owned());
            assert_eq!(made.notifies, kinds.last().unwrap() == "TEXT_AND_NOTIFY");
            notified = made.notified;
        }
        assert_eq!(kinds, ["TEXT_AND_NOTIFY", "TEXT_AND_NOTIFY", "TEXT_AND_NOTIFY", "TEXT", "TEXT_AND_NOTIFY"]);
        assert_eq!(notified.len(), 3);
    }

    #[test]
    fn what_did_not_change_is_not_told() {
        let made = |old: &[(&str, &str)], new: &[(&str, &str)]| {
            notice(&before(old), &mapped(new), &text("Café"), "r2", &[], 3, NOW)
        };
        assert_eq!(made(&[("points", "1")], &[("points", "1")]), None);
        assert_eq!(made(&[], &[("points", "1")]), None, "a new field is no change");
        let both = made(&[("a", "1"), ("b", "1")], &[("a", "2"), ("b", "3")]).unwrap();
        assert_eq!(both.message["body"], "a is 2\nb is 3");
    }

    #[test]
    fn lines_are_joined_in_each_language() {
        let german = json!({ "defaultValue": { "language": "en", "value": "x" }, "translatedValues": [{ "language": "de", "value": "ix" }] });
        let all = joined(&[&german, &text("y")]);
        assert_eq!(all["defaultValue"]["value"], "x\ny");
        assert_eq!(all["translatedValues"], json!([{ "language": "de", "value": "ix\ny" }]));
    }
}
