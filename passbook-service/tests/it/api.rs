//! Promises: the service-key API and each of its refusals.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{PASS_TYPE, Running, push_token};

async fn code(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap_or_default();
    (status, body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_pass_is_made_read_changed_and_deleted() {
    for service in Running::on_each_database(&[]).await {
        let body = json!({"template": "example", "fields": {"points": 1, "name": "Ada", "offer": null}, "userInfo": {"customer": 7}});
        let answer = service.api(Method::POST, "/api/passes").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let made: Value = answer.json().await.unwrap();
        let serial = made["serialNumber"].as_str().unwrap().to_owned();
        assert_eq!(made["passTypeIdentifier"], PASS_TYPE);
        assert!(serial.bytes().all(|b| b.is_ascii_alphanumeric()), "{serial}");
        assert!(made["authenticationToken"].as_str().unwrap().len() >= 16);
        assert!(made["url"].as_str().unwrap().ends_with(&format!("/api/passes/{PASS_TYPE}/{serial}/package")));

        let path = format!("/api/passes/{PASS_TYPE}/{serial}");
        let read = async || service.api(Method::GET, &path).send().await.unwrap().json::<Value>().await.unwrap();
        let state = read().await;
        assert_eq!(state["fields"], json!({"points": 1, "name": "Ada"}));
        assert_eq!(
            (&state["userInfo"], &state["revision"], &state["devices"]),
            (&json!({"customer": 7}), &json!(1), &json!(0))
        );
        assert_eq!((&state["tokenAlgorithm"], &state["tokenDerivable"]), (&json!("sha384"), &json!(true)));
        assert!(!state.to_string().contains(made["authenticationToken"].as_str().unwrap()), "shown once");

        let changed = service.patch(&serial, json!({"offer": "Cake", "points": 2})).await;
        assert_eq!(changed["changed"], true);
        let state = read().await;
        assert_eq!(state["fields"], json!({"points": 2, "name": "Ada", "offer": "Cake"}), "merged");
        assert_eq!(state["tag"], changed["tag"]);
        service.patch(&serial, json!({"offer": null})).await;
        assert_eq!(read().await["fields"], json!({"points": 2, "name": "Ada"}));
        let answer = service.api(Method::PATCH, &path).json(&json!({"userInfo": null})).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["changed"], true);
        assert_eq!(read().await["userInfo"], Value::Null);

        assert_eq!(service.api(Method::DELETE, &path).send().await.unwrap().status(), 204);
        for method in [Method::GET, Method::DELETE] {
            assert_eq!(code(service.api(method, &path)).await, (404, "pass_unknown".to_owned()));
        }
        assert_eq!(code(service.api(Method::PATCH, &path).json(&json!({}))).await, (404, "pass_unknown".to_owned()));
    }
}

#[tokio::test]
async fn each_refusal_has_its_code_and_changes_nothing() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        service.register("device", &pass, &push_token(1)).await;
        let create = |body: Value| service.api(Method::POST, "/api/passes").json(&body);
        let fields = json!({"points": 1, "name": "Ada"});
        let cases = [
            (create(json!({"template": "example", "serial": "1", "fields": fields})), (409, "pass_exists")),
            (create(json!({"template": "none"})), (422, "template_unknown")),
            (create(json!({"template": "example", "fields": {"poinst": 1}})), (422, "fields_unknown")),
            (create(json!({"template": "example", "fields": {"points": 1}})), (422, "pass_invalid")),
            (create(json!({"template": "example", "fields": {"points": [], "name": "A"}})), (422, "pass_invalid")),
            (create(json!({"template": "example", "serial": "a/b", "fields": fields})), (422, "serial_invalid")),
            (create(json!({"template": "example", "serial": "", "fields": fields})), (422, "serial_invalid")),
            (create(json!({"template": "example", "serial": "..", "fields": fields})), (422, "serial_invalid")),
            (create(json!({"template": "example", "serail": "x"})), (400, "request_invalid")),
            (create(json!([])), (400, "request_invalid")),
            (service.api(Method::POST, "/api/passes").body("x".repeat(300_000)), (413, "body_too_large")),
            (service.api(Method::PUT, "/api/passes"), (405, "method_not_allowed")),
            (service.api(Method::GET, "/api/nothing"), (404, "not_found")),
            (service.request(Method::POST, "/api/passes"), (401, "service_key_missing")),
            (service.request(Method::GET, "/api/diagnoses").bearer_auth("wrong"), (401, "service_key_wrong")),
            (service.request(Method::GET, &format!("/api/passes/{PASS_TYPE}/1/package")), (401, "service_key_missing")),
        ];
        for (request, (status, expected)) in cases {
            assert_eq!(code(request).await, (status, expected.to_owned()));
        }
        let before = service.list("device", None).await;
        let path = format!("/api/passes/{PASS_TYPE}/1");
        let refused = service.api(Method::PATCH, &path).json(&json!({"fields": {"name": null}})).send().await.unwrap();
        assert_eq!(refused.status(), 422);
        let text = refused.text().await.unwrap();
        assert!(
            text.contains("storeCard.secondaryFields[0].value") && text.contains("`name`"),
            "key and rule are named: {text}"
        );
        assert_eq!(service.list("device", None).await, before);
        assert!(service.gateway.pushed().is_empty());
    }
}

#[tokio::test]
async fn health_metrics_and_templates_are_there() {
    let service = Running::on_sqlite(&[]).await;
    let text = async |path: &str| service.request(Method::GET, path).send().await.unwrap().text().await.unwrap();
    assert_eq!(text("/healthz").await, "ok\n");
    assert_eq!(text("/readyz").await, r#"{"ready":true,"missing":[]}"#);
    service.create("1").await;
    let metrics = text("/metrics").await;
    assert!(metrics.contains("tidings_wallet_passes_created_total 1"), "{metrics}");
    assert!(
        metrics.contains("tidings_wallet_requests_total{route=\"POST /api/passes\",status=\"201\"} 1"),
        "{metrics}"
    );
    let templates: Value = service.api(Method::GET, "/api/templates").send().await.unwrap().json().await.unwrap();
    let example = &templates["templates"][0];
    assert_eq!(example["name"], "example", "{example}");
    assert_eq!(example["fields"], json!(["level", "name", "offer", "points"]), "{example}");
    assert_eq!((&example["style"], &example["source"]), (&json!("storeCard"), &json!("fixed")), "{example}");
}
