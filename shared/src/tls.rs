//! TLS from files, and the certificates of a development machine. rustls with aws-lc-rs is the only TLS stack.

mod authority;
mod reload;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub use authority::{DevAuthority, Issued, write_private};
pub use reload::{Contents, Loaded, ServerTls, TlsFiles, expires_at_ms};

/// Why TLS could not be set up: which file, what is wrong, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct TlsError {
    file: String,
    problem: String,
}

impl TlsError {
    pub(crate) fn new(file: &Path, problem: impl Into<String>) -> Self {
        Self { file: file.display().to_string(), problem: problem.into() }
    }
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Who has one shows it; it must be good. Who has none connects without.
    Optional,
    /// Who has none does not get in.
    Required,
}

/// Makes aws-lc-rs the provider of every TLS user in this process. Safe to call often.
pub fn install_provider() {
    // An error means that a provider is installed already, which is what we want.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// A server's TLS (1.2 and 1.3) from PEM files: the certificate chain, leaf first, and its key.
///
/// # Errors
/// A file that is missing or no PEM, a key that does not fit the certificate, a certificate that has expired.
pub fn server_config(certificate: &Path, key: &Path, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
    install_provider();
    with_identity(ServerConfig::builder().with_no_client_auth(), certificate, key, alpn)
}

/// As [`server_config`], for a server that asks for client certificates, which must chain to one of `roots`.
///
/// # Errors
/// As [`server_config`]; also when `roots` cannot be used.
pub fn server_config_with_client_roots(
    certificate: &Path,
    key: &Path,
    alpn: &[&[u8]],
    roots: &[PathBuf],
    demand: ClientCertificates,
) -> Result<Arc<ServerConfig>, TlsError> {
    install_provider();
    let mut store = RootCertStore::empty();
    for file in roots {
        add_roots(&mut store, file)?;
    }
    let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(store));
    let verifier = match demand {
        ClientCertificates::Optional => verifier.allow_unauthenticated(),
        ClientCertificates::Required => verifier,
    };
    let place = roots.first().map_or(certificate, PathBuf::as_path);
    let verifier =
        verifier.build().map_err(|error| TlsError::new(place, format!("the client roots cannot be used: {error}")))?;
    with_identity(ServerConfig::builder().with_client_cert_verifier(verifier), certificate, key, alpn)
}

fn with_identity(
    builder: rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
    certificate: &Path,
    key: &Path,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = builder
        .with_single_cert(certificates(certificate)?, private_key(key)?)
        .map_err(|error| TlsError::new(certificate, unfit(key, &error)))?;
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // A handshake without session tickets costs less than half of one with them, and no memory afterwards; and nobody
    // comes in on a session that an exchanged certificate has ended.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// A client's TLS: trusts the system's certificates (and `ca`), presents `identity` (certificate chain, key).
///
/// # Errors
/// A file that cannot be used.
pub fn client_config(
    ca: Option<&Path>,
    identity: Option<(&Path, &Path)>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    install_provider();
    let mut store = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(system.certs);
    if let Some(file) = ca {
        add_roots(&mut store, file)?;
    }
    let builder = ClientConfig::builder().with_root_certificates(store);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|error| TlsError::new(certificate, unfit(key, &error)))?,
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// When the file cannot be read or has none.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(TlsError::new(file, "no certificate is in this file; it must be PEM (-----BEGIN CERTIFICATE-----)")),
    }
}

/// The private key of a PEM file.
///
/// # Errors
/// When the file cannot be read or has none.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|_| {
        TlsError::new(file, "no private key is in this file; it must be PEM (-----BEGIN PRIVATE KEY-----)")
    })
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|error| TlsError::new(file, format!("the file cannot be read: {error}")))
}

fn add_roots(store: &mut RootCertStore, file: &Path) -> Result<(), TlsError> {
    for certificate in certificates(file)? {
        store
            .add(certificate)
            .map_err(|error| TlsError::new(file, format!("a certificate cannot be trusted: {error}")))?;
    }
    Ok(())
}

fn unfit(key: &Path, error: &rustls::Error) -> String {
    format!("the certificate cannot be used with the key {}: {error}", key.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let authority = DevAuthority::load_or_create(folder.path()).unwrap();
        let issued = authority.issue_server("a", &["localhost"]).unwrap();
        let other = authority.issue_server("b", &["localhost"]).unwrap();
        assert!(server_config(&issued.certificate, &issued.key, &[b"mqtt"]).is_ok());
        let text = |result: Result<Arc<ServerConfig>, TlsError>| result.unwrap_err().to_string();
        let missing = folder.path().join("missing.pem");
        assert!(text(server_config(&missing, &issued.key, &[])).contains("missing.pem: the file cannot be read"));
        assert!(text(server_config(&issued.key, &issued.key, &[])).contains("no certificate is in this file"));
        assert!(text(server_config(&issued.certificate, &issued.certificate, &[])).contains("no private key"));
        assert!(text(server_config(&issued.certificate, &other.key, &[])).contains("cannot be used with the key"));
    }
}
