//! Promises: 201 for a new registration, 200 for a known one with the token updated everywhere, one and the same 401.

use reqwest::Method;
use serde_json::json;

use crate::support::{PASS_TYPE, Running, push_token, registration};

#[tokio::test]
async fn a_new_registration_is_201_a_known_one_200_and_a_removed_one_200() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        assert_eq!(service.register("device", &pass, &push_token(1)).await, 201);
        assert_eq!(service.register("device", &pass, &push_token(1)).await, 200);
        assert_eq!(service.register("other", &pass, &push_token(2)).await, 201);
        for _ in 0..2 {
            assert_eq!(service.unregister("device", &pass).await, 200, "also when it is gone already");
        }
        assert_eq!(service.list("device", None).await, None);
        assert_eq!(service.list("other", None).await.unwrap().serials, ["1"]);
        assert_eq!(service.register("device", &pass, &push_token(1)).await, 201, "new again");
    }
}

#[tokio::test]
async fn missing_and_wrong_tokens_and_unknown_serials_get_the_same_answer() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        let other = service.create("2").await;
        let wrong = format!("ApplePass {}", other.token);
        let cases = [
            ("1", None),
            ("1", Some(wrong.as_str())),
            ("1", Some("ApplePass ")),
            ("1", Some("ApplePass")),
            ("1", Some("Bearer x")),
            ("no-such-serial", Some(wrong.as_str())),
            ("no-such-serial", None),
        ];
        let mut answers = Vec::new();
        for (serial, authorization) in cases {
            for (method, path) in [
                (Method::POST, registration("device", serial)),
                (Method::DELETE, registration("device", serial)),
                (Method::GET, format!("/v1/passes/{PASS_TYPE}/{serial}")),
            ] {
                let mut request = service.request(method, &path).json(&json!({"pushToken": push_token(1)}));
                if let Some(authorization) = authorization {
                    request = request.header("Authorization", authorization);
                }
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), 401, "{path} {authorization:?}");
                assert_eq!(answer.headers()["www-authenticate"], "ApplePass");
                answers.push(answer.text().await.unwrap());
            }
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(service.list("device", None).await, None, "nothing was registered");
        // The same after a pass is deleted.
        let path = format!("/api/passes/{PASS_TYPE}/1");
        assert_eq!(service.api(Method::DELETE, &path).send().await.unwrap().status(), 204);
        assert_eq!(service.register("device", &pass, &push_token(1)).await, 401);
        assert_eq!(service.unregister("device", &pass).await, 401);
    }
}

#[tokio::test]
async fn a_body_without_a_push_token_is_400_but_only_for_who_may_register() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        for body in ["", "no json", "{}", "[]", "{\"pushToken\":7}", "{\"pushToken\":\"\"}", "{\"pushtoken\":\"ab\"}"] {
            let request = |authorization: String| {
                service
                    .request(Method::POST, &registration("device", "1"))
                    .header("Authorization", authorization)
                    .body(body)
            };
            let answer = request(pass.authorization()).send().await.unwrap();
            assert_eq!(answer.status(), 400, "{body}");
            assert!(answer.text().await.unwrap().contains("invalid_registration"));
            assert_eq!(request("ApplePass wrong".to_owned()).send().await.unwrap().status(), 401, "{body}");
        }
        let huge = json!({"pushToken": "a".repeat(20_000)}).to_string();
        let request =
            service.request(Method::POST, &registration("device", "1")).header("Authorization", pass.authorization());
        assert_eq!(request.body(huge).send().await.unwrap().status(), 413);
        assert_eq!(service.list("device", None).await, None);
    }
}

#[tokio::test]
async fn android_wallets_doubled_slashes_and_encoded_ids_are_understood() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("Größe 1").await;
        for (prefix, scheme, status) in [("/", "AndroidPass", 201), ("", "applepass", 200), ("", "ApplePass", 200)] {
            let path = format!("{prefix}/v1/devices/de%76ice/registrations/{PASS_TYPE}/Gr%C3%B6%C3%9Fe%201");
            let request =
                service.request(Method::POST, &path).header("Authorization", format!("{scheme} {}", pass.token));
            let answer = request.json(&json!({"pushToken": push_token(1)})).send().await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
        }
        assert_eq!(service.list("device", None).await.unwrap().serials, ["Größe 1"]);
        let path = format!("//v1/devices/device/registrations/{PASS_TYPE}/");
        assert_eq!(service.request(Method::GET, &path).send().await.unwrap().status(), 200, "a slash at the end");
    }
}

#[tokio::test]
async fn the_push_token_belongs_to_the_device_every_registration_follows() {
    for service in Running::on_each_database(&[]).await {
        let (one, two) = (service.create("1").await, service.create("2").await);
        assert_eq!(service.register("device", &one, &push_token(1)).await, 201);
        assert_eq!(service.register("device", &two, &push_token(2)).await, 201, "the token rotates here");
        service.patch("1", json!({"points": 1})).await;
        let pushed = service.gateway.wait_for(1).await;
        assert_eq!(pushed[0].token, push_token(2), "the registration of pass 1 has followed");
    }
}

#[tokio::test]
async fn a_pass_of_another_type_than_the_certificates_is_404_after_authentication() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        // A device asks for a type that never was here: 404 for who has the token, 401 for anybody else.
        let foreign = registration("device", "1").replace("/pass.", "/pass.other.");
        for (authorization, status) in [(format!("ApplePass {}", pass.token), 404), ("ApplePass wrong".to_owned(), 401)]
        {
            let request = service.request(Method::POST, &foreign).header("Authorization", authorization);
            assert_eq!(request.json(&json!({"pushToken": push_token(1)})).send().await.unwrap().status(), status);
        }
        // The certificate is replaced by one for another type.
        let other = service.restart(&[("wallet.pass_type", "pass.dev.tidings.other")], async |_| {}).await;
        assert_eq!(other.register("device", &pass, &push_token(1)).await, 404);
        assert_eq!(other.fetch(&pass, None).await.status(), 404);
        let request =
            other.request(Method::POST, &registration("device", "1")).header("Authorization", "ApplePass wrong");
        assert_eq!(request.json(&json!({"pushToken": push_token(1)})).send().await.unwrap().status(), 401);
        let metrics = other.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("tidings_wallet_foreign_pass_types_total 2"), "{metrics}");
    }
}
