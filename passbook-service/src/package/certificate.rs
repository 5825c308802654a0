//! One X.509 certificate: the few things that signing passes needs to know about it.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::{COMMON_NAME, ORGANIZATIONAL_UNIT_NAME, USER_ID};
use const_oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION,
    SHA_512_WITH_RSA_ENCRYPTION,
};
use der::asn1::{Ia5StringRef, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use der::{Decode, Encode};
use x509_cert::attr::AttributeValue;
use x509_cert::name::Name;

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;

/// A parsed certificate together with the bytes that it was parsed from.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) parsed: x509_cert::Certificate,
    der: Vec<u8>,
}

impl Certificate {
    /// Reads DER. A certificate that would not be written back byte for byte is refused: its signature would
    /// not fit any more once it lies in a package.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, String> {
        let parsed = x509_cert::Certificate::from_der(der)
            .map_err(|error| format!("not an X.509 certificate in DER ({error})"))?;
        match parsed.to_der() {
            Ok(again) if again == der => Ok(Self { parsed, der: der.to_vec() }),
            _ => Err("a certificate that is not strict DER".to_owned()),
        }
    }

    /// The bytes that it was read from.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The subject's user id (OID 0.9.2342.19200300.100.1.1): the pass type identifier.
    pub(super) fn uid(&self) -> Option<String> {
        attribute(&self.parsed.tbs_certificate.subject, USER_ID)
    }

    /// The subject's organizational unit: the team identifier.
    pub(super) fn team(&self) -> Option<String> {
        attribute(&self.parsed.tbs_certificate.subject, ORGANIZATIONAL_UNIT_NAME)
    }

    /// How people call it: the common name, or the whole subject.
    pub(super) fn name(&self) -> String {
        let subject = &self.parsed.tbs_certificate.subject;
        attribute(subject, COMMON_NAME).unwrap_or_else(|| subject.to_string())
    }

    /// How people call who issued it.
    pub(super) fn issuer_name(&self) -> String {
        let issuer = &self.parsed.tbs_certificate.issuer;
        attribute(issuer, COMMON_NAME).unwrap_or_else(|| issuer.to_string())
    }

    /// Valid from and until, ms since 1970.
    pub(super) fn validity_ms(&self) -> (i64, i64) {
        let validity = &self.parsed.tbs_certificate.validity;
        let ms = |time: &x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX);
        (ms(&validity.not_before), ms(&validity.not_after))
    }

    /// The public key as it stands in the certificate (for RSA: PKCS #1).
    pub(super) fn public_key(&self) -> &[u8] {
        self.parsed.tbs_certificate.subject_public_key_info.subject_public_key.raw_bytes()
    }

    pub(super) fn is_self_issued(&self) -> bool {
        let tbs = &self.parsed.tbs_certificate;
        tbs.subject == tbs.issuer
    }

    /// Whether `issuer` signed this certificate: names and signature.
    pub(super) fn is_issued_by(&self, issuer: &Certificate) -> bool {
        let tbs = &self.parsed.tbs_certificate;
        let algorithm: &dyn VerificationAlgorithm = match self.parsed.signature_algorithm.oid {
            SHA_256_WITH_RSA_ENCRYPTION => &signature::RSA_PKCS1_2048_8192_SHA256,
            SHA_384_WITH_RSA_ENCRYPTION => &signature::RSA_PKCS1_2048_8192_SHA384,
            SHA_512_WITH_RSA_ENCRYPTION => &signature::RSA_PKCS1_2048_8192_SHA512,
            ECDSA_WITH_SHA_256 => &signature::ECDSA_P256_SHA256_ASN1,
            ECDSA_WITH_SHA_384 => &signature::ECDSA_P384_SHA384_ASN1,
            _ => return false,
        };
        let Ok(signed) = tbs.to_der() else { return false };
        tbs.issuer == issuer.parsed.tbs_certificate.subject
            && UnparsedPublicKey::new(algorithm, issuer.public_key())
                .verify(&signed, self.parsed.signature.raw_bytes())
                .is_ok()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

fn attribute(name: &Name, oid: ObjectIdentifier) -> Option<String> {
    name.0.iter().flat_map(|set| set.0.iter()).find(|entry| entry.oid == oid).and_then(|entry| text(&entry.value))
}

fn text(value: &AttributeValue) -> Option<String> {
    let text = value
        .decode_as::<Utf8StringRef<'_>>()
        .map(|text| text.as_str().to_owned())
        .or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned()))
        .or_else(|_| value.decode_as::<Ia5StringRef<'_>>().map(|text| text.as_str().to_owned()))
        .or_else(|_| value.decode_as::<TeletexStringRef<'_>>().map(|text| text.as_str().to_owned()));
    text.ok()
}
