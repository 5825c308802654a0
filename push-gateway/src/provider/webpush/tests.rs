//! The Web Push client against a simulated browser.

use tidings_shared::push_api::Environment;
use tidings_simulators::script::Rule;
use tidings_simulators::webpush::{BrowserSubscription, ScriptedStatus, WebPushAction};

use super::*;
use crate::provider::TokenGone;
use crate::testing::Simulation;

/// Of this push service alone.
fn alone(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Retry(retry) => Outcome::Retry(Retry { isolated: true, ..retry }),
        other => other,
    }
}

fn vapid() -> Vapid {
    Vapid::new(b"yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw", "mailto:operations@example.org").unwrap()
}

fn client_with(simulation: &Simulation, allow: &[&str], per_origin: usize) -> WebPush {
    let allow: Vec<_> = allow.iter().map(|entry| (*entry).to_owned()).collect();
    let policy = Arc::new(Policy::new(&allow, &["443".to_owned()], false).unwrap());
    let http = client(&policy, Some(&simulation.ca()), Duration::from_millis(700)).unwrap();
    WebPush::new(vapid(), policy, http, per_origin, WakeStyle::Silent, Clock::system())
}

fn sender(simulation: &Simulation) -> WebPush {
    client_with(simulation, &["127.0.0.0/8"], 10)
}

fn subscribe(simulation: &Simulation, key: Option<&str>) -> BrowserSubscription {
    simulation.simulators.webpush().subscribe(key).unwrap()
}

fn message(subscription: &BrowserSubscription) -> Message {
    Message {
        id: "01990000-0000-7000-8000-000000000001".to_owned(),
        token: serde_json::to_string(subscription).unwrap(),
        environment: Environment::Production,
        registered_at_ms: None,
        push: Arc::new(Push::Wake {}),
        collapse_id: Some("wake".to_owned()),
        expires_at_ms: Clock::system().now_ms() + 3_600_000,
    }
}

#[tokio::test]
async fn a_push_is_encrypted_signed_and_taken() {
    let simulation = Simulation::start().await;
    let sender = sender(&simulation);
    let subscription = subscribe(&simulation, Some(sender.public_key()));
    let answer = sender.send(&message(&subscription)).await;
    assert_eq!((answer.outcome, answer.status), (Outcome::Accepted, Some(201)), "{answer:?}");
    assert!(answer.provider_id.unwrap().contains("/webpush/message/"));
    let pushes = simulation.simulators.inbox().list(Some(&subscription.endpoint), 0, 10);
    assert_eq!(pushes[0].payload, serde_json::json!({"tidings": "wake"}));
    assert_eq!(pushes[0].sender, format!("vapid {}", sender.public_key()));
    assert_eq!((pushes[0].headers["urgency"].as_str(), pushes[0].headers["topic"].as_str()), ("high", "wake"));
}

#[tokio::test]
async fn each_row_of_the_table_has_its_outcome() {
    let simulation = Simulation::start().await;
    let (sender, subscription) = (sender(&simulation), subscribe(&simulation, None));
    let seconds = |seconds| Retry::after(Duration::from_secs(seconds));
    for (status, retry_after, expected) in [
        (400, None, Outcome::Dead),
        (401, None, Outcome::Dead),
        (403, None, Outcome::Dead),
        (404, None, Outcome::DropToken(TokenGone::Now)),
        (410, None, Outcome::DropToken(TokenGone::Now)),
        (413, None, Outcome::Dead),
        (429, None, seconds(60)),
        (429, Some("7"), seconds(7)),
        (500, None, Retry::soon()),
        (503, Some("9"), seconds(9)),
    ] {
        let body = format!("scripted {status}");
        let answer = ScriptedStatus { status, retry_after: retry_after.map(str::to_owned), body: body.clone() };
        simulation.simulators.webpush().script().add(Rule::once(WebPushAction::Answer(answer)));
        let answer = sender.send(&message(&subscription)).await;
        assert_eq!((answer.outcome, answer.status), (alone(expected), Some(status)), "{status}");
        assert_eq!(answer.reason, Some(body));
    }
    assert_eq!(sender.send(&message(&subscription)).await.outcome, Outcome::Accepted);
    // An HTTP date in the past: at once.
    let date = Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned());
    let answer = ScriptedStatus { status: 503, retry_after: date, body: String::new() };
    simulation.simulators.webpush().script().add(Rule::once(WebPushAction::Answer(answer)));
    assert_eq!(sender.send(&message(&subscription)).await.outcome, alone(seconds(0)));
    simulation.simulators.webpush().script().add(Rule::once(WebPushAction::Stall));
    let answer = sender.send(&message(&subscription)).await;
    assert_eq!((answer.outcome, answer.reason.as_deref()), (alone(Retry::unanswered()), Some("timeout")));
}

#[tokio::test]
async fn a_subscription_of_another_key_or_a_forgotten_one_concerns_nobody_else() {
    let simulation = Simulation::start().await;
    let sender = sender(&simulation);
    let other = Vapid::new(rcgen::KeyPair::generate().unwrap().serialize_pem().as_bytes(), "mailto:a@b").unwrap();
    let foreign = subscribe(&simulation, Some(other.public_key()));
    let answer = sender.send(&message(&foreign)).await;
    assert_eq!((answer.outcome, answer.status), (Outcome::Dead, Some(403)));
    let gone = subscribe(&simulation, None);
    simulation.simulators.webpush().unsubscribe(&gone.endpoint);
    assert_eq!(sender.send(&message(&gone)).await.outcome, Outcome::DropToken(TokenGone::Now));
}

#[tokio::test]
async fn no_redirect_leads_anywhere() {
    let simulation = Simulation::start().await;
    let (sender, one, two) = (sender(&simulation), subscribe(&simulation, None), subscribe(&simulation, None));
    let redirect = WebPushAction::Redirect(two.endpoint.clone());
    simulation.simulators.webpush().script().add(Rule::once(redirect).token(&one.endpoint));
    let answer = sender.send(&message(&one)).await;
    assert_eq!((answer.outcome, answer.status), (Outcome::Dead, Some(307)));
    assert_eq!(answer.reason.as_deref(), Some("redirect_not_followed"));
    assert!(simulation.simulators.inbox().list(None, 0, 10).is_empty());
}

#[tokio::test]
async fn what_is_inside_is_not_connected_to_by_address_or_by_name() {
    let simulation = Simulation::start().await;
    let wary = client_with(&simulation, &[], 10);
    let subscription = subscribe(&simulation, None);
    let answer = wary.send(&message(&subscription)).await;
    assert_eq!((answer.outcome, answer.reason.as_deref()), (Outcome::Dead, Some("endpoint_refused")));
    // A name that leads inside is found out when it is looked up.
    let port = url::Url::parse(&subscription.endpoint).unwrap().port().unwrap();
    let error = wary.http.post(format!("https://localhost:{port}/x")).send().await.unwrap_err();
    let answer = answer::unanswered(error);
    assert_eq!((answer.outcome, answer.reason.as_deref()), (Outcome::Dead, Some("endpoint_refused")));
    // On the list, it is connected to.
    let named = client_with(&simulation, &["localhost"], 10);
    let endpoint = subscription.endpoint.replace("127.0.0.1", "localhost");
    let answer = named.send(&message(&BrowserSubscription { endpoint, ..subscription })).await;
    assert_eq!(answer.outcome, Outcome::Accepted, "{answer:?}");
    assert_eq!(simulation.simulators.webpush().stats().accepted, 1);
}

#[tokio::test]
async fn a_push_service_that_stalls_holds_up_no_more_than_its_share() {
    let simulation = Simulation::start().await;
    let sender = Arc::new(client_with(&simulation, &["127.0.0.0/8"], 2));
    let subscription = subscribe(&simulation, None);
    simulation.simulators.webpush().script().add(Rule::once(WebPushAction::Stall).always());
    let sends = (0..6).map(|_| {
        let (sender, message) = (Arc::clone(&sender), message(&subscription));
        tokio::spawn(async move { sender.send(&message).await.reason.unwrap_or_default() })
    });
    let mut reasons = Vec::new();
    for sent in sends.collect::<Vec<_>>() {
        reasons.push(sent.await.unwrap());
    }
    reasons.sort();
    assert_eq!(reasons, ["origin_busy", "origin_busy", "origin_busy", "origin_busy", "timeout", "timeout"]);
}

/// The browser of RFC 8291's example.
const BROWSER_PRIVATE: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
const BROWSER_PUBLIC: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const BROWSER_AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

#[test]
fn another_implementation_reads_what_we_encrypt() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

    let Some(python) = std::env::var_os("TIDINGS_TEST_PYTHON") else {
        let strict = std::env::var("TIDINGS_TEST_STRICT").is_ok_and(|strict| strict == "1");
        assert!(
            !strict,
            "TIDINGS_TEST_PYTHON is not set: the Python with the clients, see tests/clients/requirements.txt"
        );
        eprintln!("NOT RUN: this needs TIDINGS_TEST_PYTHON; `cargo xtask test` sets it");
        return;
    };
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/webpush_decrypt.py");
    let (public, auth) = (BASE64.decode(BROWSER_PUBLIC).unwrap(), BASE64.decode(BROWSER_AUTH).unwrap());
    for payload in [r#"{"title":"Grüße","data":{"n":1}}"#.to_owned(), "x".repeat(MAX_PLAINTEXT)] {
        let public: [u8; 65] = public.clone().try_into().unwrap();
        let auth: [u8; 16] = auth.clone().try_into().unwrap();
        let body = encryption::encrypt(payload.as_bytes(), &public, &auth).unwrap();
        let arguments = [BROWSER_PRIVATE, BROWSER_AUTH, &BASE64.encode(body)];
        let output = std::process::Command::new(&python).arg(&script).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), payload);
    }
}
