//! A subscription as a browser gives it (`PushSubscription.toJSON()`), and the one text form in which it is stored:
//! `{"endpoint":…,"p256dh":…,"auth":…}`, so that the same subscription is the same token.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// The longest address of a push service that is stored, in bytes.
const MAX_ENDPOINT: usize = 2048;
/// Browsers leave the padding out, others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// See the head of this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Where pushes are posted to.
    pub endpoint: String,
    /// The browser's public key: an uncompressed point of P-256.
    pub p256dh: [u8; 65],
    /// The authentication secret.
    pub auth: [u8; 16],
}

/// A text that is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// Not JSON of the form that browsers give.
    #[error(
        "a Web Push token is the subscription as the browser gives it: {{\"endpoint\":\"https://…\",\"keys\":{{\"p256dh\":…,\"auth\":…}}}}"
    )]
    Form,
    /// Too long.
    #[error("the subscription's endpoint has more than 2048 bytes")]
    Endpoint,
    /// No point of P-256.
    #[error("the subscription's p256dh is not 65 bytes in Base64, the first one 4: an uncompressed point of P-256")]
    Key,
    /// Not 16 bytes.
    #[error("the subscription's auth is not 16 bytes in Base64")]
    Auth,
}

impl SubscriptionError {
    /// The rule that is broken.
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::Form => {
                "a Web Push token is the subscription as the browser gives it: {\"endpoint\":\"https://…\",\"keys\":{\"p256dh\":…,\"auth\":…}}"
            }
            Self::Endpoint => "its endpoint has at most 2048 bytes",
            Self::Key => "its p256dh is an uncompressed point of P-256 in Base64 (65 bytes, the first one 4)",
            Self::Auth => "its auth is 16 bytes in Base64",
        }
    }
}

/// Either form. What a browser adds besides (`expirationTime`) is of no use here.
#[derive(Deserialize)]
struct Given {
    endpoint: String,
    keys: Option<Keys>,
    p256dh: Option<String>,
    auth: Option<String>,
}

#[derive(Deserialize)]
struct Keys {
    p256dh: String,
    auth: String,
}

#[derive(Serialize)]
struct Stored<'a> {
    endpoint: &'a str,
    p256dh: String,
    auth: String,
}

impl Subscription {
    /// Reads either form.
    ///
    /// # Errors
    /// [`SubscriptionError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, SubscriptionError> {
        let given: Given = serde_json::from_str(text).map_err(|_| SubscriptionError::Form)?;
        let (p256dh, auth) = match (given.keys, given.p256dh, given.auth) {
            (Some(keys), None, None) => (keys.p256dh, keys.auth),
            (None, Some(p256dh), Some(auth)) => (p256dh, auth),
            _ => return Err(SubscriptionError::Form),
        };
        if given.endpoint.len() > MAX_ENDPOINT {
            return Err(SubscriptionError::Endpoint);
        }
        let p256dh: [u8; 65] = bytes(&p256dh).ok_or(SubscriptionError::Key)?;
        if p256dh[0] != 4 {
            return Err(SubscriptionError::Key);
        }
        Ok(Self { endpoint: given.endpoint, p256dh, auth: bytes(&auth).ok_or(SubscriptionError::Auth)? })
    }

    /// The form in which it is stored.
    #[must_use]
    pub fn canonical(&self) -> String {
        let stored = Stored {
            endpoint: &self.endpoint,
            p256dh: URL_SAFE_NO_PAD.encode(self.p256dh),
            auth: URL_SAFE_NO_PAD.encode(self.auth),
        };
        serde_json::to_string(&stored).unwrap_or_default()
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Some libraries write Base64's other alphabet.
    let text = text.replace('+', "-").replace('/', "_");
    BASE64.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_are_the_same_subscription() {
        let (key, auth) = (URL_SAFE_NO_PAD.encode([4; 65]), URL_SAFE_NO_PAD.encode([7; 16]));
        let browser = json!({"endpoint": "https://p/x", "expirationTime": null, "keys": {"p256dh": format!("{key}="), "auth": auth}});
        let parsed = Subscription::parse(&browser.to_string()).unwrap();
        let stored = parsed.canonical();
        assert_eq!(stored, format!(r#"{{"endpoint":"https://p/x","p256dh":"{key}","auth":"{auth}"}}"#));
        assert_eq!(Subscription::parse(&stored).unwrap(), parsed);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let with = |endpoint: &str, key: &[u8], auth: &[u8]| {
            let subscription = json!({
                "endpoint": endpoint, "keys": {"p256dh": URL_SAFE_NO_PAD.encode(key), "auth": URL_SAFE_NO_PAD.encode(auth)}
            });
            Subscription::parse(&subscription.to_string()).map(|_| ())
        };
        assert_eq!(with("https://p", &[4; 65], &[0; 16]), Ok(()));
        assert_eq!(with(&"x".repeat(2049), &[4; 65], &[0; 16]), Err(SubscriptionError::Endpoint));
        assert_eq!(with("https://p", &[4; 64], &[0; 16]), Err(SubscriptionError::Key));
        assert_eq!(with("https://p", &[2; 65], &[0; 16]), Err(SubscriptionError::Key));
        assert_eq!(with("https://p", &[4; 65], &[0; 15]), Err(SubscriptionError::Auth));
        assert_eq!(Subscription::parse("https://p").map(|_| ()), Err(SubscriptionError::Form));
    }
}
