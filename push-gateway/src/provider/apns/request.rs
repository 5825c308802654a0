//! A push in Apple's words: the `apns-*` headers and the JSON payload
//! ("Sending notification requests to APNs", "Generating a remote notification").

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use tidings_shared::push_api::Push;

use crate::provider::{Message, WakeStyle};

const APNS_TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const APNS_PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const APNS_EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const APNS_PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const APNS_COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");

/// Apple's push types that we use. Others are added when something sends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushType {
    Alert,
    Background,
}

impl PushType {
    fn of(push: &Push, wake: &WakeStyle) -> Self {
        match (push, wake) {
            (Push::Alert { .. }, _) | (Push::Wake {}, WakeStyle::Visible { .. }) => Self::Alert,
            (Push::Wake {}, WakeStyle::Silent) | (Push::Pass {}, _) => Self::Background,
        }
    }

    fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Alert => "alert",
            Self::Background => "background",
        })
    }

    /// 10 is an error for background pushes.
    fn priority(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Alert => "10",
            Self::Background => "5",
        })
    }
}

pub(super) fn headers(
    headers: &mut HeaderMap,
    message: &Message,
    topic: &HeaderValue,
    wake: &WakeStyle,
) -> Result<(), http::Error> {
    let push_type = PushType::of(&message.push, wake);
    headers.insert(APNS_TOPIC, topic.clone());
    headers.insert(APNS_PUSH_TYPE, push_type.name());
    headers.insert(APNS_PRIORITY, push_type.priority());
    headers.insert(APNS_ID, unindexed(&message.id)?);
    headers.insert(APNS_EXPIRATION, unindexed(&message.expires_at_ms.div_euclid(1000).max(0).to_string())?);
    if let Some(id) = &message.collapse_id {
        headers.insert(APNS_COLLAPSE_ID, unindexed(id)?);
    }
    Ok(())
}

/// A value that is different in every request would only push the constant ones out of the HPACK table.
fn unindexed(value: &str) -> Result<HeaderValue, http::Error> {
    let mut value = HeaderValue::from_bytes(value.as_bytes())?;
    value.set_sensitive(true);
    Ok(value)
}

pub(super) fn payload(push: &Push, wake: &WakeStyle) -> Vec<u8> {
    let payload = match (push, wake) {
        (Push::Pass {}, _) => json!({}),
        (Push::Wake {}, WakeStyle::Silent) => json!({"aps": {"content-available": 1}}),
        (Push::Wake {}, WakeStyle::Visible { title, body }) => {
            json!({"aps": {"alert": {"title": title, "body": body}, "content-available": 1}})
        }
        (Push::Alert { title, body, data }, _) => {
            let mut alert = Map::from_iter([("title".to_owned(), Value::from(title.as_str()))]);
            if let Some(body) = body {
                alert.insert("body".to_owned(), Value::from(body.as_str()));
            }
            let mut payload = Map::from_iter([("aps".to_owned(), json!({"alert": alert, "sound": "default"}))]);
            payload.extend(data.iter().map(|(name, value)| (name.clone(), value.clone())));
            Value::Object(payload)
        }
    };
    payload.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tidings_shared::push_api::Environment;

    fn message(push: Push) -> Message {
        Message {
            id: "01990000-0000-7000-8000-000000000001".to_owned(),
            token: "ab12".to_owned(),
            environment: Environment::Production,
            registered_at_ms: None,
            push: Arc::new(push),
            collapse_id: Some("wake".to_owned()),
            expires_at_ms: 1_700_000_000_999,
        }
    }

    fn sent(push: Push, wake: &WakeStyle) -> (HeaderMap, Value) {
        let mut map = HeaderMap::new();
        headers(&mut map, &message(push.clone()), &HeaderValue::from_static("org.example.app"), wake).unwrap();
        (map, serde_json::from_slice(&payload(&push, wake)).unwrap())
    }

    #[test]
    fn a_wake_push_is_silent_and_of_low_priority() {
        let (headers, payload) = sent(Push::Wake {}, &WakeStyle::Silent);
        assert_eq!(headers["apns-push-type"], "background");
        assert_eq!(headers["apns-priority"], "5");
        assert_eq!(headers["apns-topic"], "org.example.app");
        assert_eq!(headers["apns-expiration"], "1700000000");
        assert_eq!(headers["apns-collapse-id"], "wake");
        assert_eq!(headers["apns-id"], "01990000-0000-7000-8000-000000000001");
        assert_eq!(payload, json!({"aps": {"content-available": 1}}));
    }

    #[test]
    fn a_wake_push_can_be_made_visible() {
        let style = WakeStyle::Visible { title: "News".to_owned(), body: "Open the app".to_owned() };
        let (headers, payload) = sent(Push::Wake {}, &style);
        assert_eq!(headers["apns-push-type"], "alert");
        assert_eq!(headers["apns-priority"], "10");
        assert_eq!(payload["aps"]["alert"]["title"], "News");
    }

    #[test]
    fn an_alert_carries_its_data_beside_aps() {
        let push: Push = serde_json::from_value(json!({
            "kind": "alert", "title": "Hello", "body": "there", "data": {"thread": 7, "from_user": "23412"}
        }))
        .unwrap();
        let (headers, payload) = sent(push, &WakeStyle::Silent);
        assert_eq!(headers["apns-push-type"], "alert");
        assert_eq!(payload["aps"]["alert"], json!({"title": "Hello", "body": "there"}));
        assert_eq!(payload["thread"], 7);
        assert_eq!(payload["from_user"], "23412");
    }

    #[test]
    fn a_pass_push_is_an_empty_object() {
        let (headers, payload) = sent(Push::Pass {}, &WakeStyle::Silent);
        assert_eq!(payload, json!({}));
        assert_eq!(headers["apns-priority"], "5");
    }

    #[test]
    fn a_time_to_live_of_nothing_is_one_attempt() {
        let mut push = message(Push::Wake {});
        push.expires_at_ms = 0;
        let mut map = HeaderMap::new();
        headers(&mut map, &push, &HeaderValue::from_static("t"), &WakeStyle::Silent).unwrap();
        assert_eq!(map["apns-expiration"], "0");
    }
}
