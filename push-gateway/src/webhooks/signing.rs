//! Signatures of Standard Webhooks: `v1,` and the Base64 of an HMAC-SHA256 over `ID.TIMESTAMP.BODY`.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const PREFIX: &str = "whsec_";
/// Bytes of a secret that is made here.
const BYTES: usize = 32;

/// A secret that cannot be used, for the one who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is `whsec_` and 24 to 64 bytes in Base64; leave it out, and one is made")]
pub(crate) struct InvalidSecret;

/// A new secret.
pub(crate) fn new_secret() -> String {
    format!("{PREFIX}{}", STANDARD.encode(rand::random::<[u8; BYTES]>()))
}

/// The bytes of a secret.
pub(crate) fn key(secret: &str) -> Result<Vec<u8>, InvalidSecret> {
    let encoded = secret.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| InvalidSecret)?;
    if (24..=64).contains(&bytes.len()) { Ok(bytes) } else { Err(InvalidSecret) }
}

/// The value of `webhook-signature`: one signature for each secret, the newest first.
pub(crate) fn signatures(secrets: &[&str], id: &str, timestamp_s: i64, body: &str) -> Result<String, InvalidSecret> {
    let signed = format!("{id}.{timestamp_s}.{body}");
    let mut signatures = Vec::with_capacity(secrets.len());
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key(secret)?);
        signatures.push(format!("v1,{}", STANDARD.encode(hmac::sign(&key, signed.as_bytes()))));
    }
    Ok(signatures.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specifications_libraries() {
        // The test vector that the libraries of Standard Webhooks share.
        let signature = signatures(
            &["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_have_one_form() {
        assert_eq!(key(&new_secret()).unwrap().len(), BYTES);
        for wrong in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!"] {
            assert_eq!(key(wrong), Err(InvalidSecret), "{wrong}");
        }
    }
}
