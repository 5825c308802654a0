//! Promises: /v1/log is always answered with 200; its lines become causes that are counted and identify nobody.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tidings_passbook_service::diagnose::cause_of;
use tidings_simulators::wallet::{Complaint, Place, Task, TaskError};

use crate::support::Running;

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
