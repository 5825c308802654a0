//! Apple's rules for `pass.json`, checked before anything is signed: Wallet refuses a wrong pass without a word.
//!
//! Only keys that are known are checked; keys that nobody here knows yet are kept as they are. A string with a
//! `{{placeholder}}` is checked when a pass is rendered, not when the template is loaded.

mod barcode;
mod field;
mod scheme;
mod semantics;
mod value;

pub(in crate::package) use field::FIELD_GROUPS;
pub(in crate::package) use scheme::warnings as scheme_warnings;

pub(crate) use value::with_colon;

use serde_json::{Map, Value};

use super::fault::Faults;
use super::placeholder;

/// The kinds of pass; a pass has exactly one.
pub const STYLES: [&str; 5] = ["boardingPass", "coupon", "eventTicket", "generic", "storeCard"];

const REQUIRED: [&str; 5] = ["description", "organizationName", "passTypeIdentifier", "serialNumber", "teamIdentifier"];
const COLOURS: [&str; 4] = ["backgroundColor", "foregroundColor", "labelColor", "footerBackgroundColor"];
const FLAGS: [&str; 5] =
    ["voided", "sharingProhibited", "suppressStripShine", "suppressHeaderDarkening", "useAutomaticColors"];

/// What depends on where the pass is going to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Accept `http://` as `webServiceURL`: development only, a phone talks to `https://` alone.
    pub allow_http: bool,
}

/// Checks a complete `pass.json`.
///
/// # Errors
/// Every broken rule with its key and value.
pub(in crate::package) fn pass(pass: &Value, rules: Rules) -> Result<(), Faults> {
    let mut check = Check { faults: Faults::default(), rules };
    match pass {
        Value::Object(pass) => check.top_level(pass),
        other => check.faults.add("pass.json", other, "the file holds one JSON object"),
    }
    check.faults.into_result()
}

struct Check {
    faults: Faults,
    rules: Rules,
}

impl Check {
    fn top_level(&mut self, pass: &Map<String, Value>) {
        match pass.get("formatVersion") {
            Some(Value::Number(version)) if version.as_i64() == Some(1) => {}
            other => self.add("formatVersion", other, "must be the number 1"),
        }
        for key in REQUIRED {
            match pass.get(key) {
                Some(Value::String(text)) if !text.trim().is_empty() => {}
                other => self.add(key, other, "is required: a text that is not empty"),
            }
        }
        for key in COLOURS {
            self.value(pass, key, value::is_colour, "a colour is written rgb(R, G, B) with numbers from 0 to 255");
        }
        for key in ["expirationDate", "relevantDate"] {
            self.value(pass, key, value::is_date, value::DATE_RULE);
        }
        for key in FLAGS {
            if let Some(found) = pass.get(key)
                && !found.is_boolean()
                && !is_open(found)
            {
                self.add(key, Some(found), "must be true or false");
            }
        }
        for (key, kind) in [("userInfo", "object"), ("semantics", "object"), ("associatedStoreIdentifiers", "array")] {
            self.of_kind(pass, key, kind);
        }
        if pass.contains_key("appLaunchURL") && !pass.contains_key("associatedStoreIdentifiers") {
            self.add("appLaunchURL", pass.get("appLaunchURL"), "needs associatedStoreIdentifiers beside it");
        }
        if let Some(Value::Object(tags)) = pass.get("semantics") {
            self.semantics("semantics", tags);
        }
        for (key, rule) in
            [("associatedStoreIdentifiers", "App Store ids"), ("auxiliaryStoreIdentifiers", "App Store ids")]
        {
            if let Some(Value::Array(items)) = pass.get(key)
                && !items.iter().all(|item| item.is_number() || is_open(item))
            {
                self.add(key, pass.get(key), &format!("is an array of numbers: {rule}"));
            }
        }
        if let Some(found) = pass.get("maxDistance").filter(|found| !found.is_number() && !is_open(found)) {
            self.add("maxDistance", Some(found), "is a number of metres");
        }
        self.style(pass);
        self.schemes(pass);
        self.web_service(pass);
        self.barcodes(pass);
        self.relevant_dates(pass);
        self.places(pass);
        self.nfc(pass);
    }

    fn style(&mut self, pass: &Map<String, Value>) {
        let found: Vec<_> = STYLES.into_iter().filter(|style| pass.contains_key(*style)).collect();
        let poster = pass.contains_key("posterGeneric");
        if found.len() > 1 || (found.is_empty() && !poster) {
            let shown = if found.is_empty() { "none of them".to_owned() } else { found.join(", ") };
            self.faults.add("style", shown, format!("a pass has exactly one of: {}", STYLES.join(", ")));
        }
        for style in found.into_iter().chain(poster.then_some("posterGeneric")) {
            match pass.get(style) {
                Some(Value::Object(content)) => self.style_content(style, content),
                other => self.add(style, other, "must be an object with the pass's fields"),
            }
        }
        if let Some(found) = pass.get("groupingIdentifier")
            && !pass.contains_key("boardingPass")
            && !pass.contains_key("eventTicket")
        {
            self.add("groupingIdentifier", Some(found), "only a boardingPass or an eventTicket can be grouped");
        }
    }

    fn web_service(&mut self, pass: &Map<String, Value>) {
        let (url, token) = (pass.get("webServiceURL"), pass.get("authenticationToken"));
        match (url, token) {
            (None, None) => {}
            (Some(_), None) => self.add("authenticationToken", None, "is required together with webServiceURL"),
            (None, Some(_)) => self.add("webServiceURL", None, "is required together with authenticationToken"),
            (Some(url), Some(token)) => {
                let allow_http = self.rules.allow_http;
                let fits = |url: &str| {
                    let host =
                        url.strip_prefix("https://").or_else(|| url.strip_prefix("http://").filter(|_| allow_http));
                    host.is_some_and(|host| !host.is_empty() && !host.starts_with('/') && !url.ends_with('/'))
                };
                if !url.as_str().is_some_and(|url| placeholder::is_template(url) || fits(url)) {
                    self.add("webServiceURL", Some(url), "must be an https:// address without a slash at its end");
                }
                if token.as_str().is_none_or(|token| token.len() < 16) {
                    // The token itself is a secret: its length says enough.
                    let length = token.as_str().map_or(0, str::len);
                    self.faults.add(
                        "authenticationToken",
                        format!("{length} characters"),
                        "has at least 16 characters",
                    );
                }
            }
        }
    }

    fn relevant_dates(&mut self, pass: &Map<String, Value>) {
        for (key, entry) in self.objects(pass, "relevantDates", None) {
            if !["date", "relevantDate", "startDate"].iter().any(|name| entry.contains_key(*name)) {
                self.faults.add(key.clone(), "no date", "has a `date`, or a `startDate` and an `endDate`");
            }
            for name in ["date", "relevantDate", "startDate", "endDate"] {
                self.value_at(&entry, &key, name, value::is_date, value::DATE_RULE);
            }
        }
    }

    fn places(&mut self, pass: &Map<String, Value>) {
        for (key, place) in self.objects(pass, "locations", None) {
            for (name, limit) in [("latitude", 90.0), ("longitude", 180.0)] {
                let fits = |value: &Value| value.as_f64().is_some_and(|degrees| degrees.abs() <= limit);
                if !place.get(name).is_some_and(|value| is_open(value) || fits(value)) {
                    self.add(
                        &placeholder::join(&key, name),
                        place.get(name),
                        &format!("is a number from -{limit} to {limit}"),
                    );
                }
            }
        }
        for (key, beacon) in self.objects(pass, "beacons", Some(10)) {
            let uuid = beacon.get("proximityUUID");
            if !uuid.is_some_and(|value| {
                is_open(value) || value.as_str().is_some_and(|text| uuid::Uuid::try_parse(text).is_ok())
            }) {
                self.add(&placeholder::join(&key, "proximityUUID"), uuid, "is required: a UUID");
            }
            for name in ["major", "minor"] {
                if let Some(value) = beacon.get(name)
                    && !is_open(value)
                    && value.as_u64().is_none_or(|number| number > 65_535)
                {
                    self.add(&placeholder::join(&key, name), Some(value), "is a whole number from 0 to 65535");
                }
            }
        }
    }

    fn nfc(&mut self, pass: &Map<String, Value>) {
        let Some(nfc) = pass.get("nfc") else { return };
        let Some(nfc) = nfc.as_object() else {
            return self.add("nfc", Some(nfc), "must be an object with `message` and `encryptionPublicKey`");
        };
        if !nfc
            .get("message")
            .is_some_and(|value| is_open(value) || value.as_str().is_some_and(|text| (1..=64).contains(&text.len())))
        {
            self.add("nfc.message", nfc.get("message"), "is required: 1 to 64 bytes of text");
        }
        if let Some(found) = nfc.get("requiresAuthentication").filter(|found| !found.is_boolean() && !is_open(found)) {
            self.add("nfc.requiresAuthentication", Some(found), "must be true or false");
        }
        if nfc.get("encryptionPublicKey").and_then(Value::as_str).is_none_or(str::is_empty) {
            self.add(
                "nfc.encryptionPublicKey",
                nfc.get("encryptionPublicKey"),
                "is required: the terminal's public key, Base64 of a compressed P-256 X.509 key",
            );
        }
    }

    fn of_kind(&mut self, object: &Map<String, Value>, key: &str, kind: &str) {
        let Some(found) = object.get(key) else { return };
        let fits = match kind {
            "object" => found.is_object(),
            _ => found.is_array(),
        };
        if !fits && !is_open(found) {
            self.add(key, Some(found), &format!("must be an {kind}"));
        }
    }

    /// The objects of an array under `key`, with their places; anything else in it is noted.
    fn objects(
        &mut self,
        object: &Map<String, Value>,
        key: &str,
        most: Option<usize>,
    ) -> Vec<(String, Map<String, Value>)> {
        let Some(found) = object.get(key) else { return Vec::new() };
        let Value::Array(items) = found else {
            if !is_open(found) {
                self.add(key, Some(found), "must be an array of objects");
            }
            return Vec::new();
        };
        if most.is_some_and(|most| items.len() > most) {
            self.faults.add(
                key,
                format!("{} entries", items.len()),
                format!("has at most {} entries", most.unwrap_or_default()),
            );
        }
        let mut objects = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let place = format!("{key}[{index}]");
            match item {
                Value::Object(item) => objects.push((place, item.clone())),
                other if is_open(other) => {}
                other => self.add(&place, Some(other), "must be an object"),
            }
        }
        objects
    }

    /// Checks a text under `key` when it is there.
    fn value(&mut self, object: &Map<String, Value>, key: &str, fits: fn(&str) -> bool, rule: &str) {
        self.value_at(object, "", key, fits, rule);
    }

    fn value_at(&mut self, object: &Map<String, Value>, at: &str, key: &str, fits: fn(&str) -> bool, rule: &str) {
        if let Some(found) = object.get(key)
            && !is_open(found)
            && !found.as_str().is_some_and(fits)
        {
            self.add(&placeholder::join(at, key), Some(found), rule);
        }
    }

    fn add(&mut self, key: &str, found: Option<&Value>, rule: &str) {
        match found {
            Some(found) => self.faults.add(key, found, rule),
            None => self.faults.add(key, "nothing", rule),
        }
    }
}

/// A text whose value is not known before a pass is rendered.
fn is_open(value: &Value) -> bool {
    value.as_str().is_some_and(placeholder::is_template)
}

#[cfg(test)]
mod tests;
