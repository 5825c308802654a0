//! What a gorush user sends arrives, and what cannot be done is in `logs`.

use serde_json::{Value, json};

use crate::service::services;

const ON: [(&str, &str); 2] = [("push.gorush.enabled", "true"), ("push.gorush.key", "moving")];

#[tokio::test]
async fn the_examples_of_its_readme_arrive() {
    for service in services(&ON).await {
        let ios = "ab".repeat(32);
        let body = json!({"notifications": [
            {
                "tokens": [ios], "platform": 1, "message": "Hello World iOS!", "title": "Gorush with iOS",
                "topic": "org.example.app", "badge": 1, "sound": {"critical": 1, "name": "default", "volume": 1.0},
                "data": {"key1": "test"}, "alert": {"subtitle": "sub", "loc-args": ["a"]}, "collapse_id": "c", "priority": "high",
                "mutable_content": true, "thread-id": "t", "category": "cat", "interruption_level": "active"
            },
            {
                "tokens": ["token_a", "token_b"], "platform": 2, "message": "Hello World Android!", "title": "Gorush with Android",
                "image": "https://example.org/i.png", "priority": "high", "data": {"n": 1, "s": "x"}, "sound": "bell",
                "android": {"ttl": "60s", "collapse_key": "k"}
            },
            {"topic": "/topics/news", "platform": 2, "message": "News", "tokens": []},
            {"tokens": [ios], "platform": 1, "content_available": true, "push_type": "background", "priority": "normal"}
        ]});
        let (status, answer) = service.ask("moving", "POST", "/api/push", &body).await;
        assert_eq!((status, answer), (200, json!({"success": "ok", "counts": 5, "logs": []})));
        service.until(async || service.simulators.inbox().list(None, 0, 10).len() == 5).await;
        let pushes = service.simulators.inbox().list(None, 0, 10);
        let alert = pushes.iter().find(|push| push.payload["aps"]["badge"] == 1).unwrap();
        assert_eq!(
            alert.payload["aps"]["alert"],
            json!({"title": "Gorush with iOS", "body": "Hello World iOS!", "subtitle": "sub", "loc-args": ["a"]})
        );
        assert_eq!(alert.payload["aps"]["sound"], json!({"critical": 1, "name": "default", "volume": 1.0}));
        assert_eq!((&alert.payload["key1"], &alert.payload["aps"]["thread-id"]), (&json!("test"), &json!("t")));
        let android = pushes.iter().find(|push| push.token == "token_a").unwrap();
        assert_eq!(
            android.payload["notification"],
            json!({"title": "Gorush with Android", "body": "Hello World Android!", "image": "https://example.org/i.png"})
        );
        assert_eq!(
            (&android.payload["data"]["n"], &android.payload["android"]["priority"]),
            (&json!("1"), &json!("high"))
        );
        assert_eq!(android.payload["android"]["collapse_key"], "k");
        assert!(pushes.iter().any(|push| push.payload["aps"] == json!({"content-available": 1})));
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_in_the_logs() {
    for service in services(&ON).await {
        let ios = "ab".repeat(32);
        for (part, notification) in [
            ("Huawei", json!({"tokens": ["t"], "platform": 3, "message": "m"})),
            ("platform is missing", json!({"tokens": ["t"], "message": "m"})),
            ("platform 7", json!({"tokens": ["t"], "platform": 7})),
            ("at least one device token", json!({"platform": 1, "message": "m"})),
            ("hexadecimal", json!({"tokens": ["t"], "platform": 1, "message": "m"})),
            ("org.example.other", json!({"tokens": [ios], "platform": 1, "topic": "org.example.other"})),
            ("apns_id", json!({"tokens": [ios], "platform": 1, "apns_id": "x"})),
            ("has passed", json!({"tokens": [ios], "platform": 1, "message": "m", "expiration": 5})),
            ("push_type", json!({"tokens": [ios], "platform": 1, "push_type": "loud"})),
            ("normal or high", json!({"tokens": [ios], "platform": 1, "priority": "urgent"})),
            ("`badge` is a whole number", json!({"tokens": [ios], "platform": 1, "badge": "one"})),
            ("takes one", json!({"tokens": [], "platform": 2, "topic": "a", "condition": "'b' in topics"})),
            ("500", json!({"tokens": vec!["t"; 501], "platform": 2, "message": "m"})),
            ("4096", json!({"tokens": [ios], "platform": 1, "message": "x".repeat(5000)})),
        ] {
            let body = json!({"notifications": [notification]});
            let (status, answer) = service.ask("moving", "POST", "/api/push", &body).await;
            assert_eq!((status, &answer["counts"]), (200, &json!(0)), "{answer}");
            let log = &answer["logs"][0];
            assert_eq!(log["type"], "failed-push");
            assert!(log["error"].as_str().unwrap().contains(part), "{log}");
        }
        let good = json!({"tokens": [ios, "bad"], "platform": 1, "message": "m", "notif_id": "7"});
        let (_, answer) = service.ask("moving", "POST", "/api/push", &json!({"notifications": [good]})).await;
        assert_eq!((&answer["counts"], &answer["logs"][0]["notif_id"]), (&json!(1), &json!("7")), "{answer}");
        for (body, message) in [
            (json!({}), "Missing notifications field."),
            (json!({"notifications": []}), "Notifications field is empty."),
        ] {
            let (status, answer) = service.ask("moving", "POST", "/api/push", &body).await;
            assert_eq!((status, answer), (400, json!({"code": 400, "message": message})));
        }
        assert_eq!(service.ask("wrong", "POST", "/api/push", &json!({"notifications": []})).await.0, 401);
    }
}

#[tokio::test]
async fn the_route_is_off_unless_it_is_wanted() {
    for service in services(&[]).await {
        service.refused("POST", "/api/push", json!({"notifications": []}), "gorush_disabled").await;
    }
    for service in services(&[("push.gorush.enabled", "true")]).await {
        // As gorush itself, which asks nobody.
        let answer = service.http.post(format!("{}/api/push", service.url)).json(&json!({"notifications": [
            {"tokens": ["ab".repeat(32)], "platform": 1, "message": "m"}
        ]}));
        let answer: Value = answer.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["counts"], 1);
    }
}
