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
/// Of one line, this many faults of registrations are told.
const MOST_FAULTS: usize = 20;
/// What stands beside tokens that are no hashes.
const PLAIN: [&str; 3] = ["plain", "plaintext", "none"];
const DAY_MS: i64 = 86_400_000;

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
    #[serde(default, alias = "device")]
    pub device_library_identifier: Option<String>,
    /// Its push token.
    #[serde(default)]
    pub push_token: Option<String>,
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
            (Some(token), None) => match present(&self.token_algorithm) {
                // A column of tokens may hold hashes: then the one beside it says which.
                Some(algorithm) if !PLAIN.contains(&algorithm.to_ascii_lowercase().as_str()) => {
                    self.hash("authenticationToken", &algorithm, &token)
                }
                _ => KnownToken::from_token(&token)
                    .map_err(|rule| Refusal::secret(self.line, "authenticationToken", &token, rule)),
            },
            (None, Some(hash)) => self.hash("tokenHash", &present(&self.token_algorithm).unwrap_or_default(), &hash),
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

    fn hash(&self, field: &str, algorithm: &str, hash: &str) -> Result<KnownToken, Refusal> {
        KnownToken::from_hash(algorithm, hash).map_err(|rule| {
            if rule.starts_with("tokenAlgorithm") {
                Refusal::new(self.line, "tokenAlgorithm", algorithm, rule)
            } else {
                Refusal::secret(self.line, field, hash, rule)
            }
        })
    }

    /// The devices that have the pass, and what is wrong with others: they cost the pass nothing. A time that cannot be
    /// one costs not even its registration.
    pub(super) fn devices(&self, now_ms: i64) -> (Vec<CheckedRegistration>, Vec<Refusal>) {
        let (mut devices, mut refused) = (Vec::new(), Vec::new());
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_owned();
        let own = (text(&self.device_library_identifier), text(&self.push_token));
        let own = (!own.0.is_empty() || !own.1.is_empty()).then_some((own.0, own.1, self.registered_at.as_ref()));
        let others = self
            .registrations
            .iter()
            .map(|one| (text(&one.device_library_identifier), text(&one.push_token), one.registered_at.as_ref()));
        let mut left = 0;
        for (device, push_token, at) in own.into_iter().chain(others) {
            let (taken, fault) = self.registration(&device, &push_token, at, now_ms);
            devices.extend(taken);
            match fault {
                Some(fault) if refused.len() < MOST_FAULTS => refused.push(fault),
                Some(_) => left += 1,
                None => {}
            }
        }
        if let Some(last) = refused.last_mut().filter(|_| left > 0) {
            last.rule.push_str(&format!("; {left} further registrations of this line have faults"));
        }
        (devices, refused)
    }

    fn registration(
        &self,
        device: &str,
        push_token: &str,
        registered_at: Option<&Value>,
        now_ms: i64,
    ) -> (Option<CheckedRegistration>, Option<Refusal>) {
        let printable = |text: &str| !text.chars().any(char::is_control);
        if !(1..=LONGEST_ID).contains(&device.len()) || !printable(device) {
            let rule = "a device library identifier has 1 to 255 bytes and no control characters";
            return (None, Some(Refusal::secret(self.line, "deviceLibraryIdentifier", device, rule)));
        }
        if !(1..=LONGEST_PUSH_TOKEN).contains(&push_token.len()) || !printable(push_token) {
            let rule = "a push token has 1 to 1024 bytes and no control characters";
            return (None, Some(Refusal::secret(self.line, "pushToken", push_token, rule)));
        }
        let mut fault = None;
        let registered_at = match registered_at {
            None | Some(Value::Null) => 0,
            Some(Value::String(text)) if text.trim().is_empty() => 0,
            // What is to come has not been: a token of tomorrow would be newer than whatever Apple says of it.
            Some(value) => moment(value).filter(|at| *at <= now_ms + DAY_MS).unwrap_or_else(|| {
                let rule = "a time that has been is seconds, milliseconds or parts of them since 1970, or a text such as \
                            2026-11-21T20:00:00Z; the registration was taken without it";
                fault = Some(Refusal::new(self.line, "registeredAt", &value.to_string(), rule));
                0
            }),
        };
        let taken = CheckedRegistration { device: device.to_owned(), push_token: push_token.to_owned(), registered_at };
        (Some(taken), fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_800_000_000_000;

    fn refusal(row: Value) -> Refusal {
        match Row::read(row) {
            Err(refusal) => refusal,
            Ok(row) => row.token().err().or_else(|| row.devices(NOW).1.pop()).expect("a refusal"),
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
    fn a_column_of_tokens_holds_hashes_when_the_one_beside_it_says_so() {
        let sha1 = "6adfb183a4a2c94a2f92dab5ade762a47889a5a1";
        let read = |algorithm: &str| {
            Row::read(json!({"line": 1, "serial": "1", "token": sha1, "tokenAlgorithm": algorithm})).unwrap().token()
        };
        for algorithm in ["sha1", "SHA-1"] {
            assert_eq!(read(algorithm), KnownToken::from_hash("sha1", sha1).map_err(|_| unreachable!()), "{algorithm}");
        }
        for plain in ["", " ", "plain", "None"] {
            assert_eq!(read(plain), KnownToken::from_token(sha1).map_err(|_| unreachable!()), "{plain}");
        }
        for (algorithm, field) in
            [("sha256", "authenticationToken"), ("sha384", "authenticationToken"), ("md5", "tokenAlgorithm")]
        {
            assert_eq!(read(algorithm).unwrap_err().field, field, "{algorithm}");
        }
    }

    #[test]
    fn a_bad_registration_costs_neither_the_others_nor_a_bad_time_its_own() {
        let row = Row::read(json!({"line": 1, "serial": "1", "token": "0123456789abcdef", "registrations": [
            {"device": "a", "pushToken": "00"}, {"device": "b", "pushToken": null}, {"device": "c", "pushToken": ""},
            {"device": "d", "pushToken": "11", "registeredAt": NOW + 2 * DAY_MS}]}))
        .unwrap();
        let (devices, refused) = row.devices(NOW);
        let taken: Vec<_> = devices.iter().map(|one| (one.device.as_str(), one.registered_at)).collect();
        assert_eq!(taken, [("a", 0), ("d", 0)]);
        let fields: Vec<_> = refused.iter().map(|refusal| refusal.field.as_str()).collect();
        assert_eq!(fields, ["pushToken", "pushToken", "registeredAt"]);
    }

    #[test]
    fn both_forms_of_registrations_are_read() {
        let row = Row::read(json!({"line": 1, "serial": "1", "token": "0123456789abcdef", "device": "a", "pushToken": "00", "registeredAt": "",
            "registrations": [{"deviceLibraryIdentifier": "b", "pushToken": "11", "registeredAt": 1_790_000_000}]}))
        .unwrap();
        let (devices, refused) = row.devices(NOW);
        assert_eq!(refused, []);
        assert_eq!(devices.iter().map(|one| one.device.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((devices[0].registered_at, devices[1].registered_at), (0, 1_790_000_000_000));
    }
}
