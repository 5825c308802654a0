//! Checks rows: what can be stored, and what is wrong with the rest.

use std::collections::HashMap;

use serde_json::Value;

use super::row::{ImportRows, Refusal, Row};
use super::token::KnownToken;
use crate::store::PassId;
use crate::update::{ChangeError, Create, Passes, Prepared};

/// A pass that is taken over.
pub struct ImportedPass {
    /// Its line in the file.
    pub line: i64,
    /// All of it but its token.
    pub pass: Prepared,
    /// Its token.
    pub token: KnownToken,
}

/// A device that has a pass which is taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedDevice {
    /// Its line in the file.
    pub line: i64,
    /// The pass.
    pub pass: PassId,
    /// Device library identifier.
    pub device: String,
    /// Its push token.
    pub push_token: String,
    /// ms since 1970; 0 when nobody knows.
    pub registered_at: i64,
}

/// Rows that can be stored, and what cannot.
#[derive(Default)]
pub struct Checked {
    /// Passes, each once.
    pub passes: Vec<ImportedPass>,
    /// Registrations.
    pub devices: Vec<ImportedDevice>,
    /// What was refused so far.
    pub refused: Vec<Refusal>,
}

/// Names a pass before it is rendered: type, template and serial number as they were given.
type Given = (Option<String>, String, String);

/// A file may have a line for each device of a pass, and two lines may name it differently.
#[derive(Default)]
struct Known {
    names: HashMap<Given, PassId>,
    tokens: HashMap<PassId, KnownToken>,
}

impl Known {
    fn agrees(&self, pass: &PassId, token: &KnownToken) -> bool {
        self.tokens.get(pass).is_none_or(|other| token.agrees_with(other.algorithm, &other.hash))
    }
}

/// Checks rows and renders their passes: takes its time, call it off the async threads.
#[must_use]
pub fn check(passes: &Passes, defaults: &ImportRows, rows: Vec<Value>, now_ms: i64) -> Checked {
    let mut checked = Checked::default();
    let mut known = Known::default();
    for value in rows {
        if let Err(refusal) = check_row(passes, defaults, value, now_ms, &mut known, &mut checked) {
            checked.refused.push(refusal);
        }
    }
    checked
}

fn check_row(
    passes: &Passes,
    defaults: &ImportRows,
    value: Value,
    now_ms: i64,
    known: &mut Known,
    checked: &mut Checked,
) -> Result<(), Refusal> {
    let row = Row::read(value)?;
    let token = row.token()?;
    let (devices, faults) = row.devices(now_ms);
    let line = row.line;
    let given = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let pass_type = given(row.pass_type_identifier).or_else(|| defaults.pass_type.clone());
    let template = given(row.template).or_else(|| defaults.template.clone()).unwrap_or_default();
    let name = (pass_type, template, row.serial_number.trim().to_owned());
    let stranger = || Refusal::new(line, "authenticationToken", "", "an earlier line has another token for this pass");
    let pass = match known.names.get(&name) {
        Some(pass) if !known.agrees(pass, &token) => return Err(stranger()),
        Some(pass) => pass.clone(),
        None => {
            let create = Create {
                pass_type: name.0.clone(),
                template: name.1.clone(),
                serial: Some(name.2.clone()),
                fields: row.fields,
                user_info: row.user_info,
                expires: None,
            };
            let prepared = passes.prepare_imported(create).map_err(|error| refusal(line, &name, &error))?;
            let pass = prepared.id.clone();
            if !known.agrees(&pass, &token) {
                return Err(stranger());
            }
            known.names.insert(name, pass.clone());
            if known.tokens.insert(pass.clone(), token.clone()).is_none() {
                checked.passes.push(ImportedPass { line, pass: prepared, token });
            }
            pass
        }
    };
    checked.refused.extend(faults);
    checked.devices.extend(devices.into_iter().map(|one| ImportedDevice {
        line,
        pass: pass.clone(),
        device: one.device,
        push_token: one.push_token,
        registered_at: one.registered_at,
    }));
    Ok(())
}

/// What the rest of the service says, in the words of a report.
fn refusal(line: i64, (pass_type, template, serial): &Given, error: &ChangeError) -> Refusal {
    let (field, found) = match error {
        ChangeError::NoTemplate(..) => ("template", template.as_str()),
        ChangeError::BadSerial => ("serialNumber", serial.as_str()),
        ChangeError::OtherPassType(_) => ("passTypeIdentifier", pass_type.as_deref().unwrap_or_default()),
        _ => ("fields", ""),
    };
    Refusal::new(line, field, found, error.to_string())
}
