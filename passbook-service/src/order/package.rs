//! From an order's content to the bytes that a phone opens: `order.json`, the manifest (SHA-256), the signature, the archive.

use std::io::{Cursor, Write};

use anyhow::Context;
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, DateTime};

use super::template::OrderTemplate;
use super::{OrderError, validate};
use crate::package::{Builder, Faults, Issuer, hex};

/// Stands in for the token where only the rest of an order matters.
const TOKEN_STAND_IN: &str = "the-token-of-this-order-is-not-known-here";

/// What distinguishes one order from another.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// `orderIdentifier`.
    pub identifier: &'a str,
    /// Laid over the template's `order.json`.
    pub order: &'a Map<String, Value>,
    /// Seconds since 1970; `createdAt` unless the order says another.
    pub created_at: i64,
    /// Seconds since 1970: `updatedAt`, which strictly increases.
    pub updated_at: i64,
}

/// A value with a patch laid over it (RFC 7396).
#[must_use]
pub fn merged(value: &Value, patch: &Value) -> Value {
    let Some(patch) = patch.as_object() else { return patch.clone() };
    let mut merged_object = value.as_object().cloned().unwrap_or_default();
    for (key, part) in patch {
        if part.is_null() {
            merged_object.shift_remove(key);
        } else {
            let laid = merged(merged_object.get(key).unwrap_or(&Value::Null), part);
            merged_object.insert(key.clone(), laid);
        }
    }
    merged_object.into()
}

/// An order's own content with a patch laid over it: as [`merged`], but that a null stays where it takes away something
/// of the template, which would be there again without it.
#[must_use]
pub(super) fn patched(own: &Value, patch: &Value, template: &Value) -> Value {
    let Some(patch) = patch.as_object() else { return patch.clone() };
    let mut laid = own.as_object().cloned().unwrap_or_default();
    for (key, part) in patch {
        let below = template.get(key).unwrap_or(&Value::Null);
        if !part.is_null() {
            // What was taken away whole stays away, but for what comes new.
            let taken = laid.get(key).is_some_and(Value::is_null);
            let nulls = |below: &Map<String, Value>| below.keys().map(|key| (key.clone(), Value::Null)).collect();
            let old = match (taken, below.as_object()) {
                (true, Some(below)) => Value::Object(nulls(below)),
                _ => laid.get(key).cloned().unwrap_or_default(),
            };
            laid.insert(key.clone(), patched(&old, part, below));
        } else if below.is_null() {
            laid.shift_remove(key);
        } else {
            laid.insert(key.clone(), Value::Null);
        }
    }
    laid.into()
}

fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

impl OrderTemplate {
    /// `order.json`, byte for byte the same for the same input.
    fn render(&self, issuer: &Issuer, content: Content<'_>, token: &str) -> Result<Value, Faults> {
        let mut order = merged(&self.order, &Value::Object(content.order.clone()));
        if let Value::Object(order) = &mut order {
            order.entry("schemaVersion").or_insert(Value::from(1));
            order.entry("createdAt").or_insert(Value::String(date(content.created_at)));
            for (key, value) in [
                ("orderTypeIdentifier", issuer.pass_type.clone()),
                ("orderIdentifier", content.identifier.to_owned()),
                ("updatedAt", date(content.updated_at)),
                ("webServiceURL", issuer.web_service_url.clone()),
                ("authenticationToken", token.to_owned()),
            ] {
                order.insert(key.to_owned(), Value::String(value));
            }
        }
        let images = |name: &str| {
            self.files.contains_key(name) || self.files.keys().any(|file| file.rsplit('/').next() == Some(name))
        };
        validate::order(&order, issuer.rules, &images)?;
        Ok(order)
    }

    /// `order.json` with a stand-in for its token.
    ///
    /// # Errors
    /// The rules that the order breaks.
    pub fn rendered(&self, issuer: &Issuer, content: Content<'_>) -> Result<Value, Faults> {
        self.render(issuer, content, TOKEN_STAND_IN)
    }

    /// Hexadecimal SHA-256 of the manifest that the order has with stand-ins for its token and for `updatedAt`: equal
    /// fingerprints mean that nothing changed.
    ///
    /// # Errors
    /// The rules that the order breaks.
    pub fn fingerprint(&self, issuer: &Issuer, content: Content<'_>) -> Result<String, Faults> {
        let order = self.render(issuer, Content { updated_at: 0, ..content }, TOKEN_STAND_IN)?;
        Ok(hex(digest(&SHA256, &self.manifest(order.to_string().as_bytes())).as_ref()))
    }

    fn manifest(&self, order: &[u8]) -> Vec<u8> {
        let own = [("order.json".to_owned(), hex(digest(&SHA256, order).as_ref()))];
        let mut entries: Vec<(String, String)> =
            self.files.iter().map(|(name, file)| (name.clone(), file.sha256.clone())).chain(own).collect();
        entries.sort();
        let object: Map<String, Value> = entries.into_iter().map(|(name, hash)| (name, hash.into())).collect();
        Value::Object(object).to_string().into_bytes()
    }

    /// The signed package.
    pub(super) fn pack(
        &self,
        builder: &Builder,
        content: Content<'_>,
        token: &str,
        now_ms: i64,
    ) -> Result<Vec<u8>, OrderError> {
        let order =
            self.render(builder.issuer(), content, token).map_err(OrderError::Invalid)?.to_string().into_bytes();
        let manifest = self.manifest(&order);
        let signature = builder.sign(&manifest, now_ms).map_err(|error| anyhow::anyhow!("{error}"))?;
        let packed = self.archive(&[("order.json", &order), ("manifest.json", &manifest), ("signature", &signature)]);
        Ok(packed.context("the order cannot be packed")?)
    }

    fn archive(&self, texts: &[(&str, &[u8])]) -> zip::result::ZipResult<Vec<u8>> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        // A fixed date: the same order gives the same bytes but for the signature's time.
        let options = SimpleFileOptions::default().last_modified_time(DateTime::default()).unix_permissions(0o644);
        for (name, bytes) in texts {
            archive.start_file(*name, options.compression_method(CompressionMethod::Deflated))?;
            archive.write_all(bytes)?;
        }
        for (name, file) in &self.files {
            archive.start_file(name.as_str(), options.compression_method(CompressionMethod::Stored))?;
            archive.write_all(&file.bytes)?;
        }
        Ok(archive.finish()?.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_is_laid_over_as_rfc_7396_says() {
        // The cases of the RFC's appendix A that differ in kind.
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"a": "foo"}), json!({"a": {"b": "c"}}), json!({"a": {"b": "c"}})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(merged(&target, &patch), result);
        }
    }

    #[test]
    fn what_comes_from_the_template_can_be_taken_away_and_stays_away() {
        let template = json!({"note": "t", "merchant": {"name": "t", "logo": "t.png"}});
        let mut own = json!({});
        let mut seen = template.clone();
        for patch in [
            json!({"note": null, "merchant": {"logo": null}}),
            json!({"status": "open"}),
            json!({"status": null, "merchant": {"name": "own"}}),
            json!({"merchant": null}),
            json!({"merchant": {"url": "u"}}),
            json!({"note": "back"}),
        ] {
            own = patched(&own, &patch, &template);
            seen = merged(&seen, &patch);
            assert_eq!(merged(&template, &own), seen, "after {patch}");
        }
        assert_eq!(patched(&json!({"a": 1}), &json!({"a": null, "b": null}), &template), json!({}));
    }
}
