//! Client certificates: who signed them, and which topics they may push to.

use der::asn1::{Any, ObjectIdentifier, Utf8StringRef};
use der::{Decode as _, Reader as _, Tag, Tagged as _};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, pki_types::CertificateDer};
use rustls_pki_types::UnixTime;
use rustls_pki_types::pem::PemObject as _;
use std::sync::Arc;
use std::time::Duration;
use x509_cert::Certificate;

use super::Environment;
use super::auth::ClientRoots;
use super::reason::Refusal;

const UID: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1");
const DEVELOPMENT_ONLY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113635.100.6.3.1");
const PRODUCTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113635.100.6.3.2");
const TOPICS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113635.100.6.3.6");

/// A client certificate that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    /// The subject's user id: for Wallet the pass type identifier, else the bundle id.
    pub(crate) uid: String,
    /// The topics it may push to; the user id when it names none.
    pub(crate) topics: Vec<String>,
}

/// Checks a client's chain against the roots, at the time `now_ms`.
pub(crate) fn check(
    chain: &[CertificateDer<'_>],
    roots: &ClientRoots,
    environment: Option<Environment>,
    now_ms: i64,
) -> Result<ClientCertificate, Refusal> {
    let bad = |why: &str| {
        tracing::warn!(why, "client certificate refused");
        Refusal::new("BadCertificate")
    };
    let Some((own, intermediates)) = chain.split_first() else {
        return Err(bad("it is missing"));
    };
    let store = read_roots(roots);
    if store.is_empty() {
        return Err(bad("no root is known: set simulators.apns.client_roots to the authority of the certificates"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .map_err(|error| bad(&error.to_string()))?;
    let now = UnixTime::since_unix_epoch(Duration::from_millis(now_ms.unsigned_abs()));
    verifier.verify_client_cert(own, intermediates, now).map_err(|error| bad(&error.to_string()))?;

    let parsed = Certificate::from_der(own).map_err(|error| bad(&error.to_string()))?;
    let uid = subject_uid(&parsed).ok_or_else(|| bad("its subject has no user id (UID)"))?;
    let extensions = parsed.tbs_certificate.extensions.as_deref().unwrap_or_default();
    let has = |oid| extensions.iter().any(|extension| extension.extn_id == oid);
    let wrong_environment = match environment {
        Some(Environment::Production) => has(DEVELOPMENT_ONLY) && !has(PRODUCTION),
        Some(Environment::Sandbox) => has(PRODUCTION) && !has(DEVELOPMENT_ONLY) && !has(TOPICS),
        None => false,
    };
    if wrong_environment {
        return Err(Refusal::new("BadCertificateEnvironment"));
    }
    let mut topics = extensions
        .iter()
        .find(|extension| extension.extn_id == TOPICS)
        .and_then(|extension| listed_topics(extension.extn_value.as_bytes()).ok())
        .unwrap_or_default();
    if topics.is_empty() {
        topics.push(uid.clone());
    }
    Ok(ClientCertificate { uid, topics })
}

fn read_roots(roots: &ClientRoots) -> RootCertStore {
    let mut store = RootCertStore::empty();
    for file in &roots.0 {
        let certificates = match CertificateDer::pem_file_iter(file) {
            Ok(certificates) => certificates,
            Err(error) => {
                tracing::debug!(file = %file.display(), %error, "root of client certificates cannot be read");
                continue;
            }
        };
        for certificate in certificates.flatten() {
            if let Err(error) = store.add(certificate) {
                tracing::warn!(file = %file.display(), %error, "root of client certificates cannot be used");
            }
        }
    }
    store
}

fn subject_uid(certificate: &Certificate) -> Option<String> {
    let names = certificate.tbs_certificate.subject.0.iter();
    let value = names.flat_map(|name| name.0.iter()).find(|attribute| attribute.oid == UID)?;
    std::str::from_utf8(value.value.value()).ok().map(str::to_owned)
}

/// Apple's extension: a sequence of a topic and a sequence with its kinds, again and again.
fn listed_topics(extension: &[u8]) -> der::Result<Vec<String>> {
    let mut reader = der::SliceReader::new(extension)?;
    reader.sequence(|items| {
        let mut topics = Vec::new();
        while !items.is_finished() {
            let item: Any = items.decode()?;
            if item.tag() == Tag::Utf8String {
                topics.push(item.decode_as::<Utf8StringRef<'_>>()?.as_str().to_owned());
            }
        }
        Ok(topics)
    })
}
