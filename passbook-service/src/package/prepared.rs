//! What all packages of a template have in common, made once: the archive with the template's files, their directory
//! entries, and the manifest around the digest of `pass.json`.

use super::archive::{Entries, Method};
use super::sha1_hex;
use super::template::Template;

/// A template, ready for packing.
pub(super) struct Prepared {
    files: Entries,
    /// The manifest up to and after the digest of `pass.json`.
    manifest: (Vec<u8>, Vec<u8>),
}

impl Prepared {
    /// `signed_up`: without the files that ask the holder to sign up.
    ///
    /// # Errors
    /// The archive would be too large.
    pub(super) fn new(template: &Template, signed_up: bool) -> Result<Self, String> {
        let mut files = Entries::default();
        let mut named = vec![("pass.json", None)];
        for (name, file) in template.files.iter().filter(|(name, _)| !signed_up || !super::signup::is_signup(name)) {
            // Images do not shrink.
            let method = if name.ends_with(".png") { Method::Stored } else { Method::Deflated };
            files.add(name, &file.bytes, method)?;
            named.push((name, Some(file.sha1.as_str())));
        }
        named.sort_unstable();
        let mut manifest = (Vec::new(), Vec::new());
        let mut part = &mut manifest.0;
        part.push(b'{');
        for (index, (name, sha1)) in named.into_iter().enumerate() {
            if index > 0 {
                part.push(b',');
            }
            part.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
            part.extend_from_slice(b":\"");
            match sha1 {
                Some(sha1) => part.extend_from_slice(sha1.as_bytes()),
                None => part = &mut manifest.1,
            }
            part.push(b'"');
        }
        part.push(b'}');
        Ok(Self { files, manifest })
    }

    /// `manifest.json`: SHA-1 of every file of the package but itself and the signature (Apple's form; the signature over
    /// it uses SHA-256), names in order.
    pub(super) fn manifest(&self, pass_json: &[u8]) -> Vec<u8> {
        let (before, after) = &self.manifest;
        [before, sha1_hex(pass_json).as_bytes(), after].concat()
    }

    /// The `.pkpass`.
    ///
    /// # Errors
    /// The archive would be too large.
    pub(super) fn pack(&self, pass_json: &[u8], manifest: &[u8], signature: &[u8]) -> Result<Vec<u8>, String> {
        let own = [
            ("pass.json", pass_json, Method::Deflated),
            ("manifest.json", manifest, Method::Deflated),
            // Random bytes and certificates do not shrink enough to pay.
            ("signature", signature, Method::Stored),
        ];
        self.files.with(&own)
    }
}
