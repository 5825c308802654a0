//! The signing identity: key, Pass Type ID certificate and intermediate, loaded from PEM, DER or PKCS #12 files, and
//! the checks that keep a service from starting that would sign passes which no phone accepts.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use p12_keystore::Pkcs12Archive;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::{Certificate, DAY_MS};
use super::sign::Form;

/// From this many days before its end a certificate is warned about.
const WARN_DAYS: i64 = 30;

/// Where the signing identity lies.
#[derive(Clone)]
pub enum CertificateFiles {
    /// Separate files, PEM (or DER for certificates).
    Pem {
        /// The Pass Type ID certificate; may be followed by its intermediate.
        certificate: PathBuf,
        /// Its private key, PKCS #8 or PKCS #1, not encrypted.
        key: PathBuf,
        /// Apple's WWDR certificate, when it is not in `certificate`.
        intermediate: Option<PathBuf>,
    },
    /// One `.p12` file, as exported from Keychain Access; old encryption is read too.
    Pkcs12 {
        /// The file.
        file: PathBuf,
        /// Its password; may be empty.
        password: String,
        /// Apple's WWDR certificate, which Keychain Access leaves out.
        intermediate: Option<PathBuf>,
    },
}

/// What signs the passes of one pass type.
pub struct SigningIdentity {
    pub(super) key: RsaKeyPair,
    pub(super) certificate: Certificate,
    /// Intermediates, nearest first, without the root.
    pub(super) chain: Vec<Certificate>,
    /// When all of them are valid: from and until, ms since 1970.
    valid_ms: (i64, i64),
    /// What all of its signatures have in common.
    pub(super) form: Option<Form>,
}

/// Checks that failed at start, each with what was found and what to do.
#[derive(Debug, Default)]
pub struct IdentityError(Vec<(&'static str, String, String)>);

impl IdentityError {
    pub(super) fn one(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self(vec![(check, found.into(), remedy.into())])
    }

    fn add(&mut self, check: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.0.push((check, found.into(), remedy.into()));
    }

    /// Takes over the failed checks of the certificate that a table of the configuration names.
    pub(super) fn extend(&mut self, place: &str, other: Self) {
        self.0.extend(other.0.into_iter().map(|(check, found, remedy)| (check, format!("{place}: {found}"), remedy)));
    }

    /// `Ok` when no check failed.
    pub(super) fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The names of the failed checks.
    #[must_use]
    pub fn checks(&self) -> Vec<&'static str> {
        self.0.iter().map(|(check, ..)| *check).collect()
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the signing certificate cannot be used:")?;
        for (check, found, remedy) in &self.0 {
            write!(f, "\n  check \"{check}\" failed: {found}. What to do: {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for IdentityError {}

const GET_WWDR: &str = "download the Apple WWDR certificate that issued yours (apple.com/certificateauthority, usually G4) and set wallet.signing.intermediate";

impl SigningIdentity {
    /// Reads the files and runs all checks.
    ///
    /// # Errors
    /// Every check that failed: which, what was found, what to do.
    pub fn load(files: &CertificateFiles, pass_type: &str, team: &str, now_ms: i64) -> Result<Self, IdentityError> {
        let identity = Self::read(files)?;
        let mut failed = identity.check(pass_type, team);
        failed.0.extend(identity.check_time(now_ms).err().unwrap_or_default().0);
        failed.into_result()?;
        Ok(identity)
    }

    /// As [`SigningIdentity::load`], but a certificate that has ended or has yet to begin is taken too.
    ///
    /// # Errors
    /// Every other check that failed.
    pub fn load_at_any_time(files: &CertificateFiles, pass_type: &str, team: &str) -> Result<Self, IdentityError> {
        let identity = Self::read(files)?;
        identity.check(pass_type, team).into_result()?;
        Ok(identity)
    }

    /// From and until when every certificate of the chain is valid, ms since 1970.
    #[must_use]
    pub fn valid_ms(&self) -> (i64, i64) {
        self.valid_ms
    }

    /// Whether it may sign at this time.
    #[must_use]
    pub fn is_valid(&self, now_ms: i64) -> bool {
        (self.valid_ms.0..=self.valid_ms.1).contains(&now_ms)
    }

    /// Hexadecimal SHA-256 of the certificate: what `openssl x509 -fingerprint -sha256` shows, without colons.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        super::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.certificate.der()).as_ref())
    }

    /// Who issued the certificate: the issuer's common name.
    #[must_use]
    pub fn issuer_name(&self) -> String {
        self.certificate.issuer_name()
    }

    /// Whole days until the certificate ends, when that is near enough to warn about it.
    #[must_use]
    pub fn expires_soon(&self, now_ms: i64) -> Option<i64> {
        let days = (self.expires_at_ms() - now_ms).div_euclid(DAY_MS);
        (days < WARN_DAYS).then_some(days)
    }

    /// When the first certificate of the chain ends, ms since 1970.
    #[must_use]
    pub fn expires_at_ms(&self) -> i64 {
        self.valid_ms.1
    }

    /// The certificate's common name.
    #[must_use]
    pub fn name(&self) -> String {
        self.certificate.name()
    }

    fn read(files: &CertificateFiles) -> Result<Self, IdentityError> {
        let (key, mut certificates, intermediate) = match files {
            CertificateFiles::Pem { certificate, key, intermediate } => {
                (read_key(key)?, read_certificates(certificate)?, intermediate)
            }
            CertificateFiles::Pkcs12 { file, password, intermediate } => {
                let (key, certificates) = read_pkcs12(file, password)?;
                (key, certificates, intermediate)
            }
        };
        let public = key.public_key().as_ref().to_vec();
        let Some(position) = certificates.iter().position(|certificate| certificate.public_key() == public) else {
            let found = match certificates.first() {
                Some(first) => format!("the private key does not belong to the certificate \"{}\"", first.name()),
                None => "there is a private key but no certificate".to_owned(),
            };
            return Err(IdentityError::one(
                "key matches certificate",
                found,
                "use the key that made the certificate signing request, or export certificate and key together as .p12",
            ));
        };
        let certificate = certificates.remove(position);
        if let Some(intermediate) = intermediate {
            certificates.extend(read_certificates(intermediate)?);
        }
        let chain = chain_of(&certificate, &certificates);
        let valid_ms = std::iter::once(&certificate)
            .chain(&chain)
            .map(Certificate::validity_ms)
            .fold((i64::MIN, i64::MAX), |(latest, earliest), (from, until)| (latest.max(from), earliest.min(until)));
        let mut identity = Self { key, certificate, chain, valid_ms, form: None };
        // Without it each signature is made from its beginning, which only costs time.
        identity.form = Form::new(&identity).ok();
        Ok(identity)
    }

    fn check(&self, pass_type: &str, team: &str) -> IdentityError {
        let mut failed = IdentityError::default();
        let name = self.certificate.name();
        match self.certificate.uid() {
            Some(uid) if uid == pass_type => {}
            found => failed.add(
                "pass type",
                format!("the UID of \"{name}\" is {}, the configured pass type is \"{pass_type}\"", quoted(found)),
                "set wallet.pass_type to the certificate's UID, or use the certificate of that pass type",
            ),
        }
        match self.certificate.team() {
            Some(found) if found == team => {}
            found => failed.add(
                "team",
                format!("the OU of \"{name}\" is {}, the configured team is \"{team}\"", quoted(found)),
                "set wallet.team to the certificate's OU, or use a certificate of that team",
            ),
        }
        if self.chain.is_empty() {
            failed.add(
                "chain complete",
                format!("the issuer of \"{name}\", \"{}\", is missing", self.certificate.issuer_name()),
                GET_WWDR,
            );
        }
        failed
    }

    /// That every certificate of the chain is valid at this time.
    ///
    /// # Errors
    /// Names those that are not, and what to do.
    pub(super) fn check_time(&self, now_ms: i64) -> Result<(), IdentityError> {
        let mut failed = IdentityError::default();
        for part in std::iter::once(&self.certificate).chain(&self.chain) {
            let (from, until) = part.validity_ms();
            if now_ms > until {
                failed.add(
                    "not expired",
                    format!("\"{}\" ended on {}", part.name(), day(until)),
                    "renew it in the developer account and replace the files",
                );
            } else if now_ms < from {
                failed.add(
                    "not expired",
                    format!("\"{}\" is valid only from {}", part.name(), day(from)),
                    "check the clock of this machine",
                );
            }
        }
        failed.into_result()
    }
}

/// The intermediates from the certificate upwards, without a root.
fn chain_of(certificate: &Certificate, others: &[Certificate]) -> Vec<Certificate> {
    let mut chain: Vec<Certificate> = Vec::new();
    let mut last = certificate;
    while let Some(issuer) = others.iter().find(|other| last.is_issued_by(other)) {
        if issuer.is_self_issued() || chain.contains(issuer) {
            break;
        }
        chain.push(issuer.clone());
        last = issuer;
    }
    chain
}

fn quoted(text: Option<String>) -> String {
    text.map_or_else(|| "missing".to_owned(), |text| format!("\"{text}\""))
}

fn day(ms: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000))
        .map_or_else(|_| ms.to_string(), |time| time.date().to_string())
}

fn read_file(path: &Path) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(path).map_err(|error| {
        IdentityError::one(
            "readable",
            format!("{}: {error}", path.display()),
            "check the path and that the service's user may read it",
        )
    })
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate>, IdentityError> {
    let bytes = read_file(path)?;
    let refused = |found: String| {
        IdentityError::one(
            "certificate",
            format!("{}: {found}", path.display()),
            "give an X.509 certificate as PEM or DER (.pem, .cer)",
        )
    };
    // Apple hands certificates out as DER.
    if !bytes.windows(10).any(|window| window == b"-----BEGIN") {
        return Ok(vec![Certificate::from_der(&bytes).map_err(refused)?]);
    }
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(&bytes) {
        let der = der.map_err(|error| refused(format!("broken PEM ({error})")))?;
        certificates.push(Certificate::from_der(&der).map_err(refused)?);
    }
    if certificates.is_empty() {
        return Err(refused("PEM without a CERTIFICATE section".to_owned()));
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> Result<RsaKeyPair, IdentityError> {
    let bytes = read_file(path)?;
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("ENCRYPTED") {
        return Err(IdentityError::one(
            "private key",
            format!("{} is encrypted", path.display()),
            "give the .p12 file with its password instead, or decrypt it: openssl pkcs8 -in KEY -out PLAIN",
        ));
    }
    let der = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        IdentityError::one(
            "private key",
            format!("{}: no private key in PEM ({error})", path.display()),
            "give the private key of the certificate as PEM",
        )
    })?;
    rsa(der.secret_der(), &path.display().to_string())
}

fn rsa(der: &[u8], place: &str) -> Result<RsaKeyPair, IdentityError> {
    RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).map_err(|error| {
        IdentityError::one(
            "private key",
            format!("{place}: not a usable RSA key ({error})"),
            "Pass Type ID certificates use RSA keys of 2048 bits or more: make the signing request with such a key",
        )
    })
}

fn read_pkcs12(path: &Path, password: &str) -> Result<(RsaKeyPair, Vec<Certificate>), IdentityError> {
    let place = path.display().to_string();
    let archive = Pkcs12Archive::from_pkcs12(&read_file(path)?, password).map_err(|error| {
        IdentityError::one(
            ".p12 file",
            format!("{place}: {error}"),
            "check wallet.signing.p12_password and that the file is a PKCS #12 export",
        )
    })?;
    let [key] = archive.keys.as_slice() else {
        return Err(IdentityError::one(
            ".p12 file",
            format!("{place}: {} private keys", archive.keys.len()),
            "export exactly one certificate together with its private key",
        ));
    };
    let mut certificates = Vec::new();
    for bag in &archive.certs {
        let certificate = Certificate::from_der(bag.cert.as_der()).map_err(|found| {
            IdentityError::one(".p12 file", format!("{place}: {found}"), "export the certificate again")
        })?;
        certificates.push(certificate);
    }
    Ok((rsa(key.key.as_der(), &place)?, certificates))
}

#[cfg(test)]
mod tests;
