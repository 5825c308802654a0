//! From a pass's fields to the bytes that a phone opens.

use super::fault::Faults;
use super::identities::Identities;
#[cfg(test)]
use super::identity::SigningIdentity;
use super::issuer::Issuer;
use super::render::{PassContent, TOKEN_STAND_IN};
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
    identities: Identities,
}

impl Builder {
    /// A builder that signs with `identities`.
    #[must_use]
    pub fn new(issuer: Issuer, identities: impl Into<Identities>) -> Self {
        Self { issuer, identities: identities.into() }
    }

    /// Who issues.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// What it signs with.
    #[must_use]
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    /// The detached signature over a manifest, by the newest certificate that is valid now.
    ///
    /// # Errors
    /// [`BuildError::Sign`]: every certificate of the type has ended, or the signature failed.
    pub fn sign(&self, manifest: &[u8], now_ms: i64) -> Result<Vec<u8>, BuildError> {
        let identity = self.identities.signing(now_ms).ok_or_else(|| {
            BuildError::Sign(format!(
                "every certificate of {} has ended or has yet to begin: renew it in the developer account and replace the files",
                self.issuer.pass_type
            ))
        })?;
        identity.sign_detached(manifest, now_ms).map_err(|error| BuildError::Sign(error.to_string()))
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
        let signature = self.sign(&manifest, now_ms)?;
        Ok(archive::pack(template, &pass_json, &manifest, &signature)?)
    }
}

#[cfg(test)]
mod tests;
