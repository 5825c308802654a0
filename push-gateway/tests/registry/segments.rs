//! Segments: who is in them, and sending to them.

use serde_json::{Value, json};
use tidings_simulators::apns::{ApnsAction, ScriptedAnswer};
use tidings_simulators::script::Rule;

use crate::service::{Service, services};

/// Five devices of which each differs in something.
async fn people(service: &Service) {
    service.phone("anna", "a", "a1", json!({"locale": "de-AT", "version": "2.10", "tags": ["beta", "vip"]})).await;
    service.phone("ben", "b", "b1", json!({"locale": "de", "version": "2.9.1", "tags": ["beta"]})).await;
    service.phone("carl", "c", "c1", json!({"locale": "en", "version": "2.10-rc1"})).await;
    service.phone("dora", "d", "d1", json!({"time_zone": "Europe/Vienna"})).await;
    let pixel =
        json!({"user": "emil", "provider": "fcm", "token": "registration", "tags": ["vip"], "version": "nightly"});
    service.good("PUT", "/v1/devices/e", pixel).await;
}

#[tokio::test]
async fn an_expression_finds_exactly_its_devices() {
    for service in services(&[]).await {
        people(&service).await;
        for (filter, devices) in [
            (json!({"all": []}), 5),
            (json!({"any": []}), 0),
            (json!({"tag": "beta"}), 2),
            (json!({"all": [{"tag": "beta"}, {"tag": "vip"}]}), 1),
            (json!({"any": [{"tag": "beta"}, {"tag": "vip"}]}), 3),
            (json!({"not": {"tag": "beta"}}), 3),
            (json!({"locale": "DE"}), 2),
            (json!({"locale": "de-AT"}), 1),
            (json!({"not": {"locale": "de"}}), 3),
            (json!({"version": {"from": "2.10"}}), 1),
            (json!({"version": {"from": "2.10-a", "below": "3"}}), 2),
            (json!({"version": {"below": "2.10"}}), 2),
            (json!({"not": {"version": {"below": "2.10"}}}), 3),
            (json!({"version": {"is": "2.10.0"}}), 1),
            (json!({"version": {"is": "nightly"}}), 1),
            (json!({"provider": "fcm"}), 1),
            (json!({"app": "other"}), 0),
            (json!({"time_zone": "Europe/Vienna"}), 1),
            (json!({"seen": {"within": "1h"}}), 5),
            (json!({"seen": {"not_within": "1h"}}), 0),
        ] {
            service.good("PUT", "/v1/segments/s", json!({"where": filter})).await;
            let counted = service.good("GET", "/v1/segments/s/count", Value::Null).await;
            assert_eq!(counted["devices"], devices, "{filter}");
        }
        let shown = service.good("GET", "/v1/segments", Value::Null).await;
        assert_eq!(shown["segments"][0]["where"], json!({"seen": {"not_within": "1h"}}));
        service.good("DELETE", "/v1/segments/s", Value::Null).await;
        service.refused("GET", "/v1/segments/s/count", Value::Null, "segment_unknown").await;
    }
}

#[tokio::test]
async fn what_cannot_be_a_segment_is_refused_and_told_why() {
    for service in services(&[]).await {
        let deep = (0..12).fold(json!({"tag": "x"}), |filter, _| json!({"not": filter}));
        let long: Vec<_> = (0..101).map(|tag| json!({"tag": tag.to_string()})).collect();
        for (part, filter) in [
            ("parts", json!({"any": long})),
            ("deep", deep),
            ("de_AT", json!({"locale": "de_AT"})),
            ("begin with a number", json!({"version": {"from": "nightly"}})),
            ("at least one", json!({"version": {}})),
            ("30d", json!({"seen": {"within": "soon"}})),
            ("Mars", json!({"time_zone": "Mars"})),
        ] {
            let message = service.refused("PUT", "/v1/segments/s", json!({"where": filter}), "segment_invalid").await;
            assert!(message.contains(part), "{message}");
        }
        service.refused("PUT", "/v1/segments/s", json!({"where": {"tga": "x"}}), "body_invalid").await;
        service.refused("PUT", "/v1/segments/a.b", json!({"where": {"tag": "x"}}), "name_invalid").await;
        let to = json!({"to": {"segment": "nobody"}, "push": {"kind": "wake"}});
        service.refused("POST", "/v1/notifications", to, "segment_unknown").await;
    }
}

#[tokio::test]
async fn a_notification_reaches_a_segment_and_shows_how_far_it_is() {
    for service in services(&[]).await {
        people(&service).await;
        service.good("PUT", "/v1/segments/beta", json!({"where": {"tag": "beta"}})).await;
        let push = json!({"kind": "alert", "title": "News"});
        let accepted =
            service.good("POST", "/v1/notifications", json!({"to": {"segment": "beta"}, "push": push})).await;
        assert_eq!(accepted["expansion"]["segment"], "beta");
        assert_eq!(accepted["targets"], json!([]));
        let sent = service.ended(accepted["id"].as_str().unwrap()).await;
        assert_eq!(sent["expansion"], json!({"segment": "beta", "targets": 2, "skipped": 0, "complete": true}));
        assert_eq!(sent["targets"].as_array().unwrap().len(), 2);
        // One that is described on the spot; and devices whose provider does not know the push are counted.
        let to = json!({"segment": {"where": {"tag": "vip"}}});
        let sent = service.send(json!({"to": to, "push": {"kind": "pass"}})).await;
        assert_eq!((&sent["expansion"]["targets"], &sent["expansion"]["skipped"]), (&json!(1), &json!(1)));
        let large = json!({"kind": "alert", "title": "x".repeat(5000)});
        service
            .refused(
                "POST",
                "/v1/notifications",
                json!({"to": {"segment": "beta"}, "push": large}),
                "payload_too_large",
            )
            .await;
    }
}

#[tokio::test]
async fn a_crash_in_the_middle_neither_leaves_out_nor_doubles_a_device() {
    const DEVICES: usize = 1100;
    for mut service in services(&[("push.max_devices_per_user", "5000")]).await {
        let registering = (0..DEVICES).map(|number| {
            let (http, url) = (service.http.clone(), format!("{}/v1/devices/d{number}", service.url));
            async move {
                let body =
                    json!({"user": "crowd", "provider": "apns", "token": format!("{number:064x}"), "tags": ["all"]});
                http.put(url).bearer_auth("service-key").json(&body).send().await.unwrap().status().as_u16()
            }
        });
        let mut registering = futures_util::stream::FuturesUnordered::from_iter(registering);
        while let Some(status) = futures_util::StreamExt::next(&mut registering).await {
            assert_eq!(status, 201);
        }
        let body = json!({"to": {"segment": {"where": {"tag": "all"}}}, "push": {"kind": "wake"}});
        let accepted = service.good("POST", "/v1/notifications", body).await;
        let id = accepted["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/notifications/{id}");
        service.until(async || service.good("GET", &path, Value::Null).await["expansion"]["targets"] != 0).await;
        service.crash_and_start().await;
        // The lease of the one that crashed ends first.
        service.until(async || service.good("GET", &path, Value::Null).await["expansion"]["complete"] == true).await;
        let shown = service.good("GET", &path, Value::Null).await;
        assert_eq!(shown["expansion"]["targets"], DEVICES, "{}", shown["expansion"]);
        let mut targets = std::collections::BTreeSet::new();
        let mut next = String::new();
        loop {
            let page = service.good("GET", &format!("{path}/timeline?after={next}"), Value::Null).await;
            for target in page["targets"].as_array().unwrap() {
                assert!(targets.insert(target["device"].as_str().unwrap().to_owned()), "twice: {target}");
            }
            match page["next"].as_str() {
                Some(after) => next = after.to_owned(),
                None => break,
            }
        }
        assert_eq!(targets.len(), DEVICES);
    }
}

#[tokio::test]
async fn a_segment_larger_than_the_queue_waits_for_room_and_holds_up_no_other() {
    const DEVICES: usize = 100;
    const BOUND: i64 = 40;
    let settings = [
        ("push.max_devices_per_user", "5000"),
        ("push.limits.queue_per_app", "40"),
        ("push.retry.longest", "200ms"),
        // The provider is there, and takes nothing.
        ("push.breaker.failures", "100000"),
    ];
    for service in services(&settings).await {
        for number in 0..DEVICES {
            let body = json!({"user": "crowd", "provider": "apns", "token": format!("{number:064x}")});
            service.good("PUT", &format!("/v1/devices/d{number}"), body).await;
        }
        let pixel = json!({"user": "emil", "provider": "fcm", "token": "registration"});
        service.good("PUT", "/v1/devices/pixel", pixel).await;
        let busy = ApnsAction::Answer(ScriptedAnswer::reason("ServiceUnavailable"));
        service.simulators.apns().script().add(Rule::once(busy).always());
        let to =
            |provider: &str| json!({"to": {"segment": {"where": {"provider": provider}}}, "push": {"kind": "wake"}});
        let crowd = service.good("POST", "/v1/notifications", to("apns")).await;
        let path = format!("/v1/notifications/{}", crowd["id"].as_str().unwrap());
        let waits = async || {
            let text = service.metrics().await;
            let line = text.lines().find_map(|line| line.strip_prefix("tidings_push_segment_waits_total ")).unwrap();
            line.parse::<u64>().unwrap()
        };
        let targets = async || {
            let shown = service.good("GET", &path, Value::Null).await;
            shown["expansion"]["targets"].as_i64().unwrap()
        };
        service.until(async || targets().await > 0 && waits().await > 1).await;
        // The last quarter is left to others.
        assert_eq!(targets().await, BOUND * 3 / 4);
        let one = json!({"to": {"token": {"provider": "apns", "token": "ab".repeat(32)}}, "push": {"kind": "wake"}});
        service.good("POST", "/v1/notifications", one).await;
        let other = service.send(to("fcm")).await;
        assert_eq!(other["targets"][0]["state"], "accepted");
        let waited = waits().await;
        service.until(async || waits().await > waited + 1).await;
        assert_eq!(targets().await, BOUND * 3 / 4);

        // The rest comes as soon as there is room.
        service.simulators.apns().script().clear();
        let sent = service.ended(crowd["id"].as_str().unwrap()).await;
        assert_eq!(sent["expansion"]["targets"], DEVICES);
        assert!(sent["targets"].as_array().unwrap().iter().all(|target| target["state"] == "accepted"));
    }
}
