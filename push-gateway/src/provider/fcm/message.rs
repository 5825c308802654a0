//! A push in FCM's words: the `message` of `projects.messages.send`.

use serde_json::{Map, Value, json};
use tidings_shared::push_api::Push;

use super::recipient;
use crate::provider::{Message, WakeStyle};

/// The longest time to live that FCM takes, in seconds.
const MAX_TTL_S: i64 = 2_419_200;

/// The request body. `now_ms` turns the push's end into the time to live that FCM wants.
pub(super) fn body(message: &Message, wake: &WakeStyle, now_ms: i64, validate_only: bool) -> Value {
    let ttl_ms =
        if message.expires_at_ms == 0 { 0 } else { (message.expires_at_ms - now_ms).clamp(0, MAX_TTL_S * 1000) };
    let mut android = Map::from_iter([("ttl".to_owned(), Value::from(seconds(ttl_ms)))]);
    // A data message of normal priority waits until the phone wakes by itself: useless as a wake-up call.
    android.insert("priority".to_owned(), Value::from("HIGH"));
    if let Some(id) = &message.collapse_id {
        android.insert("collapse_key".to_owned(), Value::from(id.as_str()));
    }
    let (target, name) = recipient::target(&message.token);
    let mut built = Map::from_iter([(target.to_owned(), Value::from(name))]);
    built.extend(content(&message.push, wake));
    if let Push::Fcm(push) = &*message.push
        && let Some(Value::Object(own)) = push.message.get("android")
    {
        android.extend(own.clone());
    }
    built.insert("android".to_owned(), Value::Object(android));
    if let Some(apns) = apns(message, wake) {
        built.insert("apns".to_owned(), apns);
    }
    if validate_only { json!({"validate_only": true, "message": built}) } else { json!({"message": built}) }
}

/// How large the part is that FCM's limit of 4096 bytes counts.
pub(super) fn content_size(push: &Push, wake: &WakeStyle) -> usize {
    Value::Object(content(push, wake)).to_string().len()
}

/// The content with what a push has of its own for Android.
pub(super) fn preview(push: &Push, wake: &WakeStyle) -> Value {
    let mut built = content(push, wake);
    if let Push::Fcm(push) = push
        && let Some(android) = push.message.get("android")
    {
        built.insert("android".to_owned(), android.clone());
    }
    Value::Object(built)
}

fn content(push: &Push, wake: &WakeStyle) -> Map<String, Value> {
    let mut content = Map::new();
    match (push, wake) {
        (Push::Wake {}, style) => {
            content.insert("data".to_owned(), json!({"tidings": "wake"}));
            if let WakeStyle::Visible { title, body } = style {
                content.insert("notification".to_owned(), json!({"title": title, "body": body}));
            }
        }
        (Push::Alert { title, body, data }, _) => {
            let mut notification = Map::from_iter([("title".to_owned(), Value::from(title.as_str()))]);
            if let Some(body) = body {
                notification.insert("body".to_owned(), Value::from(body.as_str()));
            }
            content.insert("notification".to_owned(), Value::Object(notification));
            if !data.is_empty() {
                let data = data.iter().map(|(name, value)| (name.clone(), Value::from(text(value)))).collect();
                content.insert("data".to_owned(), Value::Object(data));
            }
        }
        (Push::Fcm(push), _) => {
            let own = push.message.iter().filter(|(name, _)| name.as_str() != "android");
            content.extend(own.map(|(name, value)| (name.clone(), value.clone())));
        }
        // Refused when they were submitted.
        (Push::Pass {} | Push::Apns(_) | Push::LiveActivity(_), _) => {}
    }
    content
}

/// `data` is a map of strings; other values travel as JSON text.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// For an iPhone that is reached through FCM: a silent wake needs Apple's headers for one.
fn apns(message: &Message, wake: &WakeStyle) -> Option<Value> {
    if !matches!((&*message.push, wake), (Push::Wake {}, WakeStyle::Silent)) {
        return None;
    }
    Some(json!({
        "headers": {"apns-push-type": "background", "apns-priority": "5"},
        "payload": {"aps": {"content-available": 1}}
    }))
}

/// A `google.protobuf.Duration`: `"3.5s"`.
fn seconds(ms: i64) -> String {
    match (ms / 1000, ms % 1000) {
        (whole, 0) => format!("{whole}s"),
        (whole, rest) => format!("{whole}.{rest:03}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tidings_shared::push_api::Environment;

    fn built(push: Value, wake: &WakeStyle) -> Value {
        let message = Message {
            id: "1".to_owned(),
            token: "registration".to_owned(),
            environment: Environment::Production,
            registered_at_ms: None,
            push: Arc::new(serde_json::from_value(push).unwrap()),
            collapse_id: Some("wake".to_owned()),
            expires_at_ms: 13_500,
        };
        body(&message, wake, 10_000, false)["message"].clone()
    }

    #[test]
    fn a_wake_is_data_only_and_of_high_priority() {
        let message = built(json!({"kind": "wake"}), &WakeStyle::Silent);
        assert_eq!(message["token"], "registration");
        assert_eq!(message["data"], json!({"tidings": "wake"}));
        assert_eq!(message.get("notification"), None);
        assert_eq!(message["android"], json!({"ttl": "3.500s", "priority": "HIGH", "collapse_key": "wake"}));
        assert_eq!(message["apns"]["payload"]["aps"]["content-available"], 1);
    }

    #[test]
    fn an_alert_is_a_notification_with_strings_as_data() {
        let push = json!({"kind": "alert", "title": "T", "body": "B", "data": {"n": 7, "s": "x", "o": {"a": [1]}}});
        let message = built(push, &WakeStyle::Silent);
        assert_eq!(message["notification"], json!({"title": "T", "body": "B"}));
        assert_eq!(message["data"], json!({"n": "7", "o": "{\"a\":[1]}", "s": "x"}));
    }

    #[test]
    fn times_to_live_are_durations() {
        assert_eq!(seconds(3_500), "3.500s");
        assert_eq!(seconds(60_000), "60s");
        assert_eq!(seconds(0), "0s");
    }
}
