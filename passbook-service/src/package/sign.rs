//! The detached CMS signature over the manifest (RFC 5652): RSA with SHA-256, signed attribute signingTime, the
//! signer's certificate and the intermediate included.
//!
//! All signatures of a certificate are the same DER but for three places: the manifest's digest, the time, and the RSA
//! signature over both. So the DER is made once, by the `cms` crate, and then only those places are written: what is left
//! of the cost is RSA. From the year 2050 on the time has another form, and the whole is made each time.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::{digest, signature as aws};
use cms::builder::{SignedDataBuilder, SignerInfoBuilder};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::signed_data::{EncapsulatedContentInfo, SignedData, SignerIdentifier};
use const_oid::db::rfc5911::{ID_DATA, ID_SIGNING_TIME};
use const_oid::db::rfc5912::{ID_SHA_256, RSA_ENCRYPTION};
use der::asn1::{BitString, GeneralizedTime, SetOfVec, UtcTime};
use der::{Any, DateTime, Decode, Encode};
use signature::{Keypair, Signer};
use x509_cert::attr::Attribute;
use x509_cert::spki::{AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, SignatureBitStringEncoding};

use super::identity::SigningIdentity;

/// A signature that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The CMS structure could not be made.
    #[error("the CMS structure cannot be made: {0}")]
    Structure(String),
    /// The key did not sign.
    #[error("the private key does not sign")]
    Key,
}

impl From<cms::builder::Error> for SignError {
    fn from(error: cms::builder::Error) -> Self {
        Self::Structure(error.to_string())
    }
}

impl From<der::Error> for SignError {
    fn from(error: der::Error) -> Self {
        Self::Structure(error.to_string())
    }
}

/// A signature of a certificate, and where in it the places are that differ.
pub(super) struct Form {
    der: Vec<u8>,
    /// The signed attributes without their tag, as a range of `der`.
    attributes: std::ops::Range<usize>,
    digest: std::ops::Range<usize>,
    time: std::ops::Range<usize>,
    signature: std::ops::Range<usize>,
}

impl Form {
    /// Made once for each certificate.
    pub(super) fn new(identity: &SigningIdentity) -> Result<Self, SignError> {
        // Any content and any time before 2050 will do.
        const NOW_MS: i64 = 1_700_000_000_000;
        let content = b"tidings";
        let der = identity.sign_by_builder(content, NOW_MS)?;
        let missing = |what: &str| SignError::Structure(format!("{what} is not where it should be"));
        let signed = cms::content_info::ContentInfo::from_der(&der)?.content.decode_as::<SignedData>()?;
        let info = signed.signer_infos.0.iter().next().ok_or_else(|| missing("the signer"))?;
        let set = info.signed_attrs.as_ref().ok_or_else(|| missing("the signed attributes"))?.to_der()?;
        // In the structure the set has another tag, [0], and the same length and content.
        let inner = set.get(1..).ok_or_else(|| missing("the signed attributes"))?;
        let attributes = find(&der, inner, 0..der.len()).ok_or_else(|| missing("the signed attributes"))?;
        let digest = digest::digest(&digest::SHA256, content);
        let digest = find(&der, digest.as_ref(), attributes.clone()).ok_or_else(|| missing("the digest"))?;
        let time = utc_time(NOW_MS)?.to_der()?;
        let time = find(&der, &time, attributes.clone()).ok_or_else(|| missing("the time"))?;
        let value = info.signature.as_bytes();
        let signature = der.len().saturating_sub(value.len())..der.len();
        if der.get(signature.clone()) != Some(value) {
            return Err(missing("the signature"));
        }
        Ok(Self { attributes, digest, time, signature, der })
    }
}

fn find(der: &[u8], part: &[u8], within: std::ops::Range<usize>) -> Option<std::ops::Range<usize>> {
    let start = der.get(within.clone())?.windows(part.len()).position(|window| window == part)? + within.start;
    Some(start..start + part.len())
}

impl SigningIdentity {
    /// DER of the detached signature over `content`, with `now_ms` as signingTime. Costs little more than the RSA
    /// signature: about 0.3 ms.
    ///
    /// # Errors
    /// Only when the key or a certificate cannot be encoded, which the checks at start rule out.
    pub fn sign_detached(&self, content: &[u8], now_ms: i64) -> Result<Vec<u8>, SignError> {
        let Some(form) = &self.form else { return self.sign_by_builder(content, now_ms) };
        let Ok(time) = utc_time(now_ms).and_then(|time| time.to_der()) else {
            return self.sign_by_builder(content, now_ms);
        };
        let mut der = form.der.clone();
        let mut write = |range: &std::ops::Range<usize>, bytes: &[u8]| match der.get_mut(range.clone()) {
            Some(place) if place.len() == bytes.len() => {
                place.copy_from_slice(bytes);
                Ok(())
            }
            _ => Err(SignError::Structure("a part has another length".to_owned())),
        };
        write(&form.digest, digest::digest(&digest::SHA256, content).as_ref())?;
        write(&form.time, &time)?;
        // RFC 5652, 5.4: what is signed is the DER of the attributes with the tag of a SET.
        let mut signed = Vec::with_capacity(form.attributes.len() + 1);
        signed.push(0x31);
        signed.extend_from_slice(der.get(form.attributes.clone()).unwrap_or_default());
        let place = der.get_mut(form.signature.clone()).ok_or(SignError::Key)?;
        self.key.sign(&aws::RSA_PKCS1_SHA256, &SystemRandom::new(), &signed, place).map_err(|_| SignError::Key)?;
        Ok(der)
    }

    /// The same, made by the `cms` crate from its beginning.
    pub(super) fn sign_by_builder(&self, content: &[u8], now_ms: i64) -> Result<Vec<u8>, SignError> {
        let digest = digest::digest(&digest::SHA256, content);
        let sha256 = AlgorithmIdentifierOwned { oid: ID_SHA_256, parameters: None };
        let content_info = EncapsulatedContentInfo { econtent_type: ID_DATA, econtent: None };
        let tbs = &self.certificate.parsed.tbs_certificate;
        let signer_id = SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: tbs.issuer.clone(),
            serial_number: tbs.serial_number.clone(),
        });
        let signer = RsaSigner(&self.key);
        let mut info =
            SignerInfoBuilder::new(&signer, signer_id, sha256.clone(), &content_info, Some(digest.as_ref()))?;
        info.add_signed_attribute(signing_time(now_ms)?)?;
        let mut data = SignedDataBuilder::new(&content_info);
        data.add_digest_algorithm(sha256)?;
        for certificate in std::iter::once(&self.certificate).chain(&self.chain) {
            data.add_certificate(CertificateChoices::Certificate(certificate.parsed.clone()))?;
        }
        data.add_signer_info::<RsaSigner<'_>, RsaSignature>(info)?;
        Ok(data.build()?.to_der()?)
    }
}

/// Lets the CMS builder sign with a key of aws-lc-rs.
struct RsaSigner<'a>(&'a aws::RsaKeyPair);

struct RsaSignature(Vec<u8>);

/// The builder asks for a public key type but never uses it.
#[derive(Clone)]
struct Unused;

impl Keypair for RsaSigner<'_> {
    type VerifyingKey = Unused;

    fn verifying_key(&self) -> Unused {
        Unused
    }
}

impl DynSignatureAlgorithmIdentifier for RsaSigner<'_> {
    /// `rsaEncryption`, which is what CMS writers use for RSA with PKCS #1 v1.5 (RFC 3370, 3.2).
    fn signature_algorithm_identifier(&self) -> x509_cert::spki::Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned { oid: RSA_ENCRYPTION, parameters: Some(Any::null()) })
    }
}

impl Signer<RsaSignature> for RsaSigner<'_> {
    fn try_sign(&self, message: &[u8]) -> Result<RsaSignature, signature::Error> {
        let mut bytes = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&aws::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut bytes)
            .map_err(|_| signature::Error::new())?;
        Ok(RsaSignature(bytes))
    }
}

impl SignatureBitStringEncoding for RsaSignature {
    fn to_bitstring(&self) -> der::Result<BitString> {
        BitString::from_bytes(&self.0)
    }
}

fn date_time(now_ms: i64) -> der::Result<DateTime> {
    let seconds = u64::try_from(now_ms.div_euclid(1000)).unwrap_or_default();
    DateTime::from_unix_duration(Duration::from_secs(seconds))
}

/// An error from the year 2050 on (RFC 5652, 11.3).
fn utc_time(now_ms: i64) -> der::Result<UtcTime> {
    UtcTime::from_date_time(date_time(now_ms)?)
}

fn signing_time(now_ms: i64) -> der::Result<Attribute> {
    // UTCTime through the year 2049, GeneralizedTime after it.
    let encoded = match utc_time(now_ms) {
        Ok(time) => time.to_der()?,
        Err(_) => GeneralizedTime::from_date_time(date_time(now_ms)?).to_der()?,
    };
    let mut values = SetOfVec::new();
    values.insert(Any::from_der(&encoded)?)?;
    Ok(Attribute { oid: ID_SIGNING_TIME, values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::development::DevelopmentCertificates;

    #[test]
    fn what_is_written_into_the_form_is_what_the_builder_makes() {
        let folder = tempfile::tempdir().unwrap();
        let now = 1_790_000_000_000;
        let made = DevelopmentCertificates::load_or_create(folder.path(), "pass.a", "TEAM", now).unwrap();
        let identity = SigningIdentity::load(&made.files(), "pass.a", "TEAM", now).unwrap();
        assert!(identity.form.is_some());
        // Past, present, the last second of 2049, and the first of 2050.
        for at in [0, now, 2_524_607_999_000, 2_524_608_000_000] {
            for content in [&b""[..], b"{}", &[7; 10_000]] {
                let quick = identity.sign_detached(content, at).unwrap();
                assert_eq!(quick, identity.sign_by_builder(content, at).unwrap(), "{at}");
            }
        }
    }
}
