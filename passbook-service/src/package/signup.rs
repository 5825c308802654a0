//! Signing up with a pass (Wallet Developer Guide, "Rewards Enrollment"): `personalization.json` and the images
//! `personalizationLogo` make a template's passes ask their holder for what the file names. Once somebody has signed up,
//! their pass has those files no more.

use serde_json::Value;

use super::fault::Faults;

/// What Wallet can ask for.
const FIELDS: [&str; 4] = [
    "PKPassPersonalizationFieldName",
    "PKPassPersonalizationFieldPostalCode",
    "PKPassPersonalizationFieldEmailAddress",
    "PKPassPersonalizationFieldPhoneNumber",
];

/// The file that says what is asked for.
pub(super) const FILE: &str = "personalization.json";

/// Whether a file of a package is one of those that ask the holder to sign up.
pub(super) fn is_signup(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    name == FILE || base.starts_with("personalizationLogo")
}

/// Checks the files of a template.
pub(super) fn check<'a>(json: Option<&[u8]>, mut names: impl Iterator<Item = &'a str>, faults: &mut Faults) {
    let logo = names.find(|name| is_signup(name) && *name != FILE);
    match (json, logo) {
        (None, None) => {}
        (None, Some(logo)) => {
            faults.add(logo, "it alone", format!("belongs to a {FILE}: add that, or take the image away"))
        }
        (Some(json), logo) => {
            if logo.is_none() {
                faults.add(
                    "personalizationLogo.png",
                    "nothing",
                    format!("is required beside {FILE} (150 x 40 points)"),
                );
            }
            content(json, faults);
        }
    }
}

fn content(json: &[u8], faults: &mut Faults) {
    let value: Value = match serde_json::from_slice(json) {
        Ok(value) => value,
        Err(error) => return faults.add(FILE, error, "must be valid JSON (UTF-8)"),
    };
    let place = |key: &str| format!("{FILE}: {key}");
    let fields = "requiredPersonalizationFields";
    match value.get(fields).and_then(Value::as_array).filter(|list| !list.is_empty()) {
        None => faults.add(
            place(fields),
            value.get(fields).map_or("nothing".to_owned(), Value::to_string),
            format!("is a list of one or more of {}", FIELDS.join(", ")),
        ),
        Some(list) => {
            for entry in list.iter().filter(|entry| !entry.as_str().is_some_and(|name| FIELDS.contains(&name))) {
                faults.add(place(fields), entry, format!("has only {}", FIELDS.join(", ")));
            }
        }
    }
    if value.get("description").and_then(Value::as_str).is_none_or(str::is_empty) {
        let found = value.get("description").map_or("nothing".to_owned(), Value::to_string);
        faults.add(place("description"), found, "is required: a text that says what people sign up for");
    }
    if let Some(terms) = value.get("termsAndConditions").filter(|terms| !terms.is_string()) {
        faults.add(place("termsAndConditions"), terms, "is a text (HTML is understood)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: Option<&str>, names: &[&str]) -> Vec<String> {
        let mut faults = Faults::default();
        check(json.map(str::as_bytes), names.iter().copied(), &mut faults);
        faults.list().iter().map(|fault| fault.key.clone()).collect()
    }

    #[test]
    fn each_fault_is_named() {
        let good = r#"{"requiredPersonalizationFields":["PKPassPersonalizationFieldName"],"description":"Join"}"#;
        assert!(faults(Some(good), &["icon.png", "personalizationLogo@2x.png"]).is_empty());
        assert!(faults(None, &["icon.png", "logo.png"]).is_empty());
        assert_eq!(faults(Some(good), &["icon.png"]), ["personalizationLogo.png"]);
        assert_eq!(faults(None, &["personalizationLogo.png"]), ["personalizationLogo.png"]);
        let keys = |json: &str| faults(Some(json), &["personalizationLogo.png"]);
        assert_eq!(keys("["), [FILE]);
        let (fields, text) =
            ("personalization.json: requiredPersonalizationFields", "personalization.json: description");
        assert_eq!(keys("{}"), [fields, text]);
        assert_eq!(keys(r#"{"requiredPersonalizationFields":["Shoe"],"description":"x"}"#), [fields]);
        assert_eq!(keys(r#"{"requiredPersonalizationFields":[],"description":7}"#), [fields, text]);
    }
}
