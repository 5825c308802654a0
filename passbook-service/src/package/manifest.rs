//! `manifest.json`: SHA-1 of every file of the package but itself and the signature (Apple's form; the signature
//! over it uses SHA-256).

use super::sha1_hex;
use super::template::Template;

/// The manifest of a rendered pass, names in order.
pub(super) fn manifest(template: &Template, pass_json: &[u8]) -> Vec<u8> {
    let mut entries: Vec<(&str, String)> =
        template.files.iter().map(|(name, file)| (name.as_str(), file.sha1.clone())).collect();
    entries.push(("pass.json", sha1_hex(pass_json)));
    entries.sort();
    let object: serde_json::Map<_, _> =
        entries.into_iter().map(|(name, sha1)| (name.to_owned(), serde_json::Value::String(sha1))).collect();
    serde_json::Value::Object(object).to_string().into_bytes()
}
