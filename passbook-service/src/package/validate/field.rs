//! The fields of a style: keys, values, date and number styles.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Check, is_open, value};
use crate::package::placeholder::join;

/// The groups of fields of a style, front to back.
pub(in crate::package) const FIELD_GROUPS: [&str; 7] = [
    "headerFields",
    "primaryFields",
    "secondaryFields",
    "auxiliaryFields",
    "backFields",
    "additionalInfoFields",
    "footerFields",
];
const TRANSIT: [&str; 5] =
    ["PKTransitTypeAir", "PKTransitTypeBoat", "PKTransitTypeBus", "PKTransitTypeGeneric", "PKTransitTypeTrain"];
const DATE_STYLES: [&str; 5] =
    ["PKDateStyleNone", "PKDateStyleShort", "PKDateStyleMedium", "PKDateStyleLong", "PKDateStyleFull"];
const NUMBER_STYLES: [&str; 4] =
    ["PKNumberStyleDecimal", "PKNumberStylePercent", "PKNumberStyleScientific", "PKNumberStyleSpellOut"];
const ALIGNMENTS: [&str; 4] =
    ["PKTextAlignmentLeft", "PKTextAlignmentCenter", "PKTextAlignmentRight", "PKTextAlignmentNatural"];
const DETECTORS: [&str; 4] = [
    "PKDataDetectorTypePhoneNumber",
    "PKDataDetectorTypeLink",
    "PKDataDetectorTypeAddress",
    "PKDataDetectorTypeCalendarEvent",
];

impl Check {
    pub(super) fn style_content(&mut self, style: &str, content: &Map<String, Value>) {
        match (style, content.get("transitType")) {
            ("boardingPass", found) if !found.is_some_and(|value| is_open(value) || one_of(value, &TRANSIT)) => {
                self.add("boardingPass.transitType", found, &format!("is required: one of {}", TRANSIT.join(", ")));
            }
            ("boardingPass", _) | (_, None) => {}
            (_, found) => self.add(&join(style, "transitType"), found, "belongs to a boardingPass only"),
        }
        let mut keys = BTreeSet::new();
        for group in FIELD_GROUPS {
            for (place, field) in self.objects(content, group, None) {
                self.field(&join(style, &place), &field, &mut keys);
            }
        }
    }

    fn field(&mut self, place: &str, field: &Map<String, Value>, keys: &mut BTreeSet<String>) {
        match field.get("key") {
            Some(Value::String(key)) if !key.is_empty() => {
                if !keys.insert(key.clone()) {
                    self.add(&join(place, "key"), field.get("key"), "must differ from the key of every other field");
                }
            }
            other => self.add(&join(place, "key"), other, "is required: a text that is not empty"),
        }
        let value = field.get("value");
        if !matches!(value, Some(Value::String(_) | Value::Number(_))) {
            self.add(&join(place, "value"), value, "is required: a text or a number");
        }
        let open = value.is_some_and(is_open);
        self.choice(place, field, "dateStyle", &DATE_STYLES);
        self.choice(place, field, "timeStyle", &DATE_STYLES);
        self.choice(place, field, "numberStyle", &NUMBER_STYLES);
        self.choice(place, field, "textAlignment", &ALIGNMENTS);
        if (field.contains_key("dateStyle") || field.contains_key("timeStyle"))
            && !open
            && !value.and_then(Value::as_str).is_some_and(value::is_date)
        {
            self.add(&join(place, "value"), value, value::DATE_RULE);
        }
        let numeric = field.contains_key("numberStyle") || field.contains_key("currencyCode");
        if numeric && !open && !value.is_some_and(Value::is_number) {
            self.add(
                &join(place, "value"),
                value,
                "must be a number, since the field has a numberStyle or a currencyCode",
            );
        }
        if field.contains_key("numberStyle") && field.contains_key("currencyCode") {
            self.add(&join(place, "currencyCode"), field.get("currencyCode"), "cannot stand beside numberStyle");
        }
        self.value_at(field, place, "currencyCode", is_currency, "is an ISO 4217 code: three capital letters");
        if let Some(detectors) = field.get("dataDetectorTypes")
            && !detectors.as_array().is_some_and(|items| items.iter().all(|item| one_of(item, &DETECTORS)))
        {
            self.add(
                &join(place, "dataDetectorTypes"),
                Some(detectors),
                &format!("is an array of {}", DETECTORS.join(", ")),
            );
        }
        for name in ["ignoresTimeZone", "isRelative"] {
            if let Some(found) = field.get(name)
                && !found.is_boolean()
                && !is_open(found)
            {
                self.add(&join(place, name), Some(found), "must be true or false");
            }
        }
        if let Some(found) = field.get("row")
            && !matches!(found.as_u64(), Some(0 | 1))
        {
            self.add(&join(place, "row"), Some(found), "is 0 or 1, in the auxiliary fields of an event ticket");
        }
        match field.get("semantics") {
            Some(Value::Object(tags)) => self.semantics(&join(place, "semantics"), tags),
            Some(other) => self.add(&join(place, "semantics"), Some(other), "must be an object"),
            None => {}
        }
        for name in ["label", "changeMessage"] {
            if let Some(found) = field.get(name)
                && !found.is_string()
            {
                self.add(&join(place, name), Some(found), "must be a text");
            }
        }
    }

    fn choice(&mut self, place: &str, field: &Map<String, Value>, key: &str, allowed: &[&str]) {
        if let Some(found) = field.get(key)
            && !is_open(found)
            && !one_of(found, allowed)
        {
            self.add(&join(place, key), Some(found), &format!("is one of {}", allowed.join(", ")));
        }
    }
}

fn one_of(value: &Value, allowed: &[&str]) -> bool {
    value.as_str().is_some_and(|text| allowed.contains(&text))
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase())
}
