//! From a pass's fields to the bytes that a phone opens.

use super::fault::Faults;
use super::identity::SigningIdentity;
use super::render::{Issuer, PassContent, TOKEN_STAND_IN};
#[cfg(test)]
use super::sha1_hex;
use super::template::Template;
use super::{archive, hex, manifest};

/// A package that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The pass breaks Apple's rules; the caller can mend that.
    #[error("the pass breaks Apple's rules:\n{0}")]
    Invalid(Faults),
    /// Signing failed; the caller cannot mend that.
    #[error("the package cannot be signed: {0}")]
    Sign(String),
    /// Packing failed.
    #[error("the package cannot be packed: {0}")]
    Pack(#[from] zip::result::ZipError),
}

impl From<Faults> for BuildError {
    fn from(faults: Faults) -> Self {
        Self::Invalid(faults)
    }
}

/// Builds packages for one issuer.
pub struct Builder {
    issuer: Issuer,
    identity: SigningIdentity,
}

impl Builder {
    /// A builder that signs with `identity`.
    #[must_use]
    pub fn new(issuer: Issuer, identity: SigningIdentity) -> Self {
        Self { issuer, identity }
    }

    /// Who issues.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// What it signs with.
    #[must_use]
    pub fn identity(&self) -> &SigningIdentity {
        &self.identity
    }

    /// Hexadecimal SHA-256 of the manifest that the pass has with a stand-in for its token. Tokens never change,
    /// so two equal fingerprints mean two equal manifests.
    ///
    /// # Errors
    /// The rules that the pass breaks.
    pub fn fingerprint(&self, template: &Template, pass: PassContent<'_>) -> Result<String, Faults> {
        let pass_json = template.render(&self.issuer, pass, TOKEN_STAND_IN)?;
        let manifest = manifest::manifest(template, &pass_json);
        Ok(hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &manifest).as_ref()))
    }

    /// The signed `.pkpass`. Takes a fraction of a millisecond to a few; call it off the async threads.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(
        &self,
        template: &Template,
        pass: PassContent<'_>,
        token: &str,
        now_ms: i64,
    ) -> Result<Vec<u8>, BuildError> {
        let pass_json = template.render(&self.issuer, pass, token)?;
        let manifest = manifest::manifest(template, &pass_json);
        let signature =
            self.identity.sign_detached(&manifest, now_ms).map_err(|error| BuildError::Sign(error.to_string()))?;
        Ok(archive::pack(template, &pass_json, &manifest, &signature)?)
    }
}

#[cfg(test)]
mod tests;
