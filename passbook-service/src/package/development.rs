//! Certificates for development: a root, an intermediate in the place of Apple's WWDR, and a Pass Type ID certificate
//! (RSA-2048, UID and OU like the real one). No phone trusts them; simulators and `openssl` do, given the root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use super::identity::{CertificateFiles, SigningIdentity};

const UID: [u64; 7] = [0, 9, 2342, 19_200_300, 100, 1, 1];
/// Apple's extension that repeats the pass type identifier, and its extended key usage for passes.
const APPLE_PASS_TYPE: [u64; 8] = [1, 2, 840, 113_635, 100, 6, 1, 16];
const APPLE_PASS_USAGE: [u64; 7] = [1, 2, 840, 113_635, 100, 4, 14];
const LEAF_DAYS: i64 = 397;
const AUTHORITY_DAYS: i64 = 3650;

/// Where the development certificates lie. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevelopmentCertificates {
    /// The root: what a verifier (the APNs simulator, `openssl cms -verify -CAfile`) has to trust.
    pub root: PathBuf,
    /// The intermediate, in the place of Apple's WWDR certificate.
    pub intermediate: PathBuf,
    /// The Pass Type ID certificate, alone.
    pub certificate: PathBuf,
    /// The Pass Type ID certificate followed by the intermediate: what a TLS client sends to APNs.
    pub certificate_chain: PathBuf,
    /// The private key of the Pass Type ID certificate, PKCS #8, mode 0600.
    pub key: PathBuf,
}

/// Certificates that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentError {
    /// A file could not be read or written.
    #[error("development certificates: {place}: {error}. Check that the service's user may write there")]
    File {
        /// Which file or folder.
        place: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A certificate could not be made.
    #[error("development certificates: {0}. Remove the folder to have them made anew")]
    Certificate(#[from] rcgen::Error),
}

impl DevelopmentCertificates {
    /// The paths below a data folder, whether the files exist or not.
    #[must_use]
    pub fn paths(data: &Path) -> Self {
        let folder = data.join("wallet").join("certificates");
        Self {
            root: folder.join("root.pem"),
            intermediate: folder.join("intermediate.pem"),
            certificate: folder.join("pass.pem"),
            certificate_chain: folder.join("pass-chain.pem"),
            key: folder.join("pass.key"),
        }
    }

    /// The paths of a further type: root and intermediate are the same for all.
    #[must_use]
    pub fn paths_for(data: &Path, type_identifier: &str) -> Self {
        let first = Self::paths(data);
        let safe: String =
            type_identifier.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
        let folder = data.join("wallet").join("certificates");
        Self {
            certificate: folder.join(format!("{safe}.pem")),
            certificate_chain: folder.join(format!("{safe}-chain.pem")),
            key: folder.join(format!("{safe}.key")),
            ..first
        }
    }

    /// The files as the signing identity wants them.
    #[must_use]
    pub fn files(&self) -> CertificateFiles {
        CertificateFiles::Pem {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            intermediate: Some(self.intermediate.clone()),
        }
    }

    /// Makes what is missing, below `data`. The pass certificate is made anew when it is about to end or was
    /// made for another pass type or team; root and intermediate stay.
    ///
    /// # Errors
    /// When the folder cannot be written or holds something unusable.
    pub fn load_or_create(data: &Path, pass_type: &str, team: &str, now_ms: i64) -> Result<Self, DevelopmentError> {
        Self::create(Self::paths(data), pass_type, team, now_ms)
    }

    /// The same for a further type, beside the first one's files.
    ///
    /// # Errors
    /// As [`DevelopmentCertificates::load_or_create`].
    pub fn load_or_create_for(data: &Path, pass_type: &str, team: &str, now_ms: i64) -> Result<Self, DevelopmentError> {
        Self::create(Self::paths_for(data, pass_type), pass_type, team, now_ms)
    }

    fn create(paths: Self, pass_type: &str, team: &str, now_ms: i64) -> Result<Self, DevelopmentError> {
        let usable = |identity: SigningIdentity| identity.expires_soon(now_ms).is_none();
        if SigningIdentity::load(&paths.files(), pass_type, team, now_ms).is_ok_and(usable) && paths.root.exists() {
            return Ok(paths);
        }
        let now = OffsetDateTime::from_unix_timestamp(now_ms.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let folder = paths.root.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|error| DevelopmentError::File { place: folder.to_owned(), error })?;
        let intermediate_key = folder.join("intermediate.key");
        let (certificate, key) = match existing_authority(&paths, &intermediate_key, now_ms) {
            Some(authority) => authority,
            None => create_authorities(&paths, &intermediate_key, now)?,
        };
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)?;
        let leaf_key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let leaf = leaf(pass_type, team, now).signed_by(&leaf_key, &issuer)?.pem();
        write_secret(&paths.key, &leaf_key.serialize_pem())?;
        write(&paths.certificate_chain, &format!("{leaf}{certificate}"))?;
        write(&paths.certificate, &leaf)?;
        Ok(paths)
    }
}

fn existing_authority(paths: &DevelopmentCertificates, key: &Path, now_ms: i64) -> Option<(String, KeyPair)> {
    let certificate = fs::read_to_string(&paths.intermediate).ok()?;
    let key = KeyPair::from_pem(&fs::read_to_string(key).ok()?).ok()?;
    let der = <rustls_pki_types::CertificateDer<'_> as rustls_pki_types::pem::PemObject>::from_pem_slice(
        certificate.as_bytes(),
    )
    .ok()?;
    let (_, until) = super::certificate::Certificate::from_der(&der).ok()?.validity_ms();
    (paths.root.exists() && until > now_ms + LEAF_DAYS * super::DAY_MS).then_some((certificate, key))
}

fn create_authorities(
    paths: &DevelopmentCertificates,
    key_path: &Path,
    now: OffsetDateTime,
) -> Result<(String, KeyPair), DevelopmentError> {
    let root_key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let root_params = authority("Tidings development root", now, None);
    let root = root_params.self_signed(&root_key)?.pem();
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let issuer = Issuer::from_params(&root_params, root_key);
    let intermediate =
        authority("Tidings development Worldwide Developer Relations", now, Some(0)).signed_by(&key, &issuer)?.pem();
    // The root's key is not kept: nothing else is ever issued by it.
    write(&paths.root, &root)?;
    write_secret(key_path, &key.serialize_pem())?;
    write(&paths.intermediate, &intermediate)?;
    Ok((intermediate, key))
}

fn authority(name: &str, now: OffsetDateTime, path_length: Option<u8>) -> CertificateParams {
    let mut params = params(now, AUTHORITY_DAYS);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(pass_type: &str, team: &str, now: OffsetDateTime) -> CertificateParams {
    let mut params = params(now, LEAF_DAYS);
    params.distinguished_name.push(DnType::CustomDnType(UID.to_vec()), pass_type);
    params.distinguished_name.push(DnType::CommonName, format!("Pass Type ID: {pass_type}"));
    params.distinguished_name.push(DnType::OrganizationalUnitName, team);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::Other(APPLE_PASS_USAGE.to_vec())];
    // A UTF8String: tag, length, text. Identifiers are far shorter than the 127 bytes of the short form.
    if let Ok(length) = u8::try_from(pass_type.len())
        && length < 128
    {
        let content = [&[0x0c, length], pass_type.as_bytes()].concat();
        params.custom_extensions.push(CustomExtension::from_oid_content(&APPLE_PASS_TYPE, content));
    }
    params
}

fn params(now: OffsetDateTime, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Tidings development");
    // A clock that runs a little behind must not find the certificate in the future.
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(days);
    params.use_authority_key_identifier_extension = true;
    let mut serial = *uuid::Uuid::new_v4().as_bytes();
    serial[0] = (serial[0] & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn write(path: &Path, text: &str) -> Result<(), DevelopmentError> {
    fs::write(path, text).map_err(|error| DevelopmentError::File { place: path.to_owned(), error })
}

/// Writes a private key that only its owner can read, from its first byte on.
fn write_secret(path: &Path, text: &str) -> Result<(), DevelopmentError> {
    crate::secret_file::write(path, text.as_bytes())
        .map_err(|error| DevelopmentError::File { place: path.to_owned(), error })
}
