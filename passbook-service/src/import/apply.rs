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

/// Checks rows and renders their passes: takes its time, call it off the async threads.
#[must_use]
pub fn check(passes: &Passes, defaults: &ImportRows, rows: Vec<Value>) -> Checked {
    let mut checked = Checked::default();
    // A file may have a line for each device of a pass.
    let mut known: HashMap<Given, (PassId, KnownToken)> = HashMap::new();
    for value in rows {
        if let Err(refusal) = check_row(passes, defaults, value, &mut known, &mut checked) {
            checked.refused.push(refusal);
        }
    }
    checked
}

fn check_row(
    passes: &Passes,
    defaults: &ImportRows,
    value: Value,
    known: &mut HashMap<Given, (PassId, KnownToken)>,
    checked: &mut Checked,
) -> Result<(), Refusal> {
    let row = Row::read(value)?;
    let token = row.token()?;
    let devices = row.devices()?;
    let line = row.line;
    let given = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let pass_type = given(row.pass_type_identifier).or_else(|| defaults.pass_type.clone());
    let template = given(row.template).or_else(|| defaults.template.clone()).unwrap_or_default();
    let name = (pass_type, template, row.serial_number);
    let pass = match known.get(&name) {
        Some((_, other)) if !token.agrees_with(other.algorithm, &other.hash) => {
            let rule = "an earlier line has another token for this pass";
            return Err(Refusal::new(line, "authenticationToken", "", rule));
        }
        Some((pass, _)) => pass.clone(),
        None => {
            let create = Create {
                pass_type: name.0.clone(),
                template: name.1.clone(),
                serial: Some(name.2.clone()),
                fields: row.fields,
                user_info: row.user_info,
                expires: None,
            };
            let prepared = passes.prepare(create).map_err(|error| refusal(line, &name, &error))?;
            let pass = prepared.id.clone();
            known.insert(name, (pass.clone(), token.clone()));
            checked.passes.push(ImportedPass { line, pass: prepared, token });
            pass
        }
    };
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
