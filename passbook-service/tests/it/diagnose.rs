//! Promises: /v1/log is always answered with 200; its lines become causes that are counted and identify nobody.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_passbook_service::diagnose::cause_of;
use tidings_simulators::wallet::{Complaint, Place, Task, TaskError};

use crate::support::{PASS_TYPE, Running, eventually, push_token};

#[tokio::test]
async fn lines_are_counted_by_cause_redacted_and_unknown_ones_come_first() {
    for service in Running::on_each_database(&[]).await {
        let log = async |body: String| {
            service.request(Method::POST, "/v1/log").body(body).send().await.unwrap().status().as_u16()
        };
        let spurious = |tag: &str, device: &str| {
            format!(
                "[2026-11-21 20:00:00 +0100] Web service error for pass.a (https://x.org): Device received spurious push. Request for passesUpdatedSince '{tag}' returned no serial numbers. (Device = {device})"
            )
        };
        assert_eq!(
            log(json!({"logs": [spurious("e.1", "secretdevice"), spurious("e.2", "otherdevice")]}).to_string()).await,
            200
        );
        assert_eq!(log(json!([spurious("e.3", "third"), "the moon is full"]).to_string()).await, 200, "a bare array");
        for odd in ["", "{", "null", "{\"logs\":7}", "{\"logs\":[1,null]}"] {
            assert_eq!(log(odd.to_owned()).await, 200, "{odd}");
        }
        assert_eq!(log("x".repeat(100_000)).await, 200, "anything else makes a device try again");
        let answer: Value = service.api(Method::GET, "/api/diagnoses").send().await.unwrap().json().await.unwrap();
        let diagnoses = answer["diagnoses"].as_array().unwrap();
        assert_eq!(diagnoses[0]["cause"], "unknown");
        assert!(diagnoses.iter().any(|found| found["pattern"] == "the moon is full"));
        let found = diagnoses.iter().find(|found| found["cause"] == "spurious_push").unwrap();
        assert_eq!(found["count"], 3, "one pattern");
        assert!(found["remedy"].as_str().unwrap().contains("harmless"));
        let text = answer.to_string();
        assert!(!text.contains("secretdevice") && !text.contains("e.1"), "{text}");
        let metrics = service.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("tidings_wallet_device_log_lines_total{cause=\"spurious_push\"} 3"), "{metrics}");
    }
}

/// Somebody who wants to be told, and refuses the first time.
async fn webhook() -> (String, Arc<Mutex<Vec<(HeaderMap, Value)>>>) {
    let told: Arc<Mutex<Vec<(HeaderMap, Value)>>> = Arc::default();
    let taken = told.clone();
    let take = async move |headers: HeaderMap, Json(body): Json<Value>| {
        let mut told = taken.lock().unwrap();
        told.push((headers, body));
        if told.len() == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/alerts", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/alerts", post(take))).await });
    (url, told)
}

#[tokio::test]
async fn the_first_of_a_cause_is_told_to_somebody_until_they_take_it_and_the_next_ones_are_not() {
    let (url, told) = webhook().await;
    let settings = [
        ("wallet.diagnosis.webhook", url.as_str()),
        ("wallet.diagnosis.webhook_secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ];
    for service in Running::on_each_database(&settings).await {
        told.lock().unwrap().clear();
        let log = async |line: &str| {
            service.request(Method::POST, "/v1/log").json(&json!({"logs": [line]})).send().await.unwrap();
        };
        log("[2026-11-21 20:00:00 +0100] Get pass task (for device the-phone, pass type pass.a, serial number the-card; with web service url https://x.org) encountered error: Unexpected response code 596").await;
        let count = async |count: usize| {
            eventually(&format!("{count} alerts"), async || {
                service.clock.advance(1_000);
                (told.lock().unwrap().len() >= count).then_some(())
            })
            .await;
        };
        count(2).await;
        {
            let told = told.lock().unwrap();
            assert_eq!(told[0].0["webhook-id"], told[1].0["webhook-id"], "the same again until it is taken");
            assert!(told[1].0["webhook-signature"].to_str().unwrap().starts_with("v1,"));
            let data = &told[1].1["data"];
            assert_eq!(
                (&told[1].1["type"], &data["cause"]),
                (&json!("wallet.diagnosis"), &json!("unexpected_response"))
            );
            let facts: Vec<_> =
                data["facts"].as_array().unwrap().iter().map(|fact| fact["fact"].as_str().unwrap()).collect();
            assert_eq!(facts, ["not_registered", "pass_not_here", "status_not_ours"], "a proxy said 596");
            assert!(!told[1].1.to_string().contains("the-phone"), "nobody is named");
        }
        // More of it is no news; another cause is, and shows that there was time for it.
        log("Get pass task (for device d2, pass type pass.a, serial number s2; with web service url https://x.org) encountered error: Unexpected response code 504").await;
        log("Get pass task (x) encountered error: Requested serial number A, received serial number B").await;
        count(3).await;
        assert_eq!(told.lock().unwrap()[2].1["data"]["cause"], "wrong_pass");
        // What was looked after is forgotten; when it comes back, it is news again.
        let list: Value = service.api(Method::GET, "/api/diagnoses").send().await.unwrap().json().await.unwrap();
        for one in list["diagnoses"].as_array().unwrap() {
            let path = format!("/api/diagnoses/{}", one["id"].as_str().unwrap());
            assert_eq!(service.api(Method::DELETE, &path).send().await.unwrap().status(), 204);
            assert_eq!(service.api(Method::DELETE, &path).send().await.unwrap().status(), 404);
        }
        log("Get pass task (x) encountered error: Requested serial number C, received serial number D").await;
        count(4).await;
        let metrics = service.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("tidings_wallet_diagnosis_alerts_total{cause=\"wrong_pass\"} 2"), "{metrics}");
        service.stop().await;
    }
}

#[tokio::test]
async fn a_report_says_what_only_this_service_knows() {
    for service in Running::on_each_database(&[]).await {
        let pass = service.create("1").await;
        service.register("phone", &pass, &push_token(1)).await;
        service.patch("1", json!({"points": 1})).await;
        service.gateway.wait_for(1).await;
        let lines = json!({"logs": [
            format!("Web service error for {PASS_TYPE} (https://x.org): Device received spurious push. Request for passesUpdatedSince 'e.1' returned no serial numbers. (Device = phone)"),
            format!("Get pass task (for device phone, pass type {PASS_TYPE}, serial number 1; with web service url https://x.org) encountered error: Authentication failure"),
            format!("Get pass task (for device phone, pass type {PASS_TYPE}, serial number gone; with web service url https://x.org) encountered error: Authentication failure"),
        ]});
        // The gateway's answer may come before the push is noted.
        eventually("the facts", async || {
            service.request(Method::POST, "/v1/log").json(&lines).send().await.unwrap();
            let list: Value = service.api(Method::GET, "/api/diagnoses").send().await.unwrap().json().await.unwrap();
            let facts = |cause: &str| {
                let found = list["diagnoses"].as_array().unwrap().iter().find(|one| one["cause"] == cause).unwrap();
                found["facts"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|fact| fact["fact"].as_str().unwrap().to_owned())
                    .collect::<Vec<_>>()
            };
            assert_eq!(facts("authentication_failure"), ["not_registered", "pass_here", "pass_not_here", "registered"]);
            facts("spurious_push").contains(&"pushed".to_owned()).then_some(())
        })
        .await;
        service.stop().await;
    }
}

/// Whatever the simulated Wallet can write, which is what real ones write, has a cause here and a remedy.
#[test]
fn every_line_that_a_device_writes_has_its_own_cause() {
    let place = || Place { pass_type: "pass.a".to_owned(), url: "https://x.org".to_owned() };
    let failed = |error| {
        let task = Task::GetPass { pass_type: "pass.a".to_owned(), serial: "7".to_owned(), since: None };
        Complaint::Failed { task, url: "https://x.org".to_owned(), error }
    };
    let text = str::to_owned;
    let lines = [
        failed(TaskError::Authentication),
        failed(TaskError::Status(504)),
        failed(TaskError::Malformed(text("Invalid JSON"))),
        failed(TaskError::InvalidPass(text("the signature is over another manifest"))),
        failed(TaskError::WrongSerial(text("7"), text("8"))),
        Complaint::UnregisteredSerial(place(), text("7")),
        Complaint::IgnoredIfModifiedSince(place(), text("7"), text("Tue, 14 Nov 2023 22:13:21 GMT")),
        Complaint::NoLastModified(place(), text("7")),
        Complaint::Unchanged(place(), text("7")),
        Complaint::SpuriousPush(place(), Some(text("e.1")), text("device")),
        Complaint::TagRemained(place(), 2, text("e.1")),
        Complaint::TagOmitted(place(), 2),
        Complaint::NotPersonalized(place(), text("7")),
    ];
    let causes: BTreeSet<&str> = lines.iter().map(|line| cause_of(&line.to_string()).code).collect();
    assert!(!causes.contains("unknown"), "{causes:?}");
    assert_eq!(causes.len(), lines.len(), "each its own: {causes:?}");
}
