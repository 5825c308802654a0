//! The push service of simulated browsers, through the control and its own door: what it refuses, and why.

use serde_json::{Value, json};

use crate::common::start;

#[tokio::test]
async fn the_control_subscribes_scripts_and_forgets() {
    let running = start(&[]).await;
    let http = running.http();
    let post = async |path: &str, body: Value| http.post(running.control(path)).json(&body).send().await.unwrap();
    let subscription: Value = post("/webpush/subscriptions", json!({})).await.json().await.unwrap();
    let endpoint = subscription["endpoint"].as_str().unwrap().to_owned();
    assert!(endpoint.starts_with(&running.credentials().fcm_url), "it lives at FCM's door");
    assert_eq!(subscription["expirationTime"], Value::Null);
    let wrong = post("/webpush/subscriptions", json!({"application_server_key": "AAAA"})).await;
    assert_eq!(wrong.status(), 400);
    let rule = json!({"token": endpoint, "do": {"answer": {"status": 429, "retry_after": "5"}}});
    assert_eq!(post("/webpush/script", rule).await.status(), 204);
    let rules: Value = http.get(running.control("/webpush/script")).send().await.unwrap().json().await.unwrap();
    assert_eq!(rules[0]["do"]["answer"]["status"], 429);

    // Nothing that is not signed gets as far as the script.
    let unsigned = http.post(&endpoint).header("ttl", "60").send().await.unwrap();
    assert_eq!(unsigned.status(), 401);
    assert!(unsigned.text().await.unwrap().contains("vapid"));
    let stats: Value = http.get(running.control("/webpush/stats")).send().await.unwrap().json().await.unwrap();
    assert_eq!(stats, json!({"accepted": 0, "refused": 1}));

    assert_eq!(post("/webpush/unsubscribe", json!({"endpoint": endpoint})).await.status(), 204);
    assert_eq!(http.post(&endpoint).send().await.unwrap().status(), 410);
    assert_eq!(post("/webpush/unsubscribe", json!({"endpoint": "https://elsewhere/x"})).await.status(), 400);
    let unknown = http.post(format!("{}/webpush/push/unknown", running.credentials().fcm_url)).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
}

#[tokio::test]
async fn the_topic_service_is_as_strict_as_googles() {
    let running = start(&[]).await;
    let url = format!("{}/iid/v1:batchAdd", running.credentials().fcm_url);
    let body = json!({"to": "/topics/news", "registration_tokens": ["one"]});
    let without = running.http().post(&url).bearer_auth("x").json(&body).send().await.unwrap();
    assert_eq!(without.status(), 401);
    let wrong = running.http().post(&url).bearer_auth("x").header("access_token_auth", "true").json(&body);
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    assert!(running.simulators.fcm().subscribers("tidings-dev", "news").is_empty());
}
