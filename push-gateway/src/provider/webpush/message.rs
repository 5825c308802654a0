//! A push in the words of Web Push: the JSON that the app's service worker gets, and the headers of RFC 8030.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tidings_shared::push_api::Push;

use crate::provider::WakeStyle;

/// The longest time to live that push services keep a message for, in seconds.
const MAX_TTL_S: i64 = 2_419_200;
/// RFC 8030: a topic has at most so many characters.
const MAX_TOPIC: usize = 32;

/// What the service worker reads: `{"tidings":"wake"}`, or `{"title":…,"body":…,"data":{…}}`.
pub(super) fn payload(push: &Push, wake: &WakeStyle) -> Vec<u8> {
    let payload = match (push, wake) {
        (Push::Wake {}, WakeStyle::Silent) => json!({"tidings": "wake"}),
        (Push::Wake {}, WakeStyle::Visible { title, body }) => json!({"tidings": "wake", "title": title, "body": body}),
        (Push::Alert { title, body, data, .. }, _) => {
            let mut payload = Map::from_iter([("title".to_owned(), Value::from(title.as_str()))]);
            if let Some(body) = body {
                payload.insert("body".to_owned(), Value::from(body.as_str()));
            }
            if !data.is_empty() {
                payload.insert("data".to_owned(), json!(data));
            }
            Value::Object(payload)
        }
        // Refused when they were submitted.
        (Push::Pass {} | Push::Apns(_) | Push::LiveActivity(_) | Push::Fcm(_), _) => json!({}),
    };
    payload.to_string().into_bytes()
}

/// Somebody waits for either: normal would leave a phone on battery asleep.
pub(super) fn urgency(push: &Push) -> &'static str {
    match push {
        Push::Wake {} | Push::Alert { .. } => "high",
        _ => "normal",
    }
}

/// Whole seconds, rounded up; 0 is one attempt.
pub(super) fn ttl_s(expires_at_ms: i64, now_ms: i64) -> i64 {
    if expires_at_ms == 0 { 0 } else { (expires_at_ms - now_ms + 999).div_euclid(1000).clamp(0, MAX_TTL_S) }
}

/// A collapse id as a topic: as it is where it can be one, else a digest of it.
pub(super) fn topic(collapse_id: &str) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=MAX_TOPIC).contains(&collapse_id.len()) && collapse_id.bytes().all(legal) {
        return collapse_id.to_owned();
    }
    // 24 bytes are 32 characters.
    BASE64.encode(&Sha256::digest(collapse_id)[..24])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_json() {
        let built = |push: Value| -> Value {
            serde_json::from_slice(&payload(&serde_json::from_value(push).unwrap(), &WakeStyle::Silent)).unwrap()
        };
        assert_eq!(built(json!({"kind": "wake"})), json!({"tidings": "wake"}));
        let alert = json!({"kind": "alert", "title": "T", "body": "B", "data": {"n": 7}});
        assert_eq!(built(alert), json!({"title": "T", "body": "B", "data": {"n": 7}}));
    }

    #[test]
    fn times_to_live_and_topics_fit_the_rfc() {
        assert_eq!(ttl_s(0, 5), 0);
        assert_eq!(ttl_s(2_001, 1_000), 2);
        assert_eq!(ttl_s(1_000, 2_000), 0);
        assert_eq!(ttl_s(i64::MAX / 2, 0), MAX_TTL_S);
        assert_eq!(topic("wake"), "wake");
        for odd in ["a b", "", &"x".repeat(33)] {
            let topic = topic(odd);
            assert_eq!(topic.len(), 32);
            assert!(topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        }
    }
}
