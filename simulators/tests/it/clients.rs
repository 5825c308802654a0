//! Clients that nobody here wrote work against the simulators: aioapns, firebase-admin, pywebpush and curl.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use tidings_simulators::apns::{ApnsAction, DeviceToken, ScriptedAnswer};
use tidings_simulators::fcm::{Details, FcmAction, RegistrationToken, ScriptedError};
use tidings_simulators::script::{RetryAfterForm, Rule};
use tidings_simulators::webpush::BrowserSubscription;
use tokio::process::Command;

use crate::apns::make_certificates;
use crate::common::{TOKEN, TOPIC, bounded, start};

const PASS_TYPE: &str = "pass.com.example.card";

/// Runs a script of `tests/clients` and reads the JSON object that it prints. `None` when there is no Python for it and
/// `TIDINGS_TEST_STRICT` does not ask for one.
async fn python(script: &str, arguments: &[&str]) -> Option<Value> {
    let Some(python) = std::env::var_os("TIDINGS_TEST_PYTHON") else {
        let strict = std::env::var("TIDINGS_TEST_STRICT").is_ok_and(|strict| strict == "1");
        assert!(
            !strict,
            "TIDINGS_TEST_PYTHON is not set: the Python with the clients, see tests/clients/requirements.txt"
        );
        eprintln!("NOT RUN: {script} needs TIDINGS_TEST_PYTHON; `cargo xtask test` sets it");
        return None;
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    let output = Command::new(python).arg(file).args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(90), output).await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{script}: {error}: {errors}")))
}

#[tokio::test]
async fn aioapns_pushes_by_token_and_by_certificate() {
    let files = tempfile::tempdir().unwrap();
    make_certificates(files.path(), "root", "pass", PASS_TYPE);
    let both = files.path().join("both.pem");
    let text = |name: &str| std::fs::read_to_string(files.path().join(name)).unwrap();
    std::fs::write(&both, text("pass.pem") + &text("pass.key")).unwrap();
    let root = files.path().join("root.pem");
    let running =
        start(&[("simulators.apns.client_roots", root.to_str().unwrap()), ("simulators.apns.max_streams", "100")])
            .await;
    running.simulators.apns().register_token(DeviceToken {
        token: "ee".repeat(32),
        topic: None,
        environment: None,
        gone_at_ms: Some(1_700_000_000_000),
        gone_reason: None,
    });
    let busy = ApnsAction::Answer(ScriptedAnswer::reason("TooManyRequests"));
    running.simulators.apns().script().add(Rule::once(busy).token(&"bb".repeat(32)));

    let credentials = running.credentials();
    let key = &credentials.apns_key;
    let port = credentials.apns_url.rsplit(':').next().unwrap();
    let ca = running.ca_file();
    let arguments = [
        port,
        ca.to_str().unwrap(),
        key.file.to_str().unwrap(),
        &key.key_id,
        &key.team_id,
        TOPIC,
        both.to_str().unwrap(),
        PASS_TYPE,
    ];
    let Some(outcome) = python("apns_client.py", &arguments).await else { return };
    assert_eq!(outcome["first"][0], "200");
    assert_eq!(outcome["many"], json!(["200"]));
    assert_eq!(outcome["voip"][0], "200");
    assert_eq!(outcome["bad_token"], json!(["400", "BadDeviceToken", null]));
    assert_eq!(outcome["too_large"], json!(["413", "PayloadTooLarge", null]));
    assert_eq!(outcome["background"], json!(["400", "BadPriority", null]));
    assert_eq!(outcome["gone"], json!(["410", "Unregistered", 1_700_000_000_000_i64]));
    assert_eq!(outcome["busy"], json!(["429", "TooManyRequests", null]));
    assert_eq!(outcome["certificate"][0], "200");
    let pushes = running.simulators.inbox().list(None, 0, 1_000);
    assert_eq!(pushes.len(), 303);
    assert_eq!(pushes.last().unwrap().sender, format!("certificate {PASS_TYPE}"));
}

#[tokio::test]
async fn firebase_admin_sends_messages() {
    let running = start(&[]).await;
    let fcm = running.simulators.fcm();
    fcm.register_token(RegistrationToken { token: "gone-token".to_owned(), project: None, gone: true });
    fcm.register_token(RegistrationToken {
        token: "foreign-token".to_owned(),
        project: Some("other".to_owned()),
        gone: false,
    });
    let quota = ScriptedError {
        code: "QUOTA_EXCEEDED".to_owned(),
        status: None,
        message: None,
        retry_after: None,
        retry_after_form: RetryAfterForm::default(),
        details: Details::Fcm,
        field: None,
    };
    fcm.script().add(Rule::once(FcmAction::Answer(quota)).token("quota-token"));
    let credentials = running.credentials();
    // The certificate is for localhost and 127.0.0.1 alike; the token URI in the file has the address.
    let ca = running.ca_file();
    let arguments = [&credentials.fcm_url, ca.to_str().unwrap(), credentials.fcm_account_file.to_str().unwrap()];
    let Some(outcome) = python("fcm_client.py", &arguments).await else { return };
    assert_eq!(outcome["subscribe"], json!([2, [[2, "NOT_FOUND"]]]));
    assert_eq!(outcome["unsubscribe"], json!([1, []]));
    assert_eq!(outcome["subscribe_v1"][0], json!(2));
    assert_eq!(outcome["subscribe_v1"][1][0][0], json!(2), "{outcome}");
    assert_eq!(outcome["unsubscribe_v1"], json!([1, []]));
    assert_eq!(fcm.subscribers("tidings-dev", "news").into_iter().collect::<Vec<_>>(), ["one", "three"]);
    let ok = json!(["ok", "projects/tidings-dev"]);
    for sent in ["data", "notification", "topic", "condition", "dry_run"] {
        assert_eq!(outcome[sent], ok, "{sent}");
    }
    assert_eq!(outcome["gone"], json!(["UnregisteredError", "NOT_FOUND"]));
    assert_eq!(outcome["mismatch"], json!(["SenderIdMismatchError", "PERMISSION_DENIED"]));
    assert_eq!(outcome["quota"], json!(["QuotaExceededError", "RESOURCE_EXHAUSTED"]));
    assert_eq!(outcome["reserved"], json!(["InvalidArgumentError", "INVALID_ARGUMENT"]));
    assert_eq!(outcome["large"], json!(["InvalidArgumentError", "INVALID_ARGUMENT"]));
    assert_eq!(outcome["each"], json!(vec![true; 20]));
    let pushes = running.simulators.inbox().list(None, 0, 1_000);
    assert_eq!(pushes.len(), 24);
    assert_eq!(pushes[0].payload["android"]["ttl"], "3.500000000s");
}

#[tokio::test]
async fn pywebpush_sends_to_a_browser() {
    let running = start(&[]).await;
    let files = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let file = files.path().join("vapid.pem");
    std::fs::write(&file, key.serialize_pem()).unwrap();
    let other = BASE64.encode(rcgen::KeyPair::generate().unwrap().public_key_raw());
    let own = BASE64.encode(key.public_key_raw());
    let browsers = running.simulators.webpush();
    let good = browsers.subscribe(Some(&own)).unwrap();
    let foreign = browsers.subscribe(Some(&other)).unwrap();
    let gone = browsers.subscribe(None).unwrap();
    assert!(browsers.unsubscribe(&gone.endpoint));
    let text = |subscription: &BrowserSubscription| serde_json::to_string(subscription).unwrap();
    let ca = running.ca_file();
    let arguments = [ca.to_str().unwrap(), file.to_str().unwrap(), &text(&good), &text(&foreign), &text(&gone)];
    let Some(outcome) = python("webpush_client.py", &arguments).await else { return };
    assert_eq!((&outcome["text"], &outcome["json"]), (&json!(201), &json!(201)), "{outcome}");
    for (what, status, words) in
        [("foreign", 403, "another"), ("gone", 410, "gone"), ("large", 413, "4096"), ("urgency", 400, "Urgency")]
    {
        assert_eq!(outcome[what][0], status, "{what}");
        assert!(outcome[what][1].as_str().unwrap().contains(words), "{outcome}");
    }
    let pushes = running.simulators.inbox().list(Some(&good.endpoint), 0, 10);
    let payloads: Vec<_> = pushes.iter().map(|push| push.payload.clone()).collect();
    assert_eq!(payloads, [json!("hello"), json!({"n": 1})]);
    assert_eq!((pushes[0].headers["ttl"].as_str(), pushes[0].sender.as_str()), ("60", format!("vapid {own}").as_str()));
    assert_eq!((pushes[1].headers["urgency"].as_str(), pushes[1].topic.as_str()), ("low", "a-topic"));
}

#[tokio::test]
async fn curl_pushes_over_http_2_and_is_refused_over_http_1() {
    let running = start(&[]).await;
    let url = format!("{}/3/device/{TOKEN}", running.credentials().apns_url);
    let bearer = format!("authorization: bearer {}", running.provider_token());
    let topic = format!("apns-topic: {TOPIC}");
    let ca = running.ca_file();
    let curl = async |version: &str, headers: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", version, "--cacert", ca.to_str().unwrap()]);
        command.args(["--data", r#"{"aps":{"alert":"hi"}}"#, "--write-out", "%{http_version} %{response_code}"]);
        for header in headers {
            command.args(["--header", header]);
        }
        let output = bounded(command.arg(&url).output()).await.unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(curl("--http2", &[&bearer, &topic]).await, "2 200");
    assert_eq!(curl("--http2", &[&topic]).await, r#"{"reason":"MissingProviderToken"}2 403"#);
    let refused = curl("--http1.1", &[&bearer, &topic]).await;
    assert!(refused.contains("alert no application protocol") || refused.starts_with("0 000"), "{refused}");
}
