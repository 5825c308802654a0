//! TLS of a server whose files may change while it runs: new connections get the new certificate, open ones stay.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use x509_cert::der::Decode;

use super::{ClientCertificates, TlsError, certificates, read, server_config, server_config_with_client_roots};

/// The TLS that a server has now. Cheap to clone; clones change together.
#[derive(Clone)]
pub struct ServerTls(Arc<ArcSwap<ServerConfig>>);

/// Where a server's TLS comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: who may sign certificates of clients, and whether clients must have one.
    pub client_roots: Option<(PathBuf, ClientCertificates)>,
}

/// TLS made from files, and what is known about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Arc<ServerConfig>,
    /// When the first of the chain's certificates expires, ms since 1970.
    pub expires_at_ms: i64,
}

/// What stood in the files, as one comparable value.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents(Vec<Vec<u8>>);

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One of them is a private key.
        write!(f, "Contents({} files)", self.0.len())
    }
}

impl From<Arc<ServerConfig>> for ServerTls {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(ArcSwap::new(config)))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

impl ServerTls {
    /// For the next connection.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }

    /// From now on new connections get this.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }
}

impl TlsFiles {
    /// Makes TLS from the files as they are now. Reads files: not on a runtime's thread once it serves.
    ///
    /// # Errors
    /// The file that cannot be used, what is wrong with it and what to do.
    pub fn load(&self, alpn: &[&[u8]]) -> Result<Loaded, TlsError> {
        let config = match &self.client_roots {
            None => server_config(&self.certificate, &self.key, alpn)?,
            Some((roots, demand)) => {
                let roots = std::slice::from_ref(roots);
                server_config_with_client_roots(&self.certificate, &self.key, alpn, roots, *demand)?
            }
        };
        let chain = certificates(&self.certificate)?;
        let first = chain.iter().filter_map(|certificate| expires_at_ms(certificate)).min();
        let unreadable = || TlsError::new(&self.certificate, "the certificate's end of validity cannot be read");
        Ok(Loaded { config, expires_at_ms: first.ok_or_else(unreadable)? })
    }

    /// What stands in the files now.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn contents(&self) -> Result<Contents, TlsError> {
        let roots = self.client_roots.as_ref().map(|(file, _)| file.as_path());
        let files = [Some(self.certificate.as_path()), Some(self.key.as_path()), roots];
        files.into_iter().flatten().map(read).collect::<Result<_, _>>().map(Contents)
    }

    /// The certificate's file, for people.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }
}

/// The end of a certificate's validity (its `notAfter`), ms since 1970; `None` when it is no certificate.
#[must_use]
pub fn expires_at_ms(der: &[u8]) -> Option<i64> {
    let certificate = x509_cert::Certificate::from_der(der).ok()?;
    i64::try_from(certificate.tbs_certificate.validity.not_after.to_unix_duration().as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::DevAuthority;

    #[test]
    fn the_end_of_validity_is_read_and_contents_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        let authority = DevAuthority::load_or_create(folder.path()).unwrap();
        let issued = authority.issue_server("a", &["localhost"]).unwrap();
        let files = TlsFiles {
            certificate: issued.certificate.clone(),
            key: issued.key.clone(),
            client_roots: Some((authority.certificate(), ClientCertificates::Optional)),
        };
        let loaded = files.load(&[b"mqtt"]).unwrap();
        // rcgen's certificates are good until 4096 unless it is told otherwise.
        assert_eq!(loaded.expires_at_ms, 67_090_118_400_000);
        let before = files.contents().unwrap();
        assert_eq!(before, files.contents().unwrap());
        std::fs::write(&issued.key, "no key").unwrap();
        assert_ne!(before, files.contents().unwrap());
        assert!(files.load(&[]).unwrap_err().to_string().contains("no private key"));
        assert!(!format!("{before:?}").contains("PRIVATE"));
        assert_eq!(expires_at_ms(b"x"), None);
    }
}
