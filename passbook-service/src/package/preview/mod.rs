//! A picture of a pass, front and back, as SVG: so that people look rather than read. It follows Wallet's layouts closely
//! enough to judge a template; Wallet alone decides what a phone shows.

mod back;
mod barcode;
mod canvas;
mod front;
mod images;
mod poster;
mod text;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fault::Faults;
use super::issuer::Issuer;
use super::render::PassContent;
use super::template::{Template, TemplateFile};
use super::validate::STYLES;
use images::Images;

pub use barcode::qr_svg;
pub use text::escaped;

/// Both sides of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// SVG.
    pub front: String,
    /// SVG.
    pub back: String,
}

impl Template {
    /// Pictures of one pass for a phone in a language (BCP 47); `None`: in the template's own.
    ///
    /// # Errors
    /// Missing fields, and every rule that the pass breaks.
    pub fn preview(&self, issuer: &Issuer, pass: PassContent<'_>, language: Option<&str>) -> Result<Preview, Faults> {
        Ok(self.pictures(&self.preview_json(issuer, pass)?, language))
    }

    /// Pictures of a rendered pass.
    #[must_use]
    pub fn pictures(&self, pass: &Value, language: Option<&str>) -> Preview {
        let strings = language.map(|language| self.strings_of(language)).filter(|strings| !strings.is_empty());
        let strings = strings.unwrap_or_else(|| self.default_strings());
        draw(pass, &self.files, &strings, language)
    }

    /// Values for every placeholder: those given, and the others' names in angle brackets.
    #[must_use]
    pub fn sample_fields(&self, given: &Map<String, Value>) -> Map<String, Value> {
        let mut fields = given.clone();
        for name in self.fields.iter().filter(|name| !given.contains_key(*name)) {
            if !self.has_default(name) {
                fields.insert(name.clone(), self.sample_of(name));
            }
        }
        fields
    }

    /// What may stand for a value that is not known: of the kind that its place asks for.
    fn sample_of(&self, name: &str) -> Value {
        let placeholder = format!("{{{{{name}}}}}");
        let lone = |value: Option<&Value>| value.and_then(Value::as_str).is_some_and(|text| text.trim() == placeholder);
        for field in super::message::fields(&self.pass).filter(|field| lone(field.get("value"))) {
            if field.contains_key("dateStyle") || field.contains_key("timeStyle") {
                return Value::from("2026-09-12T19:30:00Z");
            }
            if field.contains_key("numberStyle") || field.contains_key("currencyCode") {
                return Value::from(1234);
            }
        }
        for code in self.pass.get("barcodes").and_then(Value::as_array).into_iter().flatten() {
            if lone(code.get("message")) {
                return Value::from(match code.get("format").and_then(Value::as_str) {
                    Some("PKBarcodeFormatEAN13") => "4006381333931",
                    Some("PKBarcodeFormatI2of5" | "PKBarcodeFormatCodabar") => "00012345678905",
                    _ => "0123456789",
                });
            }
        }
        if ["expirationDate", "relevantDate"].iter().any(|key| lone(self.pass.get(*key))) {
            return Value::from("2026-09-12T19:30:00Z");
        }
        Value::from(format!("‹{name}›"))
    }

    /// `storeCard`, `eventTicket`, …; empty when there is none.
    #[must_use]
    pub fn style(&self) -> &str {
        STYLES.into_iter().find(|style| self.pass.get(*style).is_some()).unwrap_or_default()
    }
}

fn draw(
    pass: &Value,
    files: &BTreeMap<String, TemplateFile>,
    strings: &BTreeMap<String, String>,
    language: Option<&str>,
) -> Preview {
    let face = Face { pass, strings, images: Images::new(files, language) };
    Preview { front: front::draw(&face), back: back::draw(&face) }
}

/// What the drawings are made of.
struct Face<'a> {
    pass: &'a Value,
    strings: &'a BTreeMap<String, String>,
    images: Images<'a>,
}

impl<'a> Face<'a> {
    fn translated(&self, text: &str) -> String {
        self.strings.get(text).cloned().unwrap_or_else(|| text.to_owned())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.pass.get(key)?.as_str().map(|text| self.translated(text)).filter(|text| !text.is_empty())
    }

    fn style(&self) -> &'static str {
        // A poster style is drawn when there is one: that is what a new phone shows.
        ["posterGeneric"].into_iter().chain(STYLES).find(|style| self.pass.get(*style).is_some()).unwrap_or("generic")
    }

    /// The fields of a group: label, value, and the field itself.
    fn fields(&self, group: &str) -> Vec<Shown<'a>> {
        let fields = self.pass.get(self.style()).and_then(|style| style.get(group)).and_then(Value::as_array);
        fields
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .map(|field| Shown {
                label: field
                    .get("label")
                    .and_then(Value::as_str)
                    .map(|label| self.translated(label))
                    .unwrap_or_default(),
                value: text::value_of(field, &|text| self.translated(text)),
                field,
            })
            .collect()
    }

    fn flag(&self, key: &str) -> bool {
        self.pass.get(key).and_then(Value::as_bool).unwrap_or_default()
    }
}

/// A field as it is shown.
struct Shown<'a> {
    label: String,
    value: String,
    field: &'a Map<String, Value>,
}

#[cfg(test)]
mod tests;
