//! Receipts and timelines.

use serde_json::{Value, json};
use tidings_simulators::apns::{ApnsAction, ScriptedAnswer};
use tidings_simulators::script::Rule;

use crate::service::{services, token};

fn names(timeline: &Value) -> Vec<String> {
    let events = timeline["targets"][0]["events"].as_array().unwrap();
    events.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_timeline_tells_what_happened_and_the_app_adds_to_it_once() {
    for service in services(&[]).await {
        service.phone("anna", "phone", "ab", json!({})).await;
        let push = json!({"kind": "alert", "title": "Hello"});
        let body = json!({"to": {"user": "anna"}, "push": push, "receipts": true});
        let sent = service.send(body).await;
        let id = sent["id"].as_str().unwrap();
        let push = service.simulators.inbox().list(None, 0, 10).pop().unwrap();
        assert_eq!(push.payload["tidings_notification"], id);
        let path = format!("/v1/notifications/{id}/timeline");
        let timeline = service.good("GET", &path, Value::Null).await;
        assert_eq!(names(&timeline), ["queued", "sent", "accepted"]);
        let accepted = &timeline["targets"][0]["events"][2];
        assert_eq!((&accepted["provider_status"], &accepted["attempts"]), (&json!(200), &json!(1)));
        assert!(accepted["provider_id"].is_string(), "{accepted}");
        let anna = token("anna");
        for (event, new) in [("delivered", 1), ("opened", 1), ("opened", 0)] {
            let receipt = json!({"notification": id, "device": "phone", "event": event});
            let (status, taken) = service.ask(&anna, "POST", "/v1/receipts", &receipt).await;
            assert_eq!((status, &taken["new"]), (200, &json!(new)), "{taken}");
        }
        // A clock that is years behind or ahead does not turn the order round.
        let late = json!({"target": sent["targets"][0]["id"], "event": "dismissed", "at_ms": 4_000_000_000_000_i64});
        assert_eq!(service.ask(&anna, "POST", "/v1/receipts", &late).await.0, 200);
        let timeline = service.good("GET", &path, Value::Null).await;
        assert_eq!(names(&timeline), ["queued", "sent", "accepted", "delivered", "opened", "dismissed"]);
        let metrics = service.metrics().await;
        assert!(metrics.contains("tidings_push_receipts_total{event=\"opened\"} 1"), "{metrics}");
    }
}

#[tokio::test]
async fn nobody_reports_for_others() {
    for service in services(&[]).await {
        service.phone("anna", "phone", "ab", json!({})).await;
        let sent = service.send(json!({"to": {"user": "anna"}, "push": {"kind": "wake"}})).await;
        let receipt = json!({"notification": sent["id"], "event": "opened"});
        let (status, answer) = service.ask(&token("ben"), "POST", "/v1/receipts", &receipt).await;
        assert_eq!((status, &answer["error"]["code"]), (404, &json!("notification_unknown")));
        assert_eq!(service.ask("wrong", "POST", "/v1/receipts", &receipt).await.0, 401);
        service.refused("POST", "/v1/receipts", json!({"event": "opened"}), "body_invalid").await;
        service.refused("GET", "/v1/notifications/x/timeline", Value::Null, "notification_unknown").await;
        let wake = json!({"to": {"user": "anna"}, "push": {"kind": "wake"}, "receipts": true});
        service.refused("POST", "/v1/notifications", wake, "receipts_unsupported").await;
    }
}

#[tokio::test]
async fn a_refusal_of_the_provider_is_in_the_timeline_in_its_words() {
    for service in services(&[]).await {
        service.phone("anna", "phone", "ab", json!({})).await;
        let refused = ApnsAction::Answer(ScriptedAnswer::reason("PayloadEmpty"));
        service.simulators.apns().script().add(Rule::once(refused));
        let sent = service.send(json!({"to": {"user": "anna"}, "push": {"kind": "wake"}})).await;
        let path = format!("/v1/notifications/{}/timeline", sent["id"].as_str().unwrap());
        let timeline = service.good("GET", &path, Value::Null).await;
        assert_eq!(names(&timeline), ["queued", "sent", "dead"]);
        assert_eq!(timeline["targets"][0]["events"][2]["reason"], "PayloadEmpty");
    }
}
