//! The listener: TLS with ALPN `h2` and nothing else, client certificates asked for but judged later, so that a bad
//! one is answered with APNs' own words.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use tidings_shared::lifecycle::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::auth::ConnectionIdentity;
use super::connection::{self, Connection};
use super::{ApnsSimulator, ConnectionCommand, Environment, certificate, lock};
use crate::tls::ServerIdentity;

const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const CLOSE_TIME: Duration = Duration::from_secs(5);

impl ApnsSimulator {
    /// Serves APNs on `listener` until `shutdown`. With `environment` only that environment's tokens and keys work
    /// here; without, both do.
    ///
    /// # Errors
    /// When the certificate cannot be used.
    pub async fn serve(
        self,
        listener: TcpListener,
        identity: &ServerIdentity,
        environment: Option<Environment>,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = identity.server_config(Some(Arc::new(AskForCertificate(provider))))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let tasks = TaskTracker::new();
        loop {
            let socket = tokio::select! {
                () = shutdown.wait() => break,
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => socket,
                    Err(error) => {
                        // Out of file descriptors, most likely: existing connections may free some.
                        tracing::warn!(%error, "the APNs simulator cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            tasks.spawn(self.clone().connection(socket, acceptor.clone(), environment));
        }
        self.command(&ConnectionCommand::Goaway("Shutdown".to_owned()));
        tasks.close();
        if tokio::time::timeout(CLOSE_TIME, tasks.wait()).await.is_err() {
            self.command(&ConnectionCommand::Cut);
        }
        Ok(())
    }

    async fn connection(self, socket: TcpStream, acceptor: TlsAcceptor, environment: Option<Environment>) {
        let _ = socket.set_nodelay(true);
        let handshake = tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(socket)).await;
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake with the APNs simulator failed"),
            Err(_) => return tracing::debug!("TLS handshake with the APNs simulator took too long"),
        };
        let session = stream.get_ref().1;
        if session.alpn_protocol() != Some(b"h2".as_slice()) {
            return tracing::debug!("a client of the APNs simulator does not speak HTTP/2");
        }
        let certificate = session
            .peer_certificates()
            .filter(|chain| !chain.is_empty())
            .map(|chain| certificate::check(chain, &self.0.roots, environment, self.0.clock.now_ms()));
        let number = self.0.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let identity = ConnectionIdentity::new(certificate, environment);
        let (connection, commands) = Connection::new(number, identity, self.0.options.max_streams);
        lock(&self.0.connections).insert(number, connection.clone());
        if let Err(error) = connection::serve(stream, self.clone(), connection, commands).await {
            tracing::debug!(%error, connection = number, "connection to the APNs simulator ended");
        }
        lock(&self.0.connections).remove(&number);
    }
}

/// Lets every client certificate through the handshake (its owner has the key: that is checked).
#[derive(Debug)]
struct AskForCertificate(Arc<CryptoProvider>);

impl ClientCertVerifier for AskForCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
