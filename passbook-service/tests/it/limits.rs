//! Promises: who shows nothing, or something wrong, may not ask without end; a phone never meets these limits, and a device
//! log is answered 200 whatever happens.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::support::{PASS_TYPE, Running, push_token, registration};

const PROXY: (&str, &str) = ("wallet.trusted_proxies", "127.0.0.0/8");

/// As if this address had sent it.
fn from(request: RequestBuilder, address: &str) -> RequestBuilder {
    request.header("X-Forwarded-For", address)
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_list_is_limited_for_each_device_and_each_address() {
    let extra = [PROXY, ("wallet.limits.list_per_device", "3"), ("wallet.limits.list_per_address", "5")];
    let service = Running::on_sqlite(&extra).await;
    let list = async |device: &str, address: &str| {
        let path = format!("/v1/devices/{device}/registrations/{PASS_TYPE}");
        let answer = from(service.request(Method::GET, &path), address).send().await.unwrap();
        let retry = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
        (answer.status().as_u16(), retry)
    };
    for _ in 0..3 {
        assert_eq!(list("a", "192.0.2.1").await, (204, None));
    }
    assert_eq!(list("a", "192.0.2.1").await, (429, Some(20)), "one in 20 seconds from here on");
    assert_eq!(list("b", "192.0.2.1").await.0, 204, "another device, the same address");
    assert_eq!(list("c", "192.0.2.1").await.0, 204, "what was refused does not count");
    assert_eq!(list("d", "192.0.2.1").await.0, 429, "the address has had its five");
    assert_eq!(list("c", "192.0.2.2").await.0, 204);
    service.clock.advance(20_000);
    assert_eq!(list("a", "192.0.2.3").await.0, 204, "time gives it back");
    let metrics = service.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("tidings_wallet_limited_total{what=\"list\"} 2"), "{metrics}");
}

#[tokio::test]
async fn failed_authentications_are_limited_and_who_has_the_token_is_not() {
    let extra = [PROXY, ("wallet.limits.failures_per_pass", "3")];
    let service = Running::on_sqlite(&extra).await;
    let (good, other) = (service.create("1").await, service.create("2").await);
    let fetch = async |serial: &str, token: &str, address: &str| {
        let request = service.request(Method::GET, &format!("/v1/passes/{PASS_TYPE}/{serial}"));
        status(from(request, address).header("Authorization", format!("ApplePass {token}"))).await
    };
    assert_eq!(fetch("1", &good.token, "192.0.2.1").await, 200);
    for _ in 0..3 {
        assert_eq!(fetch("1", "wrong", "192.0.2.1").await, 401);
    }
    assert_eq!(fetch("1", "wrong", "192.0.2.1").await, 429);
    assert_eq!(fetch("1", &good.token, "192.0.2.1").await, 200, "a token that was good lately");
    assert_eq!(fetch("2", &other.token, "192.0.2.1").await, 200, "another pass");
    assert_eq!(fetch("1", "wrong", "192.0.2.9").await, 401, "another address");
    // A pass that is not there is counted like one that is: nothing tells them apart.
    for expected in [401, 401, 401, 429] {
        assert_eq!(fetch("nothing", "wrong", "192.0.2.1").await, expected);
    }
}

#[tokio::test]
async fn wrong_service_keys_are_limited() {
    let service = Running::on_sqlite(&[PROXY, ("wallet.limits.failures_per_address", "2")]).await;
    let ask = async |key: &str| {
        status(from(service.request(Method::GET, "/api/templates"), "192.0.2.1").bearer_auth(key)).await
    };
    assert_eq!([ask("x").await, ask("y").await, ask("z").await], [401, 401, 429]);
    // What is open to everybody makes no key a good one.
    let open = service.request(Method::GET, "/api/openapi.json").bearer_auth("z");
    assert_eq!(status(from(open, "192.0.2.1")).await, 200);
    assert_eq!(ask("z").await, 429);
}

#[tokio::test]
async fn too_many_device_logs_are_answered_200_and_dropped() {
    let service = Running::on_sqlite(&[PROXY, ("wallet.limits.log_per_address", "2")]).await;
    for _ in 0..4 {
        let body = json!({"logs": ["[2026-01-01] something that nobody knows"]});
        assert_eq!(status(from(service.request(Method::POST, "/v1/log"), "192.0.2.1").json(&body)).await, 200);
    }
    let answer: serde_json::Value =
        service.api(Method::GET, "/api/diagnoses").send().await.unwrap().json().await.unwrap();
    assert_eq!(answer.pointer("/diagnoses/0/count"), Some(&json!(2)), "{answer}");
    let metrics = service.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("tidings_wallet_limited_total{what=\"log\"} 2"), "{metrics}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let service = Running::on_sqlite(&[]).await;
    let pass = service.create("1").await;
    let long = service.request(Method::GET, &format!("/v1/passes/{PASS_TYPE}/{}", "x".repeat(5000)));
    assert_eq!(status(long).await, 414);
    let wide = service.request(Method::GET, &pass.path()).header("X-Padding", "x".repeat(20_000));
    assert_eq!(status(wide).await, 431);
    let body = "x".repeat(100_000);
    let register = service.request(Method::POST, &registration("d", "1"));
    assert_eq!(status(register.header("Authorization", pass.authorization()).body(body)).await, 413);
}

#[tokio::test]
async fn an_android_app_is_registered_and_counted_and_never_pushed_to_apple() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        // Looks like one of Apple's.
        let token = "59144e4701b04a3abd2bdc5fc1b2c3d459144e4701b04a3abd2bdc5fc1b2c3d4";
        let by = |device: &str, name: &str, value: &str| {
            service
                .request(Method::POST, &registration(device, "1"))
                .header(name, value)
                .json(&json!({ "pushToken": token }))
        };
        let android = by("phone", "Authorization", &format!("AndroidPass {}", pass.token));
        assert_eq!(status(android).await, 201);
        let union = by("union", "Authorization", &format!("WalletUnionPass {}", pass.token));
        assert_eq!(status(union).await, 201);
        let pass2u = by("pass2u", "X-Pass-Client", "Passes").header("Authorization", pass.authorization());
        assert_eq!(status(pass2u).await, 201);
        assert_eq!(service.register("iphone", &pass, &push_token(7)).await, 201);
        service.patch("1", json!({"points": 1})).await;
        let pushed = service.gateway.wait_for(1).await;
        assert_eq!(pushed.iter().map(|push| push.token.as_str()).collect::<Vec<_>>(), [push_token(7)]);
        let listed = service.list("phone", None).await.unwrap();
        assert_eq!(listed.serials, ["1"], "it asks by itself and is told");
        let metrics = service.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("tidings_wallet_registrations_total{client=\"android\"} 3"), "{metrics}");
        // A second change: by then a push to them would have been sent.
        service.patch("1", json!({"points": 2})).await;
        let pushed = service.gateway.wait_for(2).await;
        assert!(pushed.iter().all(|push| push.token == push_token(7)));
    }
}
