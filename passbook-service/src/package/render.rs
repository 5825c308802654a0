//! `pass.json` of one pass: the template with its placeholders filled and the issuer's keys set.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fault::Faults;
use super::issuer::Issuer;
use super::template::Template;
use super::validate;
use super::{hex, placeholder};

/// What distinguishes one pass from another.
#[derive(Clone, Copy, Debug)]
pub struct PassContent<'a> {
    /// `serialNumber`.
    pub serial: &'a str,
    /// Values for the placeholders.
    pub fields: &'a Map<String, Value>,
    /// `userInfo`, when the pass has one.
    pub user_info: Option<&'a Value>,
    /// What is laid over the template.
    pub state: &'a PassState,
}

/// What is laid over what a template says, for one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassState {
    /// `voided`: Wallet shows the pass dimmed, and its barcode is worth nothing.
    pub voided: bool,
    /// `expirationDate`, as it stands in `pass.json`.
    pub expires: Option<String>,
    /// Its holder has signed up: the package no longer asks for that.
    pub personalized: bool,
}

impl PassState {
    /// A pass that is not void and ends when its template says.
    pub const NONE: Self = Self { voided: false, expires: None, personalized: false };

    fn lay_over(&self, pass: &mut Value) {
        let Value::Object(pass) = pass else { return };
        if self.voided {
            pass.insert("voided".to_owned(), Value::Bool(true));
        }
        if let Some(expires) = &self.expires {
            pass.insert("expirationDate".to_owned(), Value::String(expires.clone()));
        }
    }
}

/// Placeholders that the service fills by itself.
pub(super) const BUILT_IN: [&str; 2] = ["serialNumber", "passTypeIdentifier"];

/// Stands in for the authentication token where only the rest of a pass matters.
pub(super) const TOKEN_STAND_IN: &str = "the-token-of-this-pass-is-not-known-here";

impl Template {
    /// The `passTypeIdentifier` that the template names, if it does.
    #[must_use]
    pub fn pass_type(&self) -> Option<&str> {
        self.pass.get("passTypeIdentifier")?.as_str()
    }

    /// Checks the template for an issuer: everything that does not depend on fields, and that the template was
    /// not made for somebody else.
    ///
    /// # Errors
    /// Every broken rule.
    pub fn check_for(&self, issuer: &Issuer) -> Result<(), Faults> {
        let mut faults = Faults::default();
        for (key, ours) in [("passTypeIdentifier", &issuer.pass_type), ("teamIdentifier", &issuer.team)] {
            if let Some(found) = self.pass.get(key)
                && found.as_str() != Some(ours)
            {
                faults.add(key, found, format!("the signing certificate says \"{ours}\": take the key out of the template, it is set by the service"));
            }
        }
        let issued = self.with_issuer(issuer, &Value::String("1".to_owned()), None, TOKEN_STAND_IN, self.pass.clone());
        if let Err(found) = Self::check(&issued, issuer.rules) {
            faults.extend(found);
        }
        faults.into_result()
    }

    /// `pass.json` of one pass, byte for byte the same for the same input: keys stay in the template's order.
    ///
    /// # Errors
    /// Missing fields, and every rule that the filled pass breaks.
    pub fn render(&self, issuer: &Issuer, pass: PassContent<'_>, token: &str) -> Result<Vec<u8>, Faults> {
        let issued = self.filled(issuer, pass, token)?;
        validate::pass(&without_templates(&issued), issuer.rules)?;
        Ok(issued.to_string().into_bytes())
    }

    /// The same, for a pass that was checked when it became what it is.
    ///
    /// # Errors
    /// Missing fields.
    pub(super) fn render_again(&self, issuer: &Issuer, pass: PassContent<'_>, token: &str) -> Result<Vec<u8>, Faults> {
        Ok(self.filled(issuer, pass, token)?.to_string().into_bytes())
    }

    fn filled(&self, issuer: &Issuer, pass: PassContent<'_>, token: &str) -> Result<Value, Faults> {
        let serial = Value::String(pass.serial.to_owned());
        let pass_type = Value::String(issuer.pass_type.clone());
        let lookup = |name: &str| match name {
            "serialNumber" => Some(&serial),
            "passTypeIdentifier" => Some(&pass_type),
            name => pass.fields.get(name),
        };
        let mut filled = placeholder::fill(&self.pass, &lookup)?;
        pass.state.lay_over(&mut filled);
        Ok(self.with_issuer(issuer, &serial, pass.user_info, token, filled))
    }

    /// Identifies what a rendered pass depends on besides its own fields. Begins with the revision of an uploaded
    /// template, so that a process with an older one does not take a pass back.
    #[must_use]
    pub fn basis(&self, issuer: &Issuer) -> String {
        let text = format!("{}\n{}\n{}\n{}", self.digest, issuer.pass_type, issuer.team, issuer.web_service_url);
        let hash = hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref());
        if self.revision == 0 { hash } else { format!("{}:{hash}", self.revision) }
    }

    /// The revision in a basis; 0 for templates that were not uploaded.
    #[must_use]
    pub fn revision_of(basis: &str) -> i64 {
        basis.split_once(':').and_then(|(revision, _)| revision.parse().ok()).unwrap_or(0)
    }

    /// `pass.json` of one pass with a stand-in for its token: to look at, never to sign.
    ///
    /// # Errors
    /// Missing fields, and every rule that the filled pass breaks.
    pub fn preview_json(&self, issuer: &Issuer, pass: PassContent<'_>) -> Result<Value, Faults> {
        let bytes = self.render(issuer, pass, TOKEN_STAND_IN)?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Whether phones show anything when a pass changes.
    #[must_use]
    pub fn tells_changes(&self) -> bool {
        super::message::fields(&self.pass).any(|field| field.contains_key("changeMessage"))
    }

    /// The texts of a language (`de` also stands for `de-AT`); empty when there are none.
    #[must_use]
    pub fn strings_of(&self, language: &str) -> BTreeMap<String, String> {
        let primary = language.split(['-', '_']).next().unwrap_or(language);
        let found = self.strings.get(language).or_else(|| self.strings.get(primary));
        found.cloned().unwrap_or_default()
    }

    /// The texts of the first of these languages (BCP 47, the most wanted first) that there are texts of; else those of
    /// the template's own language.
    #[must_use]
    pub fn strings_for(&self, languages: &[String]) -> BTreeMap<String, String> {
        let found = languages.iter().map(|language| self.strings_of(language)).find(|strings| !strings.is_empty());
        found.unwrap_or_else(|| self.default_strings())
    }

    /// The texts of the template's own language: English, or the first that there is.
    #[must_use]
    pub fn default_strings(&self) -> BTreeMap<String, String> {
        self.strings.get("en").or_else(|| self.strings.values().next()).cloned().unwrap_or_default()
    }

    /// The languages that there are texts for.
    #[must_use]
    pub fn languages(&self) -> Vec<String> {
        self.strings.keys().cloned().collect()
    }

    fn with_issuer(
        &self,
        issuer: &Issuer,
        serial: &Value,
        user_info: Option<&Value>,
        token: &str,
        mut pass: Value,
    ) -> Value {
        if let Value::Object(pass) = &mut pass {
            pass.entry("formatVersion").or_insert(Value::from(1));
            for (key, value) in [
                ("passTypeIdentifier", &issuer.pass_type),
                ("teamIdentifier", &issuer.team),
                ("webServiceURL", &issuer.web_service_url),
            ] {
                pass.insert(key.to_owned(), Value::String(value.clone()));
            }
            pass.insert("serialNumber".to_owned(), serial.clone());
            pass.insert("authenticationToken".to_owned(), Value::String(token.to_owned()));
            if let Some(user_info) = user_info {
                pass.insert("userInfo".to_owned(), user_info.clone());
            }
        }
        pass
    }
}

/// In a filled pass a field's text may itself hold `{{`; it is a plain text there and gets no mercy of the
/// kind that placeholders get.
fn without_templates(value: &Value) -> Value {
    match value {
        Value::String(text) if placeholder::is_template(text) => Value::String(text.replace("{{", "{ {")),
        Value::Array(items) => items.iter().map(without_templates).collect(),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), without_templates(value))).collect())
        }
        other => other.clone(),
    }
}
