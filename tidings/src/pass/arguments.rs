//! What can be typed after `tidings pass`. Rooms with many arguments keep theirs in their own file.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use tidings_shared::config::Settings;

use crate::door::Where;

/// What the passbook-service is asked.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PassCommand {
    /// Begin, check, upload and list templates.
    #[command(subcommand)]
    Template(super::template::TemplateCommand),
    /// Make a pass.
    Issue(super::issue::IssueArgs),
    /// Show a pass, or what is in a .pkpass file. Ends with 1 when the file breaks a rule.
    Show(ShowArgs),
    /// Change a pass: its fields one by one.
    Update(super::change::UpdateArgs),
    /// Make a pass void, or valid again.
    Void(super::change::VoidArgs),
    /// Let a pass end.
    Expire(super::change::ExpireArgs),
    /// Change every pass that a query finds.
    Bulk(super::bulk::BulkArgs),
    /// List what a pass was.
    History(super::history::HistoryArgs),
    /// Say what differs between two versions of a pass.
    Diff(super::history::DiffArgs),
    /// Make a link to a page with "Add to Apple Wallet".
    Link(super::give::LinkArgs),
    /// Write several passes into one .pkpasses file, ten at most.
    Bundle(super::give::BundleArgs),
    /// Draw a template, a .pkpass file or a pass, front and back, as SVG.
    Preview(super::preview::PreviewArgs),
    /// Show which certificates sign, and until when.
    Certificates(super::certificates::CertificatesArgs),
    /// Google Wallet: save links, and what Google was told.
    #[command(subcommand)]
    Google(super::google::GoogleCommand),
    /// Push to many devices, as fast as the service bears their answers.
    #[command(subcommand)]
    Campaign(super::campaign::CampaignCommand),
    /// Take over another provider's passes, tokens and registrations. The same file again goes on where it stopped.
    Import(Box<super::import::ImportArgs>),
    /// Count devices by when they were last heard of.
    Devices(super::devices::DevicesArgs),
    /// What devices complain of, what it means and what to do. Ends with 1 while they complain of something.
    Diagnose(super::devices::DiagnoseArgs),
    /// Orders of Apple's order tracking.
    #[command(subcommand)]
    Order(super::order::OrderCommand),
    /// Print the OpenAPI document of the passbook-service.
    Openapi,
}

/// A pass's name.
#[derive(Clone, Debug, Args)]
pub(crate) struct PassName {
    /// The serial number.
    pub(crate) serial: String,
    /// The pass type identifier (default: `wallet.pass_type`).
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) pass_type: Option<String>,
}

impl PassName {
    /// The pass type: what was typed, else the configuration's.
    pub(crate) fn pass_type(&self, settings: &Settings) -> String {
        self.pass_type.clone().unwrap_or_else(|| settings.text("wallet.pass_type"))
    }
}

/// Which pass is shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) pass: PassName,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) at: Where,
}

/// Values of fields, and the rest of a change.
#[derive(Clone, Debug, Args)]
pub(crate) struct Change {
    /// A field's new value (may be repeated): numbers, true and false are told as such, anything else as text.
    #[arg(long = "field", value_name = "NAME=VALUE")]
    pub(crate) fields: Vec<String>,
    /// Take a field away (may be repeated).
    #[arg(long, value_name = "NAME")]
    pub(crate) unset: Vec<String>,
    /// A JSON object with values of fields; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) fields_from: Option<PathBuf>,
    /// A new `userInfo` (JSON; null takes it away).
    #[arg(long, value_name = "JSON")]
    pub(crate) user_info: Option<String>,
}

impl Change {
    /// The fields, with null for those that go.
    pub(super) fn fields(&self) -> anyhow::Result<Map<String, Value>> {
        let mut fields = match &self.fields_from {
            Some(file) => {
                let text = if file.as_os_str() == "-" {
                    std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?
                } else {
                    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?
                };
                match serde_json::from_str(&text) {
                    Ok(Value::Object(fields)) => fields,
                    _ => bail!("{}: a JSON object belongs here, for example {{\"points\": 12}}", file.display()),
                }
            }
            None => Map::new(),
        };
        fields.extend(pairs(&self.fields)?);
        fields.extend(self.unset.iter().map(|name| (name.clone(), Value::Null)));
        Ok(fields)
    }

    /// As the service wants it.
    pub(super) fn body(&self) -> anyhow::Result<Map<String, Value>> {
        let mut body = Map::new();
        let fields = self.fields()?;
        if !fields.is_empty() {
            body.insert("fields".to_owned(), Value::Object(fields));
        }
        if let Some(text) = &self.user_info {
            body.insert("userInfo".to_owned(), serde_json::from_str(text).context("--user-info is no JSON")?);
        }
        Ok(body)
    }
}

/// `NAME=VALUE` as fields.
pub(super) fn pairs(pairs: &[String]) -> anyhow::Result<Map<String, Value>> {
    // As it would be written: a `Value` compared with a text is equal to a JSON string only.
    let written = |value: &Value| value.to_string();
    let pair = |pair: &String| {
        let (name, text) = pair.split_once('=').with_context(|| format!("--field is NAME=VALUE; found \"{pair}\""))?;
        let value = match serde_json::from_str(text) {
            // A code like 12e4, or one of more digits than a number holds, stays as it was typed.
            Ok(value @ (Value::Number(_) | Value::Bool(_))) if written(&value) == text => value,
            _ => Value::from(text),
        };
        Ok((name.to_owned(), value))
    };
    pairs.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_keep_their_kind_and_taken_fields_are_null() {
        let change = Change {
            fields: vec!["points=12".to_owned(), "name=Ada = B".to_owned(), "vip=true".to_owned(), "n=null".to_owned()],
            unset: vec!["offer".to_owned()],
            fields_from: None,
            user_info: Some("null".to_owned()),
        };
        let expected = json!({"fields": {"points": 12, "name": "Ada = B", "vip": true, "n": "null", "offer": null}, "userInfo": null});
        assert_eq!(Value::Object(change.body().unwrap()), expected);
        for text in ["12345678901234567890123", "12e4", "007", "1.50"] {
            assert_eq!(pairs(&[format!("code={text}")]).unwrap()["code"], text);
        }
        assert!(pairs(&["novalue".to_owned()]).is_err());
    }
}
