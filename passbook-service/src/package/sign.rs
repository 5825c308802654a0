//! The detached CMS signature over the manifest (RFC 5652): RSA with SHA-256, signed attribute signingTime, the
//! signer's certificate and the intermediate included.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::{digest, signature as aws};
use cms::builder::{SignedDataBuilder, SignerInfoBuilder};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::signed_data::{EncapsulatedContentInfo, SignerIdentifier};
use const_oid::db::rfc5911::{ID_DATA, ID_SIGNING_TIME};
use const_oid::db::rfc5912::{ID_SHA_256, RSA_ENCRYPTION};
use der::asn1::{BitString, GeneralizedTime, SetOfVec, UtcTime};
use der::{Any, DateTime, Decode, Encode};
use signature::{Keypair, Signer};
use x509_cert::attr::Attribute;
use x509_cert::spki::{AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, SignatureBitStringEncoding};

use super::identity::SigningIdentity;

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

impl SigningIdentity {
    /// DER of the detached signature over `content`, with `now_ms` as signingTime.
    ///
    /// # Errors
    /// Only when the key or a certificate cannot be encoded, which the checks at start rule out.
    pub fn sign_detached(&self, content: &[u8], now_ms: i64) -> Result<Vec<u8>, cms::builder::Error> {
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

fn signing_time(now_ms: i64) -> der::Result<Attribute> {
    let seconds = u64::try_from(now_ms.div_euclid(1000)).unwrap_or_default();
    let time = DateTime::from_unix_duration(Duration::from_secs(seconds))?;
    // RFC 5652, 11.3: UTCTime through the year 2049, GeneralizedTime after it.
    let encoded = if time.year() < 2050 {
        UtcTime::from_date_time(time)?.to_der()?
    } else {
        GeneralizedTime::from_date_time(time).to_der()?
    };
    let mut values = SetOfVec::new();
    values.insert(Any::from_der(&encoded)?)?;
    Ok(Attribute { oid: ID_SIGNING_TIME, values })
}
