//! The JSON payload of a push ("Generating a remote notification", "Starting and updating Live Activities with
//! ActivityKit push notifications").

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tidings_shared::push_api::{LiveActivity, Push};

use crate::provider::WakeStyle;

#[derive(Serialize)]
struct Alert<'a> {
    aps: Aps<'a>,
    #[serde(flatten)]
    data: &'a BTreeMap<String, Value>,
}

#[derive(Serialize)]
struct Aps<'a> {
    alert: Words<'a>,
    sound: &'static str,
}

#[derive(Serialize)]
struct Words<'a> {
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
}

/// The payload. `at_s` is the time of the request, in seconds since 1970: Live Activities are ordered by it.
pub(super) fn payload(push: &Push, wake: &WakeStyle, at_s: i64) -> Bytes {
    match (push, wake) {
        (Push::Pass {} | Push::Fcm(_), _) => Bytes::from_static(b"{}"),
        (Push::Wake {}, WakeStyle::Silent) => Bytes::from_static(br#"{"aps":{"content-available":1}}"#),
        (Push::Wake {}, WakeStyle::Visible { title, body }) => {
            text(&json!({"aps": {"alert": {"title": title, "body": body}, "content-available": 1}}))
        }
        (Push::Alert { title, body, data, .. }, _) => {
            let alert = Words { title, body: body.as_deref() };
            text(&Alert { aps: Aps { alert, sound: "default" }, data })
        }
        (Push::Apns(push), _) => text(&push.payload),
        (Push::LiveActivity(activity), _) => text(&live_activity(activity, at_s)),
    }
}

fn live_activity(activity: &LiveActivity, at_s: i64) -> Value {
    let mut aps = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            aps.insert(name.to_owned(), value);
        }
    };
    put("timestamp", Some(activity.timestamp.unwrap_or(at_s).into()));
    put("event", Some(activity.event.as_str().into()));
    put("content-state", activity.content_state.clone().map(Value::Object));
    put("attributes-type", activity.attributes_type.clone().map(Value::String));
    put("attributes", activity.attributes.clone().map(Value::Object));
    put("input-push-channel", activity.input_push_channel.clone().map(Value::String));
    put("input-push-token", activity.input_push_token.then(|| 1.into()));
    put("stale-date", activity.stale_date.map(Value::from));
    put("dismissal-date", activity.dismissal_date.map(Value::from));
    put("relevance-score", activity.relevance_score.map(Value::from));
    put("alert", activity.alert.as_ref().and_then(|alert| serde_json::to_value(alert).ok()));
    json!({ "aps": aps })
}

/// JSON with text keys: it is always a text.
fn text(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}

/// The payload of the push that was sent last: a campaign's targets share one push, and so one body.
#[derive(Debug, Default)]
pub(super) struct LastPayload(Mutex<Option<(Weak<Push>, Bytes)>>);

impl LastPayload {
    pub(super) fn of(&self, push: &Arc<Push>, wake: &WakeStyle, at_s: i64) -> Bytes {
        // Cheaper than to look it up.
        if matches!((&**push, wake), (Push::Wake {}, WakeStyle::Silent) | (Push::Pass {}, _)) {
            return payload(push, wake, at_s);
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref() {
            // The weak handle keeps the address from being given to another push.
            Some((known, body)) if std::ptr::eq(known.as_ptr(), Arc::as_ptr(push)) => body.clone(),
            _ => {
                let body = payload(push, wake, at_s);
                *last = Some((Arc::downgrade(push), body.clone()));
                body
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(push: Value, wake: &WakeStyle) -> Value {
        let push: Push = serde_json::from_value(push).unwrap();
        serde_json::from_slice(&payload(&push, wake, 1_700_000_000)).unwrap()
    }

    #[test]
    fn wake_and_pass_pushes() {
        let silent = built(json!({"kind": "wake"}), &WakeStyle::Silent);
        assert_eq!(silent, json!({"aps": {"content-available": 1}}));
        let style = WakeStyle::Visible { title: "News".to_owned(), body: "Open the app".to_owned() };
        assert_eq!(built(json!({"kind": "wake"}), &style)["aps"]["alert"]["title"], "News");
        assert_eq!(built(json!({"kind": "pass"}), &style), json!({}));
    }

    #[test]
    fn an_alert_carries_its_data_beside_aps() {
        let push = json!({
            "kind": "alert", "title": "Hello", "body": "there", "data": {"thread": 7, "from_user": "23412"}
        });
        let payload = built(push, &WakeStyle::Silent);
        assert_eq!(payload["aps"]["alert"], json!({"title": "Hello", "body": "there"}));
        assert_eq!((&payload["thread"], &payload["from_user"]), (&json!(7), &json!("23412")));
    }

    #[test]
    fn a_live_activity_has_apples_names() {
        let start = json!({
            "kind": "live_activity", "event": "start", "content_state": {"score": "1:0"}, "attributes_type": "Match",
            "attributes": {"home": "A"}, "stale_date": 5, "input_push_channel": "c29tZQ==", "input_push_token": true,
            "relevance_score": 0.5, "alert": {"title": "t", "body": "b", "sound": "default"}
        });
        assert_eq!(
            built(start, &WakeStyle::Silent)["aps"],
            json!({
                "timestamp": 1_700_000_000, "event": "start", "content-state": {"score": "1:0"},
                "attributes-type": "Match", "attributes": {"home": "A"}, "input-push-channel": "c29tZQ==",
                "input-push-token": 1, "stale-date": 5, "relevance-score": 0.5,
                "alert": {"title": "t", "body": "b", "sound": "default"}
            })
        );
        let end = json!({"kind": "live_activity", "event": "end", "timestamp": 7, "dismissal_date": 9});
        let aps = built(end, &WakeStyle::Silent)["aps"].clone();
        assert_eq!(aps, json!({"timestamp": 7, "event": "end", "dismissal-date": 9}));
    }

    #[test]
    fn apples_own_words_go_out_as_they_are() {
        let push = json!({"kind": "apns", "push_type": "mdm", "payload": {"mdm": "magic"}});
        assert_eq!(built(push, &WakeStyle::Silent), json!({"mdm": "magic"}));
    }

    #[test]
    fn pushes_that_are_the_same_share_one_body_and_others_do_not() {
        let last = LastPayload::default();
        let push = |title: &str| -> Arc<Push> {
            Arc::new(serde_json::from_value(json!({"kind": "alert", "title": title})).unwrap())
        };
        let (one, two) = (push("one"), push("two"));
        let first = last.of(&one, &WakeStyle::Silent, 0);
        assert_eq!(last.of(&one, &WakeStyle::Silent, 0).as_ptr(), first.as_ptr());
        assert!(last.of(&two, &WakeStyle::Silent, 0).windows(3).any(|part| part == b"two"));
        assert_eq!(last.of(&one, &WakeStyle::Silent, 0), first);
    }
}
