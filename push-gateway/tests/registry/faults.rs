//! What providers do when they are not well, and what becomes of the pushes: both of them, through the whole gateway.

use serde_json::{Value, json};
use tidings_shared::clock::Clock;
use tidings_simulators::apns::{ApnsAction, ScriptedAnswer};
use tidings_simulators::fcm::{Details, FcmAction, ScriptedError};
use tidings_simulators::script::{RetryAfterForm, Rule};

use crate::service::{Service, services};

/// A fault of both providers.
#[derive(Clone, Copy)]
enum Fault {
    Cut,
    Stall,
    /// A refusal that asks for a pause of ten minutes, by a date.
    Busy(&'static str, &'static str),
}

fn script(service: &Service, fault: Fault) {
    const PAUSE: Option<u64> = Some(600);
    let (apns, fcm) = match fault {
        Fault::Cut => (ApnsAction::Cut, FcmAction::Cut),
        Fault::Stall => (ApnsAction::Stall, FcmAction::Stall),
        Fault::Busy(reason, code) => (
            ApnsAction::Answer(ScriptedAnswer {
                retry_after: PAUSE,
                retry_after_form: RetryAfterForm::Date,
                ..ScriptedAnswer::reason(reason)
            }),
            FcmAction::Answer(ScriptedError {
                code: code.to_owned(),
                status: None,
                message: None,
                retry_after: PAUSE,
                retry_after_form: RetryAfterForm::Date,
                details: Details::Fcm,
                field: None,
            }),
        ),
    };
    service.simulators.apns().script().add(Rule::once(apns));
    service.simulators.fcm().script().add(Rule::once(fcm));
}

async fn phones(service: &Service) {
    service.phone("anna", "iphone", "ab", json!({})).await;
    let pixel = json!({"user": "anna", "provider": "fcm", "token": "registration"});
    service.good("PUT", "/v1/devices/pixel", pixel).await;
}

fn alert() -> Value {
    json!({"to": {"user": "anna"}, "push": {"kind": "alert", "title": "Hello"}})
}

#[tokio::test]
async fn a_push_without_an_answer_is_sent_again_and_says_that_it_may_be_the_second_one() {
    // Half a lease is the patience with a provider.
    for service in services(&[("push.lease", "2s")]).await {
        phones(&service).await;
        for (fault, reason) in [(Fault::Cut, "connection_cut"), (Fault::Stall, "timeout")] {
            script(&service, fault);
            let sent = service.send(alert()).await;
            for target in sent["targets"].as_array().unwrap() {
                assert_eq!((&target["state"], &target["attempts"]), (&json!("accepted"), &json!(2)), "{target}");
                assert_eq!(target["maybe_repeated"], true, "{target}");
                let provider = target["provider"].as_str().unwrap();
                let counted = format!(
                    "tidings_push_outcomes_total{{provider=\"{provider}\",app=\"default\",state=\"retrying\",reason=\"{reason}\"}} 1"
                );
                let metrics = service.metrics().await;
                assert!(metrics.contains(&counted), "{counted}: {metrics}");
            }
        }
        assert_eq!(service.simulators.inbox().list(None, 0, 10).len(), 4);
    }
}

#[tokio::test]
async fn a_pause_that_a_provider_asks_for_by_a_date_is_kept() {
    for service in services(&[]).await {
        phones(&service).await;
        for (reason, code, status) in
            [("TooManyRequests", "QUOTA_EXCEEDED", 429), ("ServiceUnavailable", "UNAVAILABLE", 503)]
        {
            script(&service, Fault::Busy(reason, code));
            let before = Clock::system().now_ms();
            let sent = service.good("POST", "/v1/notifications", alert()).await;
            let path = format!("/v1/notifications/{}", sent["id"].as_str().unwrap());
            let mut targets = Vec::new();
            service
                .until(async || {
                    let shown = service.good("GET", &path, Value::Null).await;
                    targets = shown["targets"].as_array().unwrap().clone();
                    targets.iter().all(|target| target["state"] == "retrying")
                })
                .await;
            let after = Clock::system().now_ms();
            for target in &targets {
                assert_eq!((&target["provider_status"], &target["attempts"]), (&json!(status), &json!(1)), "{target}");
                let next = target["next_attempt_at_ms"].as_i64().unwrap();
                // Dates have whole seconds.
                assert!((before + 598_000..=after + 601_000).contains(&next), "{before} {target}");
            }
        }
        assert!(service.simulators.inbox().list(None, 0, 10).is_empty());
    }
}
