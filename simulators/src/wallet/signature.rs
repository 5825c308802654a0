//! The manifest's signature as a device checks it: a detached CMS signature with a signing time, by a certificate whose
//! UID is the pass type and whose OU is the team, and that leads to a trusted root.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::{ORGANIZATIONAL_UNIT_NAME, USER_ID};
use const_oid::db::rfc5911::{ID_MESSAGE_DIGEST, ID_SIGNED_DATA, ID_SIGNING_TIME};
use const_oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ID_SHA_1, ID_SHA_256, ID_SHA_384, RSA_ENCRYPTION,
    SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION,
};
use der::asn1::{Ia5StringRef, OctetStringRef, PrintableStringRef, Utf8StringRef};
use der::{Decode, DecodePem, Encode};
use x509_cert::Certificate;
use x509_cert::attr::Attribute;

/// Longer chains are nobody's.
const LONGEST_CHAIN: usize = 5;

/// The root that a device trusts: in the place of Apple's.
#[derive(Clone, Debug)]
pub struct TrustedRoot(Certificate);

impl TrustedRoot {
    /// Reads a certificate in PEM.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_pem(pem: &[u8]) -> anyhow::Result<Self> {
        Certificate::from_pem(pem).map(Self).map_err(|error| anyhow::anyhow!("the root is no certificate: {error}"))
    }

    /// Checks a detached signature over `content`.
    ///
    /// # Errors
    /// Why a device refuses it, in a few words.
    pub(super) fn check(&self, signature: &[u8], content: &[u8], pass_type: &str, team: &str) -> Result<(), String> {
        let signed = ContentInfo::from_der(signature)
            .ok()
            .filter(|info| info.content_type == ID_SIGNED_DATA)
            .and_then(|info| info.content.decode_as::<SignedData>().ok())
            .ok_or("the signature is no CMS signature")?;
        let certificates: Vec<&Certificate> = signed
            .certificates
            .iter()
            .flat_map(|set| set.0.iter())
            .filter_map(|choice| match choice {
                CertificateChoices::Certificate(certificate) => Some(certificate),
                CertificateChoices::Other(_) => None,
            })
            .collect();
        let signer = signed.signer_infos.0.as_slice().first().ok_or("the signature has no signer")?;
        let certificate = certificates
            .iter()
            .find(|certificate| is_of(signer, certificate))
            .ok_or("the signer's certificate is missing")?;
        verify(signer, certificate, content)?;
        if subject(certificate, USER_ID).as_deref() != Some(pass_type) {
            return Err("the signing certificate is for another pass type".to_owned());
        }
        if subject(certificate, ORGANIZATIONAL_UNIT_NAME).as_deref() != Some(team) {
            return Err("the signing certificate is another team's".to_owned());
        }
        self.leads_from(certificate, &certificates)
    }

    /// Whether the chain from `certificate` ends in this root.
    fn leads_from(&self, certificate: &Certificate, certificates: &[&Certificate]) -> Result<(), String> {
        let mut link = certificate;
        for _ in 0..LONGEST_CHAIN {
            if is_issued_by(link, &self.0) {
                return Ok(());
            }
            let issuer = certificates.iter().find(|other| **other != link && is_issued_by(link, other));
            link = issuer.ok_or("the signing certificate does not lead to a trusted root")?;
        }
        Err("the chain of the signing certificate is too long".to_owned())
    }
}

fn is_of(signer: &SignerInfo, certificate: &Certificate) -> bool {
    match &signer.sid {
        SignerIdentifier::IssuerAndSerialNumber(id) => {
            id.issuer == certificate.tbs_certificate.issuer
                && id.serial_number == certificate.tbs_certificate.serial_number
        }
        SignerIdentifier::SubjectKeyIdentifier(_) => false,
    }
}

fn verify(signer: &SignerInfo, certificate: &Certificate, content: &[u8]) -> Result<(), String> {
    let attributes = signer.signed_attrs.as_ref().ok_or("the signature has no signed attributes")?;
    let value = |oid: ObjectIdentifier| {
        attributes
            .iter()
            .find(|attribute: &&Attribute| attribute.oid == oid)
            .and_then(|attribute| attribute.values.get(0))
    };
    value(ID_SIGNING_TIME).ok_or("the signature has no signing time")?;
    let stated = value(ID_MESSAGE_DIGEST)
        .and_then(|value| value.decode_as::<OctetStringRef<'_>>().ok())
        .ok_or("the signature has no message digest")?;
    let (hash, rsa): (_, &dyn VerificationAlgorithm) = match signer.digest_alg.oid {
        ID_SHA_256 => (&digest::SHA256, &signature::RSA_PKCS1_2048_8192_SHA256),
        ID_SHA_384 => (&digest::SHA384, &signature::RSA_PKCS1_2048_8192_SHA384),
        ID_SHA_1 => (&digest::SHA1_FOR_LEGACY_USE_ONLY, &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY),
        other => return Err(format!("the digest {other} is not known")),
    };
    if digest::digest(hash, content).as_ref() != stated.as_bytes() {
        return Err("the signature is over another manifest".to_owned());
    }
    let algorithm: &dyn VerificationAlgorithm = match signer.signature_algorithm.oid {
        RSA_ENCRYPTION | SHA_256_WITH_RSA_ENCRYPTION | SHA_384_WITH_RSA_ENCRYPTION => rsa,
        ECDSA_WITH_SHA_256 => &signature::ECDSA_P256_SHA256_ASN1,
        other => return Err(format!("the signature algorithm {other} is not known")),
    };
    let signed = attributes.to_der().map_err(|error| error.to_string())?;
    UnparsedPublicKey::new(algorithm, public_key(certificate))
        .verify(&signed, signer.signature.as_bytes())
        .map_err(|_| "the signature does not belong to the certificate".to_owned())
}

fn public_key(certificate: &Certificate) -> &[u8] {
    certificate.tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes()
}

fn is_issued_by(certificate: &Certificate, issuer: &Certificate) -> bool {
    let algorithm: &dyn VerificationAlgorithm = match certificate.signature_algorithm.oid {
        SHA_256_WITH_RSA_ENCRYPTION => &signature::RSA_PKCS1_2048_8192_SHA256,
        SHA_384_WITH_RSA_ENCRYPTION => &signature::RSA_PKCS1_2048_8192_SHA384,
        ECDSA_WITH_SHA_256 => &signature::ECDSA_P256_SHA256_ASN1,
        ECDSA_WITH_SHA_384 => &signature::ECDSA_P384_SHA384_ASN1,
        _ => return false,
    };
    certificate.tbs_certificate.issuer == issuer.tbs_certificate.subject
        && certificate.tbs_certificate.to_der().is_ok_and(|signed| {
            UnparsedPublicKey::new(algorithm, public_key(issuer))
                .verify(&signed, certificate.signature.raw_bytes())
                .is_ok()
        })
}

fn subject(certificate: &Certificate, oid: ObjectIdentifier) -> Option<String> {
    let names = certificate.tbs_certificate.subject.0.iter().flat_map(|set| set.0.iter());
    let value = &names.into_iter().find(|name| name.oid == oid)?.value;
    let text = value
        .decode_as::<Utf8StringRef<'_>>()
        .map(|text| text.as_str().to_owned())
        .or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned()))
        .or_else(|_| value.decode_as::<Ia5StringRef<'_>>().map(|text| text.as_str().to_owned()));
    text.ok()
}
