//! The APNs client against the simulator.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::HeaderValue;
use tidings_shared::clock::Clock;
use tidings_shared::push_api::{Environment, Push};
use tidings_shared::tls;
use tidings_simulators::apns::{ApnsAction, ApnsSimulator, ConnectionCommand, DeviceToken, Goaway, ScriptedAnswer};
use tidings_simulators::script::{RetryAfterForm, Rule};

use super::*;
use crate::ids::Ids;
use crate::provider::{Retry, TokenGone};
use crate::testing::{START, Simulation};

mod certificate;
mod connections;
mod kinds;

/// A fresh key, as Apple's portal gives it.
pub(super) static P8: LazyLock<String> = LazyLock::new(|| rcgen::KeyPair::generate().unwrap().serialize_pem());

const TOPIC: &str = "org.example.app";

fn limits() -> Limits {
    Limits { request_timeout: Duration::from_millis(700), ..Limits::default() }
}

fn client(simulation: &Simulation) -> Apns {
    client_with(simulation, limits())
}

fn client_with(simulation: &Simulation, limits: Limits) -> Apns {
    client_at(simulation, limits, &Clock::system())
}

fn client_at(simulation: &Simulation, limits: Limits, clock: &Clock) -> Apns {
    let credentials = simulation.simulators.credentials();
    let tls = tls::client_config(Some(&simulation.ca()), None, &[]).unwrap();
    let key = &credentials.apns_key;
    let signer = Signer::new(key.pem.as_bytes(), &key.key_id, &key.team_id, clock.clone()).unwrap();
    let transport = |url: &str| Transport::new(Endpoint::parse(url).unwrap(), tls.clone(), limits);
    Apns::new(
        HeaderValue::from_static(TOPIC),
        Authentication::Token(Arc::new(signer)),
        Some(transport(&credentials.apns_url)),
        Some(transport(&credentials.apns_sandbox_url)),
        WakeStyle::Silent,
    )
}

fn message() -> Message {
    let clock = Clock::system();
    Message {
        id: Ids::new(clock.clone()).next(),
        token: "ab".repeat(32),
        environment: Environment::Production,
        registered_at_ms: None,
        push: Arc::new(Push::Wake {}),
        collapse_id: Some("wake".to_owned()),
        expires_at_ms: clock.now_ms() + 3_600_000,
    }
}

fn will(simulation: &Simulation, action: ApnsAction) {
    apns(simulation).script().add(Rule::once(action));
}

fn apns(simulation: &Simulation) -> &ApnsSimulator {
    simulation.simulators.apns()
}

#[tokio::test]
async fn a_wake_push_arrives_with_its_headers() {
    let simulation = Simulation::start().await;
    let sent = message();
    let answer = client(&simulation).send(&sent).await;
    assert_eq!((answer.outcome, answer.status), (Outcome::Accepted, Some(200)));
    assert_eq!(answer.provider_id.as_deref(), Some(sent.id.as_str()));
    let pushes = simulation.simulators.inbox().list(None, 0, 10);
    assert_eq!(pushes.len(), 1);
    assert_eq!(pushes[0].token, sent.token);
    assert_eq!(pushes[0].topic, TOPIC);
    assert_eq!(pushes[0].payload, serde_json::json!({"aps": {"content-available": 1}}));
    let header = |name: &str| pushes[0].headers.get(name).map(String::as_str);
    assert_eq!(header("apns-push-type"), Some("background"));
    assert_eq!(header("apns-priority"), Some("5"));
    assert_eq!(header("apns-collapse-id"), Some("wake"));
    assert_eq!(header("apns-id"), Some(sent.id.as_str()));
}

#[tokio::test]
async fn an_alert_arrives() {
    let simulation = Simulation::start().await;
    let push = serde_json::from_value(serde_json::json!({"kind": "alert", "title": "Hi", "data": {"n": 1}})).unwrap();
    let answer = client(&simulation).send(&Message { push: Arc::new(push), collapse_id: None, ..message() }).await;
    assert_eq!(answer.outcome, Outcome::Accepted);
    let pushes = simulation.simulators.inbox().list(None, 0, 10);
    assert_eq!(pushes[0].payload["aps"]["alert"]["title"], "Hi");
    assert_eq!(pushes[0].headers["apns-push-type"], "alert");
}

#[tokio::test]
async fn each_row_of_the_error_table_has_its_outcome() {
    let simulation = Simulation::start().await;
    let client = client(&simulation);
    let minute = Duration::from_secs(60);
    for (status, reasons) in tidings_simulators::apns::REASONS {
        for reason in *reasons {
            let expected = match *reason {
                "BadDeviceToken" | "DeviceTokenNotForTopic" => Outcome::OtherEnvironment,
                // Signed anew, and then accepted.
                "ExpiredProviderToken" => Outcome::Accepted,
                "IdleTimeout" | "InternalServerError" | "ServiceUnavailable" | "Shutdown" => Retry::soon(),
                "TooManyRequests" | "TooManyProviderTokenUpdates" => Retry::after(minute),
                "ExpiredToken" | "Unregistered" => Outcome::DropToken(TokenGone::At(START)),
                _ if status.as_u16() == 403 => Outcome::Pause,
                _ => Outcome::Dead,
            };
            let timestamp = (status.as_u16() == 410).then_some(START);
            will(&simulation, ApnsAction::Answer(ScriptedAnswer { timestamp, ..ScriptedAnswer::reason(reason) }));
            let answer = client.send(&message()).await;
            assert_eq!(answer.outcome, expected, "{reason}");
            if expected != Outcome::Accepted {
                assert_eq!((answer.status, answer.reason.as_deref()), (Some(status.as_u16()), Some(*reason)));
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_reason_keeps_its_text() {
    let simulation = Simulation::start().await;
    let unknown = ScriptedAnswer { status: Some(503), retry_after: Some(9), ..ScriptedAnswer::reason("NewIn2031") };
    will(&simulation, ApnsAction::Answer(unknown));
    let answer = client(&simulation).send(&message()).await;
    assert_eq!(answer.reason.as_deref(), Some("NewIn2031"));
    assert_eq!(answer.outcome, Retry::after(Duration::from_secs(9)));
}

#[tokio::test]
async fn a_pause_may_be_asked_for_by_a_date() {
    let clock = Clock::manual(Clock::system().now_ms());
    let simulation = Simulation::with_clock(&[], &clock).await;
    let client = client_at(&simulation, Limits::default(), &clock);
    for (reason, status) in [("TooManyRequests", 429), ("ServiceUnavailable", 503)] {
        let dated = ScriptedAnswer {
            retry_after: Some(90),
            retry_after_form: RetryAfterForm::Date,
            ..ScriptedAnswer::reason(reason)
        };
        will(&simulation, ApnsAction::Answer(dated));
        let answer = client.send(&message()).await;
        // The client reads the system's clock: dates have whole seconds, and one may have begun since.
        let asked = [88, 89, 90].map(|seconds| Retry::after(Duration::from_secs(seconds)));
        assert!(asked.contains(&answer.outcome), "{:?}", answer.outcome);
        assert_eq!(answer.status, Some(status));
    }
}

#[tokio::test]
async fn a_token_that_stays_expired_pauses_the_app() {
    let simulation = Simulation::start().await;
    let expired = ApnsAction::Answer(ScriptedAnswer::reason("ExpiredProviderToken"));
    apns(&simulation).script().add(Rule::once(expired).always());
    let answer = client(&simulation).send(&message()).await;
    assert_eq!((answer.outcome, answer.reason.as_deref()), (Outcome::Pause, Some("ExpiredProviderToken")));
}

#[tokio::test]
async fn a_token_of_the_sandbox_is_sent_there_on_the_second_try() {
    let simulation = Simulation::with(&[("simulators.apns.sandbox_listen", "127.0.0.1:0")]).await;
    let client = client(&simulation);
    let sent = message();
    apns(&simulation).register_token(DeviceToken {
        token: sent.token.clone(),
        topic: None,
        environment: Some(tidings_simulators::apns::Environment::Sandbox),
        gone_at_ms: None,
        gone_reason: None,
    });
    assert_eq!(client.send(&sent).await.outcome, Outcome::OtherEnvironment);
    let other = Message { environment: Environment::Sandbox, ..sent };
    assert_eq!(client.send(&other).await.outcome, Outcome::Accepted);
}

#[tokio::test]
async fn an_unknown_key_pauses_the_app() {
    let simulation = Simulation::start().await;
    let credentials = simulation.simulators.credentials();
    let tls = tls::client_config(Some(&simulation.ca()), None, &[]).unwrap();
    let signer = Signer::new(P8.as_bytes(), "UNKNOWNKEY", "TEAM123456", Clock::system()).unwrap();
    let transport = Transport::new(Endpoint::parse(&credentials.apns_url).unwrap(), tls, limits());
    let stranger = Apns::new(
        HeaderValue::from_static(TOPIC),
        Authentication::Token(Arc::new(signer)),
        Some(transport),
        None,
        WakeStyle::Silent,
    );
    let answer = stranger.send(&message()).await;
    assert_eq!((answer.outcome, answer.reason.as_deref()), (Outcome::Pause, Some("InvalidProviderToken")));
    let sandbox = Message { environment: Environment::Sandbox, ..message() };
    assert_eq!(stranger.send(&sandbox).await.outcome, Outcome::OtherEnvironment);
}

#[test]
fn what_apple_would_refuse_is_refused_before() {
    let apns = Apns::new(HeaderValue::from_static(TOPIC), Authentication::Certificate, None, None, WakeStyle::Silent);
    let alert = |data: serde_json::Value| -> Push {
        serde_json::from_value(serde_json::json!({"kind": "alert", "title": "t", "data": data})).unwrap()
    };
    assert_eq!(apns.check(&Push::Wake {}, Some("c")), Ok(()));
    assert_eq!(apns.check(&Push::Wake {}, Some(&"c".repeat(65))), Err(Refusal::CollapseId(65)));
    let long = alert(serde_json::json!({"x": "y".repeat(4096)}));
    assert!(matches!(apns.check(&long, None), Err(Refusal::PayloadTooLarge { found, .. }) if found > 4096));
    assert_eq!(apns.check(&alert(serde_json::json!({"aps": {}})), None), Err(Refusal::ReservedName("aps".to_owned())));
}
