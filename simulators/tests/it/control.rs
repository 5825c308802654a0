//! The control door: pushes, scripts, and tokens that Tidings accepts.

use serde_json::{Value, json};

use crate::common::{TOKEN, TOPIC, bounded, connect, start};

#[tokio::test]
async fn pushes_are_listed_and_waited_for() {
    let running = start(&[]).await;
    let client = running.http();
    let waiting = client.get(running.control(&format!("/pushes?token={TOKEN}&after=0&wait=25s"))).send();
    let waiting = tokio::spawn(waiting);
    let bearer = format!("bearer {}", running.provider_token());
    let mut apns = connect(&running).await;
    apns.push(TOKEN, &[("authorization", &bearer), ("apns-topic", TOPIC)], br#"{"a":1}"#).await;
    let listed: Value = bounded(waiting).await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(listed["last"], 1);
    assert_eq!(listed["pushes"][0]["payload"], json!({"a": 1}));
    assert_eq!(listed["pushes"][0]["provider"], "apns");
    let upper = format!("/pushes?token={}", TOKEN.to_uppercase());
    let listed: Value = client.get(running.control(&upper)).send().await.unwrap().json().await.unwrap();
    assert_eq!(listed["pushes"].as_array().unwrap().len(), 1);
    let nothing: Value = client.get(running.control("/pushes?after=1")).send().await.unwrap().json().await.unwrap();
    assert_eq!(nothing, json!({"pushes": [], "last": 1}));
}

#[tokio::test]
async fn scripts_are_set_over_http_and_a_misspelt_one_is_refused_with_words() {
    let running = start(&[]).await;
    let client = running.http();
    let rule = json!({"token": TOKEN.to_uppercase(), "do": {"answer": {"reason": "Unregistered", "timestamp": 9}}});
    let answer = client.post(running.control("/apns/script")).json(&rule).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    let bearer = format!("bearer {}", running.provider_token());
    let mut apns = connect(&running).await;
    let refused = apns.push(TOKEN, &[("authorization", &bearer), ("apns-topic", TOPIC)], b"{}").await;
    assert_eq!(refused.body, r#"{"reason":"Unregistered","timestamp":9}"#);

    for (path, body, word) in [
        ("/apns/script", json!({"do": {"anser": {}}}), "anser"),
        ("/apns/script", json!({"tmes": 2, "do": "cut"}), "tmes"),
        ("/apns/connections", json!("explode"), "explode"),
        ("/apns/keys", json!({"key_id": "A", "team_id": "B", "pem": "x"}), "P-256"),
        ("/tokens", json!({"user": "1", "ttl": "soon"}), "soon"),
        ("/tokens", json!({"user": ""}), "user id"),
    ] {
        let answer = client.post(running.control(path)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{path} {body}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(word) && text.contains("invalid_request"), "{path} {body}: {text}");
    }
    let stats: Value = client.get(running.control("/apns/stats")).send().await.unwrap().json().await.unwrap();
    assert_eq!(stats["refused"], json!({"Unregistered": 1}));
    assert_eq!(client.post(running.control("/reset")).send().await.unwrap().status(), 204);
    let stats: Value = client.get(running.control("/apns/stats")).send().await.unwrap().json().await.unwrap();
    assert_eq!(stats["refused"], json!({}));
}

#[tokio::test]
async fn the_issuer_s_tokens_verify_against_its_jwks() {
    let running = start(&[]).await;
    let client = running.http();
    let metadata: Value =
        client.get(running.control("/.well-known/openid-configuration")).send().await.unwrap().json().await.unwrap();
    let jwks: jsonwebtoken::jwk::JwkSet =
        client.get(metadata["jwks_uri"].as_str().unwrap()).send().await.unwrap().json().await.unwrap();
    let minted: Value = client
        .post(running.control("/tokens"))
        .json(&json!({"user": "68946", "ttl": "2h", "acl": {"subscribe": ["x"]}, "claims": {"name": "Ada"}}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let text = client.get(running.control("/token/23412")).send().await.unwrap().text().await.unwrap();
    for (token, user) in [(minted["token"].as_str().unwrap(), "68946"), (text.as_str(), "23412")] {
        let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        let key = jsonwebtoken::DecodingKey::from_jwk(jwks.find(&kid).unwrap()).unwrap();
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
        validation.set_issuer(&[metadata["issuer"].as_str().unwrap()]);
        validation.set_audience(&["tidings"]);
        let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap().claims;
        assert_eq!(claims["sub"], user);
    }
}

#[tokio::test]
async fn health_and_metrics_are_there() {
    let running = start(&[]).await;
    let client = running.http();
    assert_eq!(client.get(running.control("/readyz")).send().await.unwrap().status(), 200);
    let metrics = client.get(running.control("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("tidings_simulators_apns_accepted_total 0"), "{metrics}");
    let unknown = client.get(running.control("/nowhere")).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    assert!(unknown.text().await.unwrap().contains("/pushes"));
}
