//! Texts in several languages: what `XX.lproj/pass.strings` says of a text, as Google's `LocalizedString`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The strings of a template, by language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Languages {
    /// What is told as the default.
    pub(super) default: String,
    /// Texts by language and key.
    pub(super) strings: BTreeMap<String, BTreeMap<String, String>>,
}

impl Languages {
    /// The strings; `default` is the language that Google shows to whom it knows no better for: English, else the first.
    #[must_use]
    pub fn new(preferred: &str, strings: BTreeMap<String, BTreeMap<String, String>>) -> Self {
        let known = strings.contains_key(preferred) || strings.is_empty();
        let default = if known { Some(preferred) } else { strings.keys().next().map(String::as_str) };
        Self { default: default.unwrap_or(preferred).to_owned(), strings }
    }

    /// What a text is in the default language.
    pub(super) fn plain(&self, text: &str) -> String {
        self.in_language(&self.default, text)
    }

    fn in_language(&self, language: &str, text: &str) -> String {
        self.strings.get(language).and_then(|strings| strings.get(text)).map_or(text, String::as_str).to_owned()
    }

    /// Google's `LocalizedString`.
    pub(super) fn localized(&self, text: &str) -> Value {
        self.localized_with(|language| self.in_language(language, text))
    }

    /// A `LocalizedString` whose text in each language is made by `make`.
    pub(super) fn localized_with(&self, make: impl Fn(&str) -> String) -> Value {
        let default = make(&self.default);
        let translated: Vec<Value> = self
            .strings
            .keys()
            .filter(|language| **language != self.default)
            .map(|language| (language, make(language)))
            .filter(|(_, text)| *text != default)
            .map(|(language, text)| json!({ "language": language, "value": text }))
            .collect();
        let mut localized = json!({ "defaultValue": { "language": self.default, "value": default } });
        if !translated.is_empty() {
            localized["translatedValues"] = Value::Array(translated);
        }
        localized
    }

    /// Whether a text differs between languages.
    pub(super) fn is_translated(&self, text: &str) -> bool {
        let default = self.plain(text);
        self.strings.keys().any(|language| self.in_language(language, text) != default)
    }

    /// A change message (`%@` is the new value) in each language.
    pub(super) fn message(&self, message: &str, value: &str) -> Value {
        self.localized_with(|language| {
            self.in_language(language, message).replace("%@", &self.in_language(language, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn languages() -> Languages {
        let strings = |text: &str| BTreeMap::from([("greeting".to_owned(), text.to_owned())]);
        Languages::new("en", BTreeMap::from([("de".to_owned(), strings("Hallo")), ("en".to_owned(), strings("Hello"))]))
    }

    #[test]
    fn a_text_is_told_in_every_language_in_which_it_differs() {
        assert_eq!(
            languages().localized("greeting"),
            json!({"defaultValue": {"language": "en", "value": "Hello"}, "translatedValues": [{"language": "de", "value": "Hallo"}]})
        );
        assert_eq!(languages().localized("Ada"), json!({"defaultValue": {"language": "en", "value": "Ada"}}));
        assert!(languages().is_translated("greeting") && !languages().is_translated("Ada"));
    }

    #[test]
    fn the_preferred_language_is_the_default_only_if_the_template_has_it() {
        let german = BTreeMap::from([("de".to_owned(), BTreeMap::new())]);
        assert_eq!(Languages::new("en", german).default, "de");
        assert_eq!(Languages::new("en", BTreeMap::new()).default, "en");
    }
}
