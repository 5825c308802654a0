//! From `pass.json` to Google's class and object. The class holds what all passes of a template (of an event, of a flight)
//! have in common, the object what is of one pass. Nothing of a pass is lost: what Google has no place of its own for
//! becomes a text module.

mod barcode;
mod field;
mod semantics;
mod styles;
mod text;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;

pub use text::Languages;

use self::field::{Field, fields, modules};
use self::semantics::Semantics;
use self::styles::Style;
use super::resource::Resource;
use crate::package::{hex, with_colon};

/// What a mapping depends on besides the pass.
pub struct Surroundings<'a> {
    /// The issuer's id at Google, which begins every id.
    pub issuer_id: &'a str,
    /// `DRAFT` or `UNDER_REVIEW`.
    pub review_status: &'a str,
    /// The template's name: passes of a template share a class.
    pub template: &'a str,
    /// The template's strings.
    pub languages: Languages,
    /// Where Google finds an image of the template, if the template has it.
    pub image: &'a dyn Fn(&str) -> Option<String>,
    /// ms since 1970.
    pub now_ms: i64,
}

/// A pass as Google takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapped {
    /// Which of Google's kinds.
    pub resource: Resource,
    /// The class, with its id.
    pub class: Value,
    /// The object, with its id.
    pub object: Value,
    /// The values of the fields whose changes people are told, by key.
    pub told: BTreeMap<String, Told>,
    /// Who writes to people: the organization's name.
    pub title: String,
}

/// A field whose changes people are told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its value as people read it.
    pub value: String,
    /// The message about a change to this value: a `LocalizedString`.
    pub message: Value,
}

impl Mapped {
    /// The object's id.
    #[must_use]
    pub fn object_id(&self) -> &str {
        self.object["id"].as_str().unwrap_or_default()
    }

    /// The class's id.
    #[must_use]
    pub fn class_id(&self) -> &str {
        self.class["id"].as_str().unwrap_or_default()
    }
}

/// Maps a rendered `pass.json`.
///
/// # Errors
/// When it has no style, which validation rules out.
pub fn map(pass: &Value, around: &Surroundings<'_>) -> Result<Mapped, &'static str> {
    let pass = pass.as_object().ok_or("pass.json is no object")?;
    let (style, content) = Style::of(pass).ok_or("pass.json has no style that Google Wallet can show")?;
    let fields = fields(content);
    let semantics = Semantics::of(pass, content);
    let parts = Parts { pass, content, fields: &fields, semantics: &semantics, around };
    let made = style.map(&parts);

    let pass_type = parts.text("passTypeIdentifier").unwrap_or_default();
    let serial = parts.text("serialNumber").unwrap_or_default();
    let kind = made.resource.name();
    let class_hash = digest(&[pass_type, around.template, &made.identity], 8);
    let class_id = format!("{}.{}-{kind}-{class_hash}", around.issuer_id, slug(around.template));
    let object_id = format!("{}.{kind}-{}-{}", around.issuer_id, slug(serial), digest(&[pass_type, serial], 16));

    let mut class = Map::from_iter([("id".to_owned(), Value::String(class_id.clone()))]);
    parts.common_class(made.resource, &mut class);
    class.extend(made.class);
    let mut object = Map::from_iter([
        ("id".to_owned(), Value::String(object_id)),
        ("classId".to_owned(), Value::String(class_id)),
        ("state".to_owned(), parts.state().into()),
    ]);
    object.extend(made.object);
    parts.common_object(&made.used, &mut object);
    let title = around.languages.plain(parts.text("organizationName").unwrap_or_default());
    Ok(Mapped { resource: made.resource, class: class.into(), object: object.into(), told: parts.told(), title })
}

/// A pass taken apart.
struct Parts<'a> {
    pass: &'a Map<String, Value>,
    content: &'a Map<String, Value>,
    fields: &'a [Field<'a>],
    semantics: &'a Semantics<'a>,
    around: &'a Surroundings<'a>,
}

impl<'a> Parts<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        self.pass.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// A `LocalizedString`.
    fn localized(&self, text: &str) -> Value {
        self.around.languages.localized(text)
    }

    /// The first field of a group.
    fn first(&self, group: &str) -> Option<&'a Field<'a>> {
        self.fields.iter().find(|field| field.group == group)
    }

    /// The first field with one of these keys.
    fn keyed(&self, keys: &[&str]) -> Option<&'a Field<'a>> {
        self.fields.iter().find(|field| keys.iter().any(|key| field.key.eq_ignore_ascii_case(key)))
    }

    /// An image of the template as Google's `Image`: the first of these names, the finest resolution first.
    fn image(&self, names: &[&str]) -> Option<Value> {
        let url = names.iter().find_map(|name| {
            ["@3x", "@2x", ""].iter().find_map(|scale| (self.around.image)(&format!("{name}{scale}.png")))
        })?;
        let description = self.localized(self.text("organizationName").unwrap_or_default());
        Some(json!({ "sourceUri": { "uri": url }, "contentDescription": description }))
    }

    /// What the pass calls itself: `logoText`, else `organizationName`.
    fn name(&self) -> &'a str {
        self.text("logoText").or_else(|| self.text("organizationName")).unwrap_or_default()
    }

    fn state(&self) -> &'static str {
        let voided = self.pass.get("voided").and_then(Value::as_bool).unwrap_or(false);
        let ended = self.text("expirationDate").and_then(moment_ms).is_some_and(|end| end <= self.around.now_ms);
        match (voided, ended) {
            (true, _) => "INACTIVE",
            (_, true) => "EXPIRED",
            _ => "ACTIVE",
        }
    }

    fn common_class(&self, resource: Resource, class: &mut Map<String, Value>) {
        if resource != Resource::Generic {
            let issuer = self.around.languages.plain(self.text("organizationName").unwrap_or_default());
            class.insert("issuerName".to_owned(), issuer.into());
            class.insert("reviewStatus".to_owned(), self.around.review_status.into());
            if let Some(colour) = self.colour() {
                class.insert("hexBackgroundColor".to_owned(), colour.into());
            }
        }
        let shared = self.pass.get("sharingProhibited").and_then(Value::as_bool) != Some(true);
        let holders = if shared { "MULTIPLE_HOLDERS" } else { "ONE_USER_ALL_DEVICES" };
        class.insert("multipleDevicesAndHoldersAllowedStatus".to_owned(), holders.into());
        let places: Vec<Value> = self
            .pass
            .get("locations")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|place| {
                Some(json!({ "latitude": place.get("latitude")?, "longitude": place.get("longitude")? }))
            })
            .take(10)
            .collect();
        if !places.is_empty() {
            class.insert("merchantLocations".to_owned(), places.into());
        }
    }

    fn common_object(&self, used: &[String], object: &mut Map<String, Value>) {
        if let Some(barcode) = barcode::barcode(self.pass) {
            object.insert("barcode".to_owned(), barcode);
        }
        let left: Vec<&Field<'_>> =
            self.fields.iter().filter(|field| !used.iter().any(|key| key == field.key)).collect();
        let modules = modules(&left, &self.around.languages);
        if !modules.is_empty() {
            object.insert("textModulesData".to_owned(), modules.into());
        }
        if let Some(end) = self.text("expirationDate").map(with_colon) {
            object.insert("validTimeInterval".to_owned(), json!({ "end": { "date": end } }));
        }
        if let Some(group) = self.text("groupingIdentifier") {
            object.insert("groupingInfo".to_owned(), json!({ "groupingId": group }));
        }
    }

    /// `rgb(28, 61, 90)` as `#1c3d5a`.
    fn colour(&self) -> Option<String> {
        let inside = self.text("backgroundColor")?.trim().strip_prefix("rgb(")?.strip_suffix(')')?;
        let parts: Vec<u8> = inside.split(',').filter_map(|part| part.trim().parse().ok()).collect();
        match parts.as_slice() {
            [red, green, blue] => Some(format!("#{red:02x}{green:02x}{blue:02x}")),
            _ => None,
        }
    }

    fn told(&self) -> BTreeMap<String, Told> {
        let languages = &self.around.languages;
        self.fields
            .iter()
            .filter_map(|field| {
                let message = languages.message(field.change_message?, &field.text);
                Some((field.key.to_owned(), Told { value: field.text.clone(), message }))
            })
            .collect()
    }
}

/// A date of Apple's form as ms since 1970.
fn moment_ms(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(&with_colon(text), &Iso8601::PARSING).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

/// A text as part of one of Google's ids, which know letters, digits, `.`, `_` and `-`.
fn slug(text: &str) -> String {
    let slug: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' })
        .take(40)
        .collect();
    if slug.is_empty() { "_".to_owned() } else { slug }
}

/// The first digits of a hash over the parts, each told apart from the next.
fn digest(parts: &[&str], digits: usize) -> String {
    let text = serde_json::Value::from(parts).to_string();
    let mut hash = hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref());
    hash.truncate(digits);
    hash
}

#[cfg(test)]
mod tests;
