//! The certificate under which the simulators' TLS doors are served.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;

/// A certificate chain and its private key.
#[derive(Debug)]
pub struct ServerIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    file: String,
}

impl Clone for ServerIdentity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key(), file: self.file.clone() }
    }
}

impl ServerIdentity {
    /// Reads both from PEM files.
    ///
    /// # Errors
    /// When a file cannot be read or has no certificate or key in it.
    pub fn from_files(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let chain = tidings_shared::tls::certificates(certificate)?;
        let key = tidings_shared::tls::private_key(key)?;
        Ok(Self { chain, key, file: certificate.display().to_string() })
    }

    /// A server configuration for TLS 1.2 and 1.3, with `client_certificates` asked for when given.
    pub(crate) fn server_config(
        &self,
        client_certificates: Option<Arc<dyn ClientCertVerifier>>,
    ) -> anyhow::Result<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .context("TLS cannot be set up")?;
        let builder = match client_certificates {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        builder
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| anyhow!("{}: its private key does not fit: {error}", self.file))
    }
}
