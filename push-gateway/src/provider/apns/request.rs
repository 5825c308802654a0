//! A push as a request: the path and the `apns-*` headers ("Sending notification requests to APNs", "Sending broadcast
//! push notification requests to APNs").

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use tidings_shared::push_api::ApnsPushType;

use super::endpoint::Endpoint;
use super::push_type::{self, Topics};
use crate::provider::{Message, Recipient};

const APNS_TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const APNS_PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const APNS_EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const APNS_PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const APNS_COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");
pub(super) const APNS_CHANNEL_ID: HeaderName = HeaderName::from_static("apns-channel-id");
pub(super) const APNS_REQUEST_ID: HeaderName = HeaderName::from_static("apns-request-id");

/// The request of one push; its body is the payload.
pub(super) fn push(
    endpoint: &Endpoint,
    bundle: &str,
    topics: &Topics,
    message: &Message,
    push_type: ApnsPushType,
    authorization: Option<HeaderValue>,
) -> Result<Request<()>, http::Error> {
    let (path, channel) = match recipient(message) {
        Recipient::Channel(id) => (format!("/4/broadcasts/apps/{bundle}"), Some(id)),
        _ => (format!("/3/device/{}", message.token), None),
    };
    let mut request = bare(endpoint, Method::POST, path, authorization)?;
    let headers = request.headers_mut();
    headers.insert(APNS_PUSH_TYPE, HeaderValue::from_static(push_type.as_str()));
    headers.insert(APNS_PRIORITY, push_type::priority(&message.push, push_type));
    headers.insert(APNS_EXPIRATION, unindexed(message.expires_at_ms.div_euclid(1000).max(0).to_string())?);
    if let Some(id) = channel {
        headers.insert(APNS_CHANNEL_ID, unindexed(id.to_owned())?);
        headers.insert(APNS_REQUEST_ID, unindexed(message.id.clone())?);
        return Ok(request);
    }
    headers.insert(APNS_TOPIC, topics.of(push_type));
    headers.insert(APNS_ID, unindexed(message.id.clone())?);
    if let Some(id) = &message.collapse_id {
        headers.insert(APNS_COLLAPSE_ID, unindexed(id.clone())?);
    }
    Ok(request)
}

/// A request with nothing but its authorization.
pub(super) fn bare(
    endpoint: &Endpoint,
    method: Method,
    path: String,
    authorization: Option<HeaderValue>,
) -> Result<Request<()>, http::Error> {
    let mut headers = HeaderMap::with_capacity(8);
    if let Some(token) = authorization {
        headers.insert(AUTHORIZATION, token);
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = endpoint.uri(path)?;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}

pub(super) fn recipient(message: &Message) -> Recipient<'_> {
    Recipient::read(tidings_shared::push_api::Provider::Apns, &message.token)
}

/// A value that is different in every request would only push the constant ones out of the HPACK table.
pub(super) fn unindexed(value: String) -> Result<HeaderValue, http::Error> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(value))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::WakeStyle;
    use serde_json::{Value, json};
    use std::sync::Arc;
    use tidings_shared::push_api::{Environment, Push};

    fn sent(body: Value, wake: &WakeStyle, token: &str, expires_at_ms: i64) -> Request<()> {
        let content: Push = serde_json::from_value(body).unwrap();
        let message = Message {
            id: "01990000-0000-7000-8000-000000000001".to_owned(),
            token: token.to_owned(),
            environment: Environment::Production,
            registered_at_ms: None,
            push: Arc::new(content),
            collapse_id: Some("wake".to_owned()),
            expires_at_ms,
        };
        let endpoint = Endpoint::parse("https://api.push.apple.com").unwrap();
        let topics = Topics::new(&HeaderValue::from_static("org.example.app"));
        let push_type = push_type::of(&message.push, wake);
        push(&endpoint, "org.example.app", &topics, &message, push_type, None).unwrap()
    }

    #[test]
    fn a_wake_push_is_silent_and_of_low_priority() {
        let request = sent(json!({"kind": "wake"}), &WakeStyle::Silent, "ab12", 1_700_000_000_999);
        assert_eq!(request.uri(), "https://api.push.apple.com/3/device/ab12");
        for (name, value) in [
            ("apns-push-type", "background"),
            ("apns-priority", "5"),
            ("apns-topic", "org.example.app"),
            ("apns-expiration", "1700000000"),
            ("apns-collapse-id", "wake"),
            ("apns-id", "01990000-0000-7000-8000-000000000001"),
        ] {
            assert_eq!(request.headers()[name], value, "{name}");
        }
    }

    #[test]
    fn each_kind_has_its_type_priority_and_topic() {
        let visible = WakeStyle::Visible { title: "News".to_owned(), body: "Open the app".to_owned() };
        for (push, wake, push_type, priority, topic) in [
            (json!({"kind": "wake"}), &visible, "alert", "10", "org.example.app"),
            (json!({"kind": "alert", "title": "t"}), &WakeStyle::Silent, "alert", "10", "org.example.app"),
            (json!({"kind": "pass"}), &visible, "background", "5", "org.example.app"),
            (
                json!({"kind": "apns", "push_type": "voip", "payload": {}}),
                &visible,
                "voip",
                "10",
                "org.example.app.voip",
            ),
            (
                json!({"kind": "apns", "push_type": "background", "payload": {}}),
                &visible,
                "background",
                "5",
                "org.example.app",
            ),
            (
                json!({"kind": "apns", "push_type": "widgets", "payload": {}, "priority": 1}),
                &visible,
                "widgets",
                "1",
                "org.example.app.push-type.widgets",
            ),
            (
                json!({"kind": "live_activity", "event": "end", "priority": 5}),
                &visible,
                "liveactivity",
                "5",
                "org.example.app.push-type.liveactivity",
            ),
        ] {
            let request = sent(push.clone(), wake, "ab12", 1);
            let header = |name: &str| request.headers()[name].to_str().unwrap();
            let found = (header("apns-push-type"), header("apns-priority"), header("apns-topic"));
            assert_eq!(found, (push_type, priority, topic), "{push}");
        }
    }

    #[test]
    fn a_broadcast_names_its_channel_and_its_app() {
        let push = json!({"kind": "live_activity", "event": "end"});
        let request = sent(push, &WakeStyle::Silent, "channel:c29tZQ==", 0);
        assert_eq!(request.uri(), "https://api.push.apple.com/4/broadcasts/apps/org.example.app");
        assert_eq!(request.headers()["apns-channel-id"], "c29tZQ==");
        assert_eq!(request.headers()["apns-request-id"], "01990000-0000-7000-8000-000000000001");
        assert_eq!(request.headers()["apns-push-type"], "liveactivity");
        for absent in ["apns-topic", "apns-id", "apns-collapse-id"] {
            assert!(!request.headers().contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn a_time_to_live_of_nothing_is_one_attempt() {
        let request = sent(json!({"kind": "wake"}), &WakeStyle::Silent, "ab12", 0);
        assert_eq!(request.headers()["apns-expiration"], "0");
    }

    #[test]
    fn what_must_not_be_indexed_is_marked() {
        let request = sent(json!({"kind": "wake"}), &WakeStyle::Silent, "ab12", 0);
        for (name, indexed) in
            [("apns-id", false), ("apns-expiration", false), ("apns-topic", true), ("apns-push-type", true)]
        {
            assert_eq!(request.headers()[name].is_sensitive(), !indexed, "{name}");
        }
    }
}
