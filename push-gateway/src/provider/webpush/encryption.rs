//! Encryption for one subscription (RFC 8291), as one record of `aes128gcm` (RFC 8188).

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// RFC 8291: a push service takes bodies of 4096 bytes; so much of them is ours.
pub const MAX_PLAINTEXT: usize = RECORD_SIZE - HEADER - TAG - 1;

/// The size of the one record. A shorter record is the last one.
const RECORD_SIZE: usize = 4096;
/// Salt, record size, length of the key, key.
const HEADER: usize = 16 + 4 + 1 + PUBLIC_KEY;
const PUBLIC_KEY: usize = 65;
const TAG: usize = 16;
/// The delimiter of the last record.
const LAST: u8 = 2;

/// Why a payload cannot be encrypted for a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptionError {
    /// More than [`MAX_PLAINTEXT`] bytes.
    #[error("the payload has {0} bytes; {MAX_PLAINTEXT} fit into a push")]
    TooLong(usize),
    /// The subscription's key is no point of the curve.
    #[error("the subscription's p256dh is no point of P-256")]
    Key,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed")]
    Library,
}

/// The body of a push for the holder of `p256dh` and `auth`, with a key and a salt of its own.
pub(super) fn encrypt(payload: &[u8], p256dh: &[u8; 65], auth: &[u8; 16]) -> Result<Vec<u8>, EncryptionError> {
    let library = |_| EncryptionError::Library;
    let private = PrivateKey::generate(&ECDH_P256).map_err(library)?;
    let mut salt = [0; 16];
    SystemRandom::new().fill(&mut salt).map_err(library)?;
    encrypt_with(payload, p256dh, auth, &private, salt)
}

fn encrypt_with(
    payload: &[u8],
    p256dh: &[u8; 65],
    auth: &[u8; 16],
    private: &PrivateKey,
    salt: [u8; 16],
) -> Result<Vec<u8>, EncryptionError> {
    let library = |_| EncryptionError::Library;
    if payload.len() > MAX_PLAINTEXT {
        return Err(EncryptionError::TooLong(payload.len()));
    }
    let public = private.compute_public_key().map_err(library)?;
    let peer = UnparsedPublicKey::new(&ECDH_P256, p256dh);
    let info: [&[u8]; 3] = [b"WebPush: info\0", p256dh, public.as_ref()];
    // Both keys are in the derivation, so that nobody else's key gives the same.
    let input: [u8; 32] = agree(private, peer, EncryptionError::Key, |secret| {
        expand(Salt::new(HKDF_SHA256, auth), secret, &info).map_err(library)
    })?;
    let key: [u8; 16] =
        expand(Salt::new(HKDF_SHA256, &salt), &input, &[b"Content-Encoding: aes128gcm\0"]).map_err(library)?;
    let nonce: [u8; 12] =
        expand(Salt::new(HKDF_SHA256, &salt), &input, &[b"Content-Encoding: nonce\0"]).map_err(library)?;

    let mut body = Vec::with_capacity(HEADER + payload.len() + 1 + TAG);
    body.extend_from_slice(&salt);
    body.extend_from_slice(&(RECORD_SIZE as u32).to_be_bytes());
    body.push(PUBLIC_KEY as u8);
    body.extend_from_slice(public.as_ref());
    let mut record = Vec::with_capacity(payload.len() + 1 + TAG);
    record.extend_from_slice(payload);
    record.push(LAST);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).map_err(library)?);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut record).map_err(library)?;
    body.append(&mut record);
    Ok(body)
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(salt: Salt, secret: &[u8], info: &[&[u8]]) -> Result<[u8; N], aws_lc_rs::error::Unspecified> {
    let mut out = [0; N];
    salt.extract(secret).expand(info, Length(N))?.fill(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

    /// RFC 8291, section 5 and appendix A.
    #[test]
    fn the_example_of_the_rfc_comes_out() {
        let decode = |text: &str| BASE64.decode(text).unwrap();
        let private =
            PrivateKey::from_private_key(&ECDH_P256, &decode("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")).unwrap();
        let p256dh: [u8; 65] =
            decode("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4")
                .try_into()
                .unwrap();
        let auth: [u8; 16] = decode("BTBZMqHH6r4Tts7J_aSIgg").try_into().unwrap();
        let salt: [u8; 16] = decode("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap();
        let payload = b"When I grow up, I want to be a watermelon";
        let body = encrypt_with(payload, &p256dh, &auth, &private, salt).unwrap();
        let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        assert_eq!(BASE64.encode(body), expected);
    }

    #[test]
    fn a_body_is_never_larger_than_push_services_take_and_never_the_same() {
        let peer = PrivateKey::generate(&ECDH_P256).unwrap();
        let p256dh: [u8; 65] = peer.compute_public_key().unwrap().as_ref().try_into().unwrap();
        let one = encrypt(&[0; MAX_PLAINTEXT], &p256dh, &[1; 16]).unwrap();
        assert_eq!(one.len(), 4096);
        assert_ne!(one, encrypt(&[0; MAX_PLAINTEXT], &p256dh, &[1; 16]).unwrap());
        let long = encrypt(&[0; MAX_PLAINTEXT + 1], &p256dh, &[1; 16]);
        assert_eq!(long, Err(EncryptionError::TooLong(MAX_PLAINTEXT + 1)));
        let mut wrong = [9; 65];
        wrong[0] = 4;
        assert_eq!(encrypt(b"x", &wrong, &[1; 16]), Err(EncryptionError::Key));
    }
}
