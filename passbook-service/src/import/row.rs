//! One line of a file, and what can be wrong with it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::moment::moment;
use super::token::KnownToken;

/// Longest id of a device and longest push token, in bytes.
const LONGEST_ID: usize = 255;
const LONGEST_PUSH_TOKEN: usize = 1024;
/// Of a refused value, this many characters are shown.
const SHOWN: usize = 80;

/// Body of `POST /api/imports/{id}/rows`: the next rows of a file.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportRows {
    /// For people: the file's name.
    #[serde(default)]
    pub name: String,
    /// The line that the service has come to (`line` of the last answer; 0 at first). Another one is answered with 409.
    #[serde(default)]
    pub after: i64,
    /// The line that these rows go up to.
    pub last: i64,
    /// The template of rows that name none.
    #[serde(default)]
    pub template: Option<String>,
    /// The pass type of rows that name none.
    #[serde(default)]
    pub pass_type: Option<String>,
    /// 2,000 at most. Each is read by itself: one that does not fit holds up no other.
    #[schema(value_type = Vec<Row>)]
    pub rows: Vec<Value>,
    /// These are the last ones.
    #[serde(default)]
    pub complete: bool,
    /// Check everything and store nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// A pass, and devices that have it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Row {
    /// The line in the file.
    pub line: i64,
    /// The line cannot be read, and why: it is only counted and reported.
    #[serde(default)]
    pub unreadable: Option<String>,
    /// Serial number.
    #[serde(default, alias = "serial")]
    pub serial_number: String,
    /// Pass type identifier.
    #[serde(default, alias = "passType")]
    pub pass_type_identifier: Option<String>,
    /// The template that renders the pass from now on.
    #[serde(default)]
    pub template: Option<String>,
    /// Values of its placeholders.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    pub fields: Map<String, Value>,
    /// `userInfo` of the pass.
    #[serde(default)]
    pub user_info: Option<Value>,
    /// The authentication token. Only its SHA-384 is kept.
    #[serde(default, alias = "token")]
    pub authentication_token: Option<String>,
    /// Or its hash, in hexadecimal or Base64.
    #[serde(default)]
    pub token_hash: Option<String>,
    /// How the hash was made: sha1, sha256 or sha384.
    #[serde(default)]
    pub token_algorithm: Option<String>,
    /// A device that has the pass, for files with a line for each registration.
    #[serde(default, alias = "device")]
    pub device_library_identifier: Option<String>,
    /// Its push token.
    #[serde(default)]
    pub push_token: Option<String>,
    /// When it registered: seconds or milliseconds since 1970, or a text such as 2026-11-21T20:00:00Z.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub registered_at: Option<Value>,
    /// Devices that have the pass, for files with a line for each pass.
    #[serde(default)]
    pub registrations: Vec<Registration>,
}

/// A device that has a pass.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registration {
    /// Device library identifier.
    #[serde(alias = "device")]
    pub device_library_identifier: String,
    /// Its push token.
    pub push_token: String,
    /// When it registered.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub registered_at: Option<Value>,
}

/// A line that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// Which.
    pub line: i64,
    /// What of it.
    pub field: String,
    /// What was found; secrets are not shown.
    pub found: String,
    /// The rule that it breaks.
    pub rule: String,
}

impl Refusal {
    /// A refusal that shows the value.
    pub(super) fn new(line: i64, field: &str, found: &str, rule: impl Into<String>) -> Self {
        let shown: String = found.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        let found = if found.chars().count() > SHOWN { format!("{shown}…") } else { shown };
        Self { line, field: field.to_owned(), found, rule: rule.into() }
    }

    /// A refusal that shows only how long a secret was.
    fn secret(line: i64, field: &str, found: &str, rule: &str) -> Self {
        Self::new(line, field, &format!("({} characters)", found.chars().count()), rule)
    }
}

/// A registration that can be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CheckedRegistration {
    pub(super) device: String,
    pub(super) push_token: String,
    /// ms since 1970; 0 when nobody knows: whatever Apple says of the token is later.
    pub(super) registered_at: i64,
}

impl Row {
    /// Reads a row.
    ///
    /// # Errors
    /// What does not fit.
    pub(super) fn read(value: Value) -> Result<Self, Refusal> {
        let line = value.get("line").and_then(Value::as_i64).unwrap_or(0);
        let row: Self = serde_json::from_value(value)
            .map_err(|error| Refusal::new(line, "line", "", format!("the line does not fit: {error}")))?;
        match &row.unreadable {
            Some(why) => Err(Refusal::new(line, "line", "", why.as_str())),
            None => Ok(row),
        }
    }

    /// The token.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn token(&self) -> Result<KnownToken, Refusal> {
        let present =
            |text: &Option<String>| text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        match (present(&self.authentication_token), present(&self.token_hash)) {
            (Some(token), None) => KnownToken::from_token(&token)
                .map_err(|rule| Refusal::secret(self.line, "authenticationToken", &token, rule)),
            (None, Some(hash)) => {
                let algorithm = present(&self.token_algorithm).unwrap_or_default();
                KnownToken::from_hash(&algorithm, &hash).map_err(|rule| {
                    if rule.starts_with("tokenAlgorithm") {
                        Refusal::new(self.line, "tokenAlgorithm", &algorithm, rule)
                    } else {
                        Refusal::secret(self.line, "tokenHash", &hash, rule)
                    }
                })
            }
            (Some(_), Some(_)) => Err(Refusal::new(
                self.line,
                "tokenHash",
                "",
                "stands beside authenticationToken; give one or the other",
            )),
            (None, None) => Err(Refusal::new(
                self.line,
                "authenticationToken",
                "",
                "a pass has a token: give it, or tokenHash and tokenAlgorithm; without it no phone can fetch the pass",
            )),
        }
    }

    /// The devices that have the pass.
    ///
    /// # Errors
    /// The first that cannot be one.
    pub(super) fn devices(&self) -> Result<Vec<CheckedRegistration>, Refusal> {
        let mut devices = Vec::new();
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_owned();
        let (device, push_token) = (text(&self.device_library_identifier), text(&self.push_token));
        if !device.is_empty() || !push_token.is_empty() {
            devices.push(self.registration(&device, &push_token, self.registered_at.as_ref())?);
        }
        for one in &self.registrations {
            let (device, push_token) = (one.device_library_identifier.trim(), one.push_token.trim());
            devices.push(self.registration(device, push_token, one.registered_at.as_ref())?);
        }
        Ok(devices)
    }

    fn registration(
        &self,
        device: &str,
        push_token: &str,
        registered_at: Option<&Value>,
    ) -> Result<CheckedRegistration, Refusal> {
        let printable = |text: &str| !text.chars().any(char::is_control);
        if !(1..=LONGEST_ID).contains(&device.len()) || !printable(device) {
            let rule = "a device library identifier has 1 to 255 bytes and no control characters";
            return Err(Refusal::secret(self.line, "deviceLibraryIdentifier", device, rule));
        }
        if !(1..=LONGEST_PUSH_TOKEN).contains(&push_token.len()) || !printable(push_token) {
            let rule = "a push token has 1 to 1024 bytes and no control characters";
            return Err(Refusal::secret(self.line, "pushToken", push_token, rule));
        }
        let registered_at = match registered_at {
            None | Some(Value::Null) => 0,
            Some(Value::String(text)) if text.trim().is_empty() => 0,
            Some(value) => moment(value).ok_or_else(|| {
                let rule = "a time is seconds or milliseconds since 1970, or a text such as 2026-11-21T20:00:00Z";
                Refusal::new(self.line, "registeredAt", &value.to_string(), rule)
            })?,
        };
        Ok(CheckedRegistration { device: device.to_owned(), push_token: push_token.to_owned(), registered_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(row: Value) -> Refusal {
        match Row::read(row) {
            Err(refusal) => refusal,
            Ok(row) => row.token().err().or_else(|| row.devices().err()).expect("a refusal"),
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_line_field_value_and_rule_and_no_secret_is_shown() {
        let token = "0123456789abcdef";
        for (row, field, part) in [
            (json!({"line": 7, "serial": "1"}), "authenticationToken", "has a token"),
            (json!({"line": 7, "serial": "1", "token": "secret"}), "authenticationToken", "16 to 512"),
            (
                json!({"line": 7, "serial": "1", "tokenHash": "ab", "tokenAlgorithm": "md5"}),
                "tokenAlgorithm",
                "sha1, sha256",
            ),
            (
                json!({"line": 7, "serial": "1", "tokenHash": "ab", "tokenAlgorithm": "sha1"}),
                "tokenHash",
                "20, 32 or 48",
            ),
            (json!({"line": 7, "serial": "1", "token": token, "tokenHash": "ab"}), "tokenHash", "one or the other"),
            (json!({"line": 7, "serial": "1", "token": token, "device": "d"}), "pushToken", "1 to 1024"),
            (
                json!({"line": 7, "serial": "1", "token": token, "pushToken": "ab"}),
                "deviceLibraryIdentifier",
                "1 to 255",
            ),
            (
                json!({"line": 7, "serial": "1", "token": token, "device": "d", "pushToken": "ab", "registeredAt": "noon"}),
                "registeredAt",
                "seconds or",
            ),
            (json!({"line": 7, "serial": "1", "tokn": token}), "line", "tokn"),
            (json!({"line": 7, "unreadable": "a quote is not closed"}), "line", "quote"),
        ] {
            let found = refusal(row.clone());
            assert_eq!((found.line, found.field.as_str()), (7, field), "{row}");
            assert!(found.rule.contains(part), "{row}: {}", found.rule);
            assert!(!found.found.contains("secret"), "{found:?}");
        }
    }

    #[test]
    fn both_forms_of_registrations_are_read() {
        let row = Row::read(json!({"line": 1, "serial": "1", "token": "0123456789abcdef", "device": "a", "pushToken": "00", "registeredAt": "",
            "registrations": [{"deviceLibraryIdentifier": "b", "pushToken": "11", "registeredAt": 1_790_000_000}]}))
        .unwrap();
        let devices = row.devices().unwrap();
        assert_eq!(devices.iter().map(|one| one.device.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((devices[0].registered_at, devices[1].registered_at), (0, 1_790_000_000_000));
    }
}
