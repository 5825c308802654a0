//! Promises: what another provider's file has is taken over once, whatever comes twice; what cannot be is told with its line
//! and its rule; phones go on with the tokens that they have.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Pass, Running, push_token};

async fn rows(service: &Running, id: &str, body: Value) -> (u16, Value) {
    let answer = service.api(Method::POST, &format!("/api/imports/{id}/rows")).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn sha1(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn passes_tokens_and_registrations_are_taken_over_and_phones_notice_nothing() {
    for service in Running::on_each_database(&[]).await {
        let body = json!({"name": "old.csv", "last": 4, "template": "example", "rows": [
            {"line": 2, "serial": "plain", "token": "the-token-of-the-first", "fields": {"points": 1, "name": "Ada"},
                "device": "phone", "pushToken": push_token(1), "registeredAt": "2024-05-01T12:00:00Z"},
            {"line": 3, "serial": "hashed", "tokenHash": sha1("the-token-of-the-second"), "tokenAlgorithm": "SHA-1",
                "fields": {"points": 2, "name": "Bea"},
                "registrations": [{"device": "phone", "pushToken": push_token(2), "registeredAt": 1_750_000_000},
                                  {"device": "tablet", "pushToken": push_token(3)}]},
            {"line": 4, "serial": "plain", "token": "the-token-of-the-first", "device": "watch", "pushToken": push_token(4)},
        ]});
        let (status, result) = rows(&service, "f1", body.clone()).await;
        assert_eq!(status, 200, "{result}");
        assert_eq!(
            result,
            json!({"line": 4, "passes": 2, "knownPasses": 0, "registrations": 4, "knownRegistrations": 0, "pushTokens": 0, "refused": []})
        );
        // The same rows again: the service has them already, and says where it stands.
        let (status, refusal) = rows(&service, "f1", body.clone()).await;
        assert_eq!(
            (status, &refusal["error"]["code"], &refusal["error"]["line"]),
            (409, &json!("import_elsewhere"), &json!(4))
        );
        // Another file with the same passes changes nothing.
        let (_, result) = rows(&service, "f2", body).await;
        assert_eq!(
            result,
            json!({"line": 4, "passes": 0, "knownPasses": 2, "registrations": 0, "knownRegistrations": 4, "pushTokens": 0, "refused": []})
        );
        for (serial, token) in [("plain", "the-token-of-the-first"), ("hashed", "the-token-of-the-second")] {
            let pass = Pass { serial: serial.to_owned(), token: token.to_owned() };
            assert_eq!(service.fetch(&pass, None).await.status(), 200);
            let wrong = Pass { serial: serial.to_owned(), token: "the-token-of-nobody-here".to_owned() };
            assert_eq!(service.fetch(&wrong, None).await.status(), 401);
        }
        let metrics = service.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("tidings_wallet_token_uplifts_total 1"), "the hash is SHA-384 now");
        let mut listed = service.list("phone", Some("old-tag")).await.unwrap().serials;
        listed.sort();
        assert_eq!(listed, ["hashed", "plain"]);
        // The later push token of the phone counts.
        service.patch("plain", json!({"points": 5})).await;
        let pushed = service.gateway.wait_for(2).await;
        let mut tokens: Vec<_> = pushed.into_iter().map(|push| push.token).collect();
        tokens.sort();
        assert_eq!(tokens, [push_token(2), push_token(4)]);
        service.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_taken_is_told_and_holds_up_nothing_else() {
    for service in Running::on_each_database(&[]).await {
        let known = service.create("known").await;
        let good = |line: i64, serial: &str| json!({"line": line, "serial": serial, "token": "a-token-of-16-or-more", "fields": {"points": 1, "name": "Ada"}});
        let mut fields = good(6, "fields");
        fields["fields"]["colour"] = json!("red");
        let mut template = good(7, "template");
        template["template"] = json!("nowhere");
        let mut other_type = good(8, "type");
        other_type["passType"] = json!("pass.of.somebody.else");
        let mut known_device = good(4, "known");
        known_device["device"] = json!("stranger");
        known_device["pushToken"] = json!(push_token(9));
        let list = [
            good(1, "good"),
            good(2, ".."),
            json!({"line": 3, "serial": "short", "token": "secret"}),
            known_device,
            json!({"line": 5, "unreadable": "the quote of column 2 is never closed"}),
            fields,
            template,
            other_type,
            json!({"line": 9, "serial": "other", "token": "another-token-for-it", "serial_no": 1}),
            json!({"line": 10, "serial": "good", "token": "not-the-one-of-line-1"}),
        ];
        let body = json!({"name": "old.csv", "last": 10, "template": "example", "rows": list});
        let mut dry = body.clone();
        dry["dryRun"] = json!(true);
        for body in [dry, body] {
            let (status, result) = rows(&service, "faulty", body.clone()).await;
            assert_eq!(status, 200, "{result}");
            assert_eq!((&result["passes"], &result["registrations"]), (&json!(1), &json!(0)), "{result}");
            let told: Vec<_> = result["refused"]
                .as_array()
                .unwrap()
                .iter()
                .map(|refusal| (refusal["line"].as_i64().unwrap(), refusal["field"].as_str().unwrap()))
                .collect();
            assert_eq!(
                told,
                [
                    (2, "serialNumber"),
                    (3, "authenticationToken"),
                    (4, "authenticationToken"),
                    (5, "line"),
                    (6, "fields"),
                    (7, "template"),
                    (8, "passTypeIdentifier"),
                    (9, "line"),
                    (10, "authenticationToken"),
                ]
            );
            assert!(!result.to_string().contains("secret"));
            let path = "/api/imports/faulty";
            let state = service.api(Method::GET, path).send().await.unwrap();
            if body["dryRun"] == true {
                assert_eq!(state.status(), 404, "a dry run leaves nothing");
                continue;
            }
            let state: Value = state.json().await.unwrap();
            assert_eq!((&state["line"], &state["refused"], &state["complete"]), (&json!(10), &json!(9), &json!(false)));
            let kept = service.api(Method::GET, &format!("{path}/refusals?after=3")).send().await.unwrap();
            let kept: Value = kept.json().await.unwrap();
            assert_eq!(kept["refusals"].as_array().unwrap().len(), 7);
        }
        assert_eq!(service.fetch(&known, None).await.status(), 200, "the pass that was here keeps its token");
        assert!(service.list("stranger", None).await.is_none());
        service.stop().await;
    }
}

#[tokio::test]
async fn a_device_that_has_registered_here_meanwhile_keeps_its_token() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        service.register("phone", &pass, &push_token(7)).await;
        let body = json!({"last": 1, "template": "example", "rows": [
            {"line": 1, "serial": "2", "token": "the-token-of-the-other", "fields": {"points": 1, "name": "Ada"},
                "device": "phone", "pushToken": push_token(1), "registeredAt": 1_700_000_000}]});
        assert_eq!(rows(&service, "f", body).await.0, 200);
        service.patch("2", json!({"points": 2})).await;
        assert_eq!(service.gateway.wait_for(1).await[0].token, push_token(7));
        service.stop().await;
    }
}

#[tokio::test]
async fn a_later_export_brings_later_push_tokens_and_odd_serial_numbers_are_taken() {
    for service in Running::on_each_database(&[]).await {
        let row = |push: u32, token: &str| {
            json!({"line": 1, "serial": " ab/cd== ", "token": token, "fields": {"points": 1, "name": "Ada"},
                "registrations": [{"device": "phone", "pushToken": push_token(push)}, {"device": "null", "pushToken": null}]})
        };
        let body = |push: u32| json!({"last": 1, "template": "example", "rows": [row(push, "the-token-of-the-first")]});
        let (_, result) = rows(&service, "f1", body(1)).await;
        assert_eq!(
            (&result["passes"], &result["registrations"], &result["pushTokens"]),
            (&json!(1), &json!(1), &json!(0))
        );
        assert_eq!(result["refused"][0]["field"], "pushToken", "the registration without a token is told: {result}");
        let (_, result) = rows(&service, "f2", body(2)).await;
        assert_eq!((&result["passes"], &result["pushTokens"]), (&json!(0), &json!(1)), "{result}");
        // Two names of one type are one pass.
        let mut named = row(2, "the-token-of-another");
        named["passType"] = json!("pass.dev.tidings.example");
        named["line"] = json!(2);
        let list = json!([row(2, "the-token-of-the-first"), named]);
        let (_, result) = rows(&service, "f3", json!({"last": 2, "template": "example", "rows": list})).await;
        assert_eq!((&result["knownPasses"], &result["knownRegistrations"]), (&json!(1), &json!(1)), "{result}");
        assert_eq!(result["refused"][1]["line"], 2, "{result}");
        let pass = Pass { serial: "ab%2Fcd==".to_owned(), token: "the-token-of-the-first".to_owned() };
        assert_eq!(service.fetch(&pass, None).await.status(), 200);
        service.stop().await;
    }
}
