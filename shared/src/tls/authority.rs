//! The certificate authority of a development machine: made at the first start, kept in the data folder.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::TlsError;

/// Signs server certificates for one machine. Nobody should trust it elsewhere.
#[derive(Debug)]
pub struct DevAuthority {
    folder: PathBuf,
    certificate: String,
    key: String,
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The key, readable by its owner alone.
    pub key: PathBuf,
}

impl DevAuthority {
    /// Reads `ca.pem` and `ca.key` from a folder, or makes them.
    ///
    /// # Errors
    /// When the folder cannot be written or the files cannot be used.
    pub fn load_or_create(folder: &Path) -> Result<Self, TlsError> {
        fs::create_dir_all(folder)
            .map_err(|error| TlsError::new(folder, format!("the folder cannot be made: {error}")))?;
        let (certificate_file, key_file) = (folder.join("ca.pem"), folder.join("ca.key"));
        if !certificate_file.exists() || !key_file.exists() {
            let fault = |error: rcgen::Error| TlsError::new(&certificate_file, error.to_string());
            let key = KeyPair::generate().map_err(fault)?;
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "Tidings development authority");
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let certificate = params.self_signed(&key).map_err(fault)?;
            write_private(&key_file, &key.serialize_pem())?;
            write(&certificate_file, &certificate.pem())?;
        }
        let read = |file: &Path| {
            fs::read_to_string(file).map_err(|error| TlsError::new(file, format!("the file cannot be read: {error}")))
        };
        Ok(Self { certificate: read(&certificate_file)?, key: read(&key_file)?, folder: folder.to_owned() })
    }

    /// The authority's certificate, which clients must trust.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A server certificate for these DNS names and IP addresses, kept as `NAME.pem` and `NAME.key`. One that exists
    /// for the same names is used again.
    ///
    /// # Errors
    /// When a name is none, or the files cannot be written.
    pub fn issue_server(&self, name: &str, names: &[&str]) -> Result<Issued, TlsError> {
        self.issue(name, names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate, kept as `NAME.pem` and `NAME.key`.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn issue_client(&self, name: &str) -> Result<Issued, TlsError> {
        self.issue(name, &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, name: &str, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Result<Issued, TlsError> {
        let issued = Issued {
            certificate: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
        };
        let names_file = self.folder.join(format!("{name}.names"));
        let wanted = names.join("\n");
        let same = fs::read_to_string(&names_file).is_ok_and(|found| found == wanted);
        if same && issued.certificate.exists() && issued.key.exists() {
            return Ok(issued);
        }
        let fault = |error: rcgen::Error| TlsError::new(&issued.certificate, error.to_string());
        let authority_key = KeyPair::from_pem(&self.key).map_err(fault)?;
        let authority = Issuer::from_ca_cert_pem(&self.certificate, authority_key).map_err(fault)?;
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).map_err(fault)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(fault)?;
        let certificate = params.signed_by(&key, &authority).map_err(fault)?;
        write_private(&issued.key, &key.serialize_pem())?;
        write(&issued.certificate, &format!("{}{}", certificate.pem(), self.certificate))?;
        write(&names_file, &wanted)?;
        Ok(issued)
    }
}

fn write(file: &Path, text: &str) -> Result<(), TlsError> {
    fs::write(file, text).map_err(|error| TlsError::new(file, format!("the file cannot be written: {error}")))
}

/// Writes a file that only its owner may read (mode 0600), also when it existed with other rights.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(file: &Path, text: &str) -> Result<(), TlsError> {
    let fault = |error: std::io::Error| TlsError::new(file, format!("the file cannot be written: {error}"));
    let mut handle =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file).map_err(fault)?;
    handle.set_permissions(fs::Permissions::from_mode(0o600)).map_err(fault)?;
    handle.write_all(text.as_bytes()).map_err(fault)
}
