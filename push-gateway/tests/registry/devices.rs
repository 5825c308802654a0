//! The registry: what devices say of themselves, rotation, quarantine.

use serde_json::{Value, json};
use tidings_simulators::apns::{ApnsAction, ScriptedAnswer};
use tidings_simulators::script::Rule;

use crate::service::{services, token};

#[tokio::test]
async fn a_device_says_where_it_is_and_changes_a_part_of_it() {
    for service in services(&[]).await {
        let more = json!({"locale": "DE-at", "time_zone": "Europe/Vienna", "version": "2.10", "tags": ["b", "a", "b"]});
        let device = service.phone("anna", "phone", "ab", more).await;
        assert_eq!(device["locale"], "de-AT");
        assert_eq!(device["tags"], json!(["a", "b"]));
        // What an older version of the app leaves out stays.
        let again = service.phone("anna", "phone", "ab", json!({})).await;
        assert_eq!((&again["version"], &again["tags"]), (&json!("2.10"), &json!(["a", "b"])));
        let anna = token("anna");
        let patch = json!({"locale": null, "version": "2.11", "add_tags": ["c"], "remove_tags": ["a"]});
        let (status, changed) = service.ask(&anna, "PATCH", "/v1/devices/phone", &patch).await;
        assert_eq!(status, 200, "{changed}");
        assert_eq!((changed.get("locale"), &changed["time_zone"]), (None, &json!("Europe/Vienna")));
        assert_eq!((&changed["tags"], &changed["version"]), (&json!(["b", "c"]), &json!("2.11")));
        let (_, list) = service.ask(&anna, "GET", "/v1/devices", &Value::Null).await;
        assert_eq!(list["devices"], json!([changed]));
        assert_eq!(service.ask(&token("ben"), "PATCH", "/v1/devices/phone", &patch).await.0, 404);
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_code() {
    for service in services(&[]).await {
        service.phone("anna", "phone", "ab", json!({})).await;
        let path = "/v1/devices/phone?user=anna";
        let many: Vec<_> = (0..65).map(|tag| tag.to_string()).collect();
        for (code, part, body) in [
            ("locale_invalid", "de_AT", json!({"locale": "de_AT"})),
            ("time_zone_invalid", "Mars", json!({"time_zone": "Mars/Olympus"})),
            ("version_invalid", "visible", json!({"version": ""})),
            ("tags_invalid", "65", json!({"tags": many})),
            ("tags_invalid", "65", json!({"add_tags": many})),
            ("tags_invalid", "1 to 64", json!({"add_tags": [""]})),
            ("token_invalid", "hexadecimal", json!({"token": "xyz"})),
            ("environment_unavailable", "default", json!({"environment": "sandbox"})),
            ("body_invalid", "provider", json!({"provider": "fcm"})),
            ("body_invalid", "old_token", json!({"old_token": "ab".repeat(32)})),
        ] {
            let message = service.refused("PATCH", path, body, code).await;
            assert!(message.contains(part), "{code}: {message}");
        }
    }
}

#[tokio::test]
async fn a_token_rotates_and_an_old_rotation_changes_nothing() {
    for service in services(&[]).await {
        let first = service.phone("anna", "phone", "ab", json!({"tags": ["x"]})).await;
        let path = "/v1/devices/phone?user=anna";
        let rotate = json!({"old_token": "ab".repeat(32), "token": "cd".repeat(32)});
        let rotated = service.good("PATCH", path, rotate.clone()).await;
        assert_eq!((&rotated["id"], &rotated["generation"]), (&first["id"], &json!(2)));
        // The same request again is the same; one from an earlier time is late.
        assert_eq!(service.good("PATCH", path, rotate).await["generation"], 2);
        let late = json!({"old_token": "ab".repeat(32), "token": "ef".repeat(32)});
        service.refused("PATCH", path, late, "token_changed").await;
        service.send(json!({"to": {"user": "anna"}, "push": {"kind": "wake"}})).await;
        let pushes = service.simulators.inbox().list(None, 0, 10);
        assert_eq!(pushes.last().unwrap().token, "cd".repeat(32));
    }
}

#[tokio::test]
async fn a_token_that_is_gone_is_in_quarantine_until_the_device_registers_again() {
    for service in services(&[]).await {
        service.phone("anna", "phone", "ab", json!({"tags": ["x"]})).await;
        let gone = ScriptedAnswer { timestamp: Some(4_000_000_000_000), ..ScriptedAnswer::reason("Unregistered") };
        service.simulators.apns().script().add(Rule::once(ApnsAction::Answer(gone)));
        let to = json!({"to": {"user": "anna"}, "push": {"kind": "wake"}});
        let sent = service.send(to.clone()).await;
        assert_eq!((&sent["targets"][0]["state"], &sent["targets"][0]["token_gone"]), (&json!("dead"), &json!(true)));
        let list = service.good("GET", "/v1/devices?user=anna", Value::Null).await;
        assert!(list["devices"][0]["quarantined_at_ms"].is_i64(), "{list}");
        // Nothing is sent to it.
        assert_eq!(service.send(to.clone()).await["targets"], json!([]));
        let named = json!({"to": {"user": "anna", "device": "phone"}, "push": {"kind": "wake"}});
        let sent = service.send(named).await;
        assert_eq!(sent["targets"][0]["reason"], "device_unregistered");
        // It comes back with everything that it had, as a new generation.
        let back = service.phone("anna", "phone", "ab", json!({})).await;
        assert_eq!((back.get("quarantined_at_ms"), &back["generation"]), (None, &json!(2)));
        assert_eq!(back["tags"], json!(["x"]));
        assert_eq!(service.send(to).await["targets"][0]["state"], "accepted");
    }
}

#[tokio::test]
async fn devices_are_forgotten_after_their_quarantine() {
    for mut service in services(&[("push.devices.quarantine", "1ms")]).await {
        service.phone("anna", "phone", "ab", json!({"tags": ["x"]})).await;
        service.phone("anna", "tablet", "cd", json!({"tags": ["x"]})).await;
        let rule = Rule::once(ApnsAction::Answer(ScriptedAnswer {
            timestamp: Some(4_000_000_000_000),
            ..ScriptedAnswer::reason("Unregistered")
        }));
        service.simulators.apns().script().add(rule.token(&"ab".repeat(32)));
        service.send(json!({"to": {"user": "anna"}, "push": {"kind": "wake"}})).await;
        // It looks when it starts, and now and then.
        service.crash_and_start().await;
        let names = async || {
            let list = service.good("GET", "/v1/devices?user=anna", Value::Null).await;
            list["devices"].as_array().unwrap().iter().map(|device| device["device"].clone()).collect::<Vec<_>>()
        };
        service.until(async || names().await == ["tablet"]).await;
        assert!(service.metrics().await.contains("tidings_push_devices_forgotten_total{reason=\"token_gone\"} 1"));
    }
}
