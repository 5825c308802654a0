//! From a pass's fields to the bytes that a phone opens.

use std::sync::{Arc, Mutex, PoisonError};

use tidings_shared::recent::Recent;

use super::fault::Faults;
use super::identities::Identities;
#[cfg(test)]
use super::identity::SigningIdentity;
use super::issuer::Issuer;
use super::render::{PassContent, TOKEN_STAND_IN};
#[cfg(test)]
use super::sha1_hex;
use super::template::Template;
use super::{hex, prepared::Prepared};

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
    Pack(String),
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
    /// By a template's digest and whether its holder has signed up.
    prepared: Mutex<Recent<(String, bool), Arc<Prepared>>>,
}

/// Templates that are kept ready for packing, in each of two generations.
const PREPARED: usize = 256;

impl Builder {
    /// A builder that signs with `identities`.
    #[must_use]
    pub fn new(issuer: Issuer, identities: impl Into<Identities>) -> Self {
        Self { issuer, identities: identities.into(), prepared: Mutex::new(Recent::new(PREPARED)) }
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
        let prepared = self.prepared(template, pass.state.personalized).map_err(|error| {
            let mut faults = Faults::default();
            faults.add(&template.name, "its files", error);
            faults
        })?;
        let manifest = prepared.manifest(&pass_json);
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
        // The rules were checked when the pass became what it is.
        let pass_json = template.render_again(&self.issuer, pass, token)?;
        let prepared = self.prepared(template, pass.state.personalized).map_err(BuildError::Pack)?;
        let manifest = prepared.manifest(&pass_json);
        let signature = self.sign(&manifest, now_ms)?;
        prepared.pack(&pass_json, &manifest, &signature).map_err(BuildError::Pack)
    }

    fn prepared(&self, template: &Template, signed_up: bool) -> Result<Arc<Prepared>, String> {
        let key = (template.digest.clone(), signed_up);
        let kept = || self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prepared) = kept().peek(&key) {
            return Ok(prepared.clone());
        }
        let made = Arc::new(Prepared::new(template, signed_up)?);
        Ok(kept().touch(key, || made).clone())
    }
}

#[cfg(test)]
mod tests;
