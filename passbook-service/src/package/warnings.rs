//! What Wallet takes without a word and people will wonder about: images of odd sizes, texts without a translation,
//! fields that are not shown, newer styles that lack something.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fault::{Fault, Faults};
use super::images::{MEASURES, dimensions, name_and_scale};
use super::message::fields;
use super::strings::Strings;
use super::template::TemplateFile;
use super::validate::{STYLES, scheme_warnings};

/// How many fields of a group a style shows on its front.
const SHOWN: [(&str, [(&str, usize); 4]); 5] = [
    ("boardingPass", [("headerFields", 3), ("primaryFields", 2), ("secondaryFields", 5), ("auxiliaryFields", 5)]),
    ("coupon", [("headerFields", 3), ("primaryFields", 1), ("secondaryFields", 4), ("auxiliaryFields", 4)]),
    ("eventTicket", [("headerFields", 3), ("primaryFields", 1), ("secondaryFields", 4), ("auxiliaryFields", 8)]),
    ("generic", [("headerFields", 3), ("primaryFields", 1), ("secondaryFields", 4), ("auxiliaryFields", 4)]),
    ("storeCard", [("headerFields", 3), ("primaryFields", 1), ("secondaryFields", 4), ("auxiliaryFields", 4)]),
];

/// Everything worth a warning in a template.
pub(super) fn of(
    pass: &Value,
    files: &BTreeMap<String, TemplateFile>,
    strings: &BTreeMap<String, Strings>,
) -> Vec<Fault> {
    let mut warnings = Faults::default();
    let style = STYLES.into_iter().find(|style| pass.get(*style).is_some()).unwrap_or_default();
    images(style, files, &mut warnings);
    texts(pass, strings, &mut warnings);
    for (_, groups) in SHOWN.iter().filter(|(name, _)| *name == style) {
        for (group, most) in groups {
            let count =
                pass.get(style).and_then(|content| content.get(*group)).and_then(Value::as_array).map_or(0, Vec::len);
            if count > *most {
                warnings.add(
                    format!("{style}.{group}"),
                    format!("{count} fields"),
                    format!("Wallet shows {most} of them"),
                );
            }
        }
    }
    if style == "coupon" || style == "storeCard" {
        let count = |group: &str| {
            pass.get(style).and_then(|content| content.get(group)).and_then(Value::as_array).map_or(0, Vec::len)
        };
        let both = count("secondaryFields") + count("auxiliaryFields");
        if both > 4 {
            warnings.add(style, format!("{both} secondary and auxiliary fields"), "Wallet shows 4 of both together");
        }
    }
    let has = |name: &str| files.keys().any(|file| name_and_scale(file).is_some_and(|(image, _)| image == name));
    scheme_warnings(pass, &has, &mut warnings);
    if pass.get("barcode").is_some() && pass.get("barcodes").is_none() {
        warnings.add("barcode", "the old key alone", "`barcodes` is the array that takes its place since iOS 9");
    }
    if let Some(places) = pass.get("locations").and_then(Value::as_array).filter(|places| places.len() > 10) {
        warnings.add("locations", format!("{} entries", places.len()), "Wallet uses the first ten");
    }
    if files.contains_key(super::signup::FILE) && pass.get("nfc").is_none() {
        warnings.add(super::signup::FILE, "a pass without nfc", "Wallet offers to sign up on NFC passes alone");
    }
    if pass.get("relevantDate").is_some() {
        warnings.add("relevantDate", "the old key", "since iOS 18 `relevantDates` takes its place");
    }
    warnings.into_list()
}

fn images(style: &str, files: &BTreeMap<String, TemplateFile>, warnings: &mut Faults) {
    for (file, content) in files {
        let Some((name, scale)) = name_and_scale(file) else {
            if file.ends_with(".png") {
                warnings.add(file, "a scale that no phone asks for", "scales are @2x and @3x");
            }
            continue;
        };
        let Some((width, height)) = dimensions(&content.bytes) else { continue };
        let Some(measure) = MEASURES.iter().find(|measure| measure.name == name) else {
            warnings.add(file, "an image that no style shows", known());
            continue;
        };
        if !measure.styles.is_empty() && !style.is_empty() && !measure.styles.contains(&style) {
            warnings.add(file, format!("it in a {style}"), format!("only {} shows it", measure.styles.join(", ")));
        }
        let (most_wide, most_tall) = (measure.width * scale, measure.height * scale);
        let found = format!("{width} x {height} pixels");
        if width > most_wide * 2 || height > most_tall * 2 {
            let rule = format!("{most_wide} x {most_tall} pixels are shown at this scale: larger only costs time");
            warnings.add(file, found, rule);
        } else if measure.exact && (width < most_wide || height < most_tall * 2 / 3) {
            warnings.add(
                file,
                found,
                format!("is {most_wide} x {most_tall} pixels at this scale: it will be stretched or cut"),
            );
        } else if name == "icon" && width != height {
            warnings.add(file, found, "an icon is square");
        }
    }
    if !files.contains_key("icon@2x.png") && !files.contains_key("icon@3x.png") {
        warnings.add("icon@2x.png", "nothing", "today's phones show icons at twice or three times the points");
    }
}

fn known() -> String {
    let names: Vec<_> = MEASURES.iter().map(|measure| measure.name).collect();
    format!("images are {}", names.join(", "))
}

/// Texts of a pass that some languages translate and others do not; texts that no pass uses; messages without `%@`.
fn texts(pass: &Value, strings: &BTreeMap<String, Strings>, warnings: &mut Faults) {
    let mut used = BTreeSet::new();
    collect(pass, &mut used);
    let every: BTreeSet<&str> = strings.values().flat_map(|texts| texts.keys().map(String::as_str)).collect();
    for (language, texts) in strings {
        for key in &every {
            if used.contains(*key) && !texts.contains_key(*key) {
                let rule = "other languages translate it: this one will show the key itself";
                warnings.add(format!("{language}.lproj/pass.strings"), format!("no \"{key}\""), rule);
            }
        }
        for key in texts.keys().filter(|key| !used.contains(key.as_str())) {
            let rule = "no text of pass.json is this key; fine if a field's value can be";
            warnings.add(format!("{language}.lproj/pass.strings"), format!("\"{key}\""), rule);
        }
    }
    for field in fields(pass) {
        let Some(message) = field.get("changeMessage").and_then(Value::as_str) else { continue };
        let said: Vec<&str> = strings.values().filter_map(|texts| texts.get(message)).map(String::as_str).collect();
        let said = if said.is_empty() { vec![message] } else { said };
        for text in said.iter().filter(|text| !text.contains("%@") && !text.contains("{{")) {
            let key = field.get("key").and_then(Value::as_str).unwrap_or_default();
            warnings.add(
                format!("{key}: changeMessage"),
                format!("\"{text}\""),
                "phones put the new value in place of %@: without it nothing of it is shown",
            );
        }
    }
}

fn collect<'a>(value: &'a Value, texts: &mut BTreeSet<&'a str>) {
    match value {
        Value::String(text) => drop(texts.insert(text)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(entries) => entries.values().for_each(|item| collect(item, texts)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Template, example_files};
    use serde_json::json;

    fn warned(pass: Value, strings: &[(&str, &[(&str, &str)])]) -> Vec<String> {
        let strings = strings.iter().map(|(language, texts)| {
            let texts = texts.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
            ((*language).to_owned(), texts.collect())
        });
        of(&pass, &BTreeMap::new(), &strings.collect()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_example_is_worth_no_warning_about_texts() {
        let template = Template::from_files("example", example_files()).unwrap();
        let texts: Vec<_> = template.warnings.iter().filter(|warning| warning.key.contains("strings")).collect();
        assert!(texts.is_empty(), "{texts:?}");
    }

    #[test]
    fn a_text_that_one_language_lacks_and_a_message_without_its_place_are_named() {
        let pass = json!({"generic": {"primaryFields": [{"key": "a", "label": "label", "value": 1, "changeMessage": "changed"}]}});
        let found = warned(pass, &[("en", &[("label", "Name")]), ("de", &[("other", "x")])]);
        for part in ["de.lproj/pass.strings: found no \"label\"", "\"other\"", "a: changeMessage: found \"changed\""] {
            assert!(found.iter().any(|warning| warning.contains(part)), "{part}: {found:?}");
        }
    }

    #[test]
    fn a_poster_says_what_it_lacks() {
        let pass = json!({
            "eventTicket": {}, "preferredStyleSchemes": ["posterEventTicket", "eventTicket"],
            "semantics": {"eventType": "PKEventTypeSports", "eventName": "x", "venueName": "x", "venueRegionName": "x", "venueRoom": "x"}
        });
        let found = warned(pass, &[]).join("\n");
        assert!(found.contains("semantics.awayTeamAbbreviation") && found.contains("artwork.png"), "{found}");
        assert!(!found.contains("semantics.eventName"), "{found}");
    }
}
