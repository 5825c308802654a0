//! Apps and what their providers can do, through the HTTP door: state and check of credentials, rotation, channels,
//! topics, verdicts, Web Push.

use serde_json::{Value, json};

use super::Service;
use tidings_simulators::apns::{ApnsAction, ScriptedAnswer};
use tidings_simulators::fcm::{Details, FcmAction, RegistrationToken, ScriptedError};
use tidings_simulators::script::{RetryAfterForm, Rule};

async fn state(service: &Service, provider: &str) -> Value {
    let (status, apps) = service.call("GET", "/v1/apps", &Value::Null).await;
    assert_eq!(status, 200, "{apps}");
    let found = apps["apps"].as_array().unwrap().iter().find(|app| app["provider"] == provider);
    found.unwrap_or_else(|| panic!("{apps}")).clone()
}

async fn metrics(service: &Service) -> String {
    service.http.get(format!("{}/metrics", service.url)).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_refused_credential_pauses_its_app_and_says_what_to_do_until_it_is_repaired() {
    let service = Service::start().await;
    assert_eq!(state(&service, "apns").await["state"], "unknown");
    let refused = ApnsAction::Answer(ScriptedAnswer::reason("InvalidProviderToken"));
    service.simulators.apns().script().add(Rule::once(refused).always());
    let to = json!({"token": {"provider": "apns", "token": "cd".repeat(32)}});
    let (status, sent) = service.call("POST", "/v1/notifications", &json!({"to": to, "push": {"kind": "wake"}})).await;
    assert_eq!(status, 202, "{sent}");
    service.until(async || state(&service, "apns").await["state"] == "paused").await;
    let paused = state(&service, "apns").await;
    let credential = &paused["credentials"][0];
    assert_eq!((&credential["state"], &credential["reason"]), (&json!("refused"), &json!("InvalidProviderToken")));
    assert_eq!((&credential["provider_status"], &credential["environment"]), (&json!(403), &json!("production")));
    assert!(credential["since_ms"].as_i64().is_some() && credential["advice"].as_str().unwrap().contains(".p8"));
    // The queue is kept. (The result is written a moment after the app is paused.)
    service.until(async || service.states(sent["id"].as_str().unwrap()).await == ["queued"]).await;
    service.until(async || metrics(&service).await.contains("tidings_push_credential_refused{provider=\"apns\"")).await;
    assert!(metrics(&service).await.contains("tidings_push_paused{provider=\"apns\",app=\"default\"} 1"));

    let (status, checked) = service.call("POST", "/v1/apps/default/check", &Value::Null).await;
    assert_eq!(status, 200, "{checked}");
    let apns = checked["checks"].as_array().unwrap().iter().find(|check| check["provider"] == "apns").unwrap().clone();
    assert_eq!((&apns["accepted"], &apns["reason"]), (&json!(false), &json!("InvalidProviderToken")), "{apns}");

    // Repaired: the check says so, and the queue goes on at once, not after push.recheck.
    service.simulators.apns().script().clear();
    let (_, checked) = service.call("POST", "/v1/apps/default/check", &Value::Null).await;
    for check in checked["checks"].as_array().unwrap() {
        let expected = if check["provider"] == "webpush" { Value::Null } else { json!(true) };
        assert_eq!(check["accepted"], expected, "{check}");
    }
    service.until(async || service.states(sent["id"].as_str().unwrap()).await == ["accepted"]).await;
    assert_eq!(state(&service, "apns").await["state"], "accepted");
}

#[tokio::test]
async fn a_changed_credential_file_is_taken_over_while_the_service_runs() {
    let service = Service::start().await;
    let file = &service.simulators.credentials().apns_key.file;
    let good = std::fs::read(file).unwrap();
    std::fs::write(file, "no key").unwrap();
    service.until(async || !state(&service, "apns").await["faults"].is_null()).await;
    let broken = state(&service, "apns").await;
    let fault = broken["faults"][0].as_str().unwrap();
    assert!(fault.contains("push.apps.default.apns.key_file") && fault.contains("download"), "{fault}");
    let to = json!({"token": {"provider": "apns", "token": "cd".repeat(32)}});
    let push = json!({"to": to, "push": {"kind": "wake"}});
    let (_, sent) = service.call("POST", "/v1/notifications", &push).await;
    service.until(async || service.states(sent["id"].as_str().unwrap()).await == ["accepted"]).await;

    // Another key that Apple does not know: taken over, and refused by Apple.
    std::fs::write(file, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    service.until(async || state(&service, "apns").await["faults"].is_null()).await;
    let (_, sent) = service.call("POST", "/v1/notifications", &push).await;
    service.until(async || state(&service, "apns").await["state"] == "paused").await;
    // And back: the lane asks at once.
    std::fs::write(file, good).unwrap();
    service.until(async || service.states(sent["id"].as_str().unwrap()).await == ["accepted"]).await;
}

#[tokio::test]
async fn broadcast_channels_are_made_used_and_ended() {
    let service = Service::start().await;
    let path = "/v1/apps/default/channels";
    let (status, made) = service.call("POST", path, &json!({"keep_last": true})).await;
    assert_eq!((status, &made["environment"], &made["keep_last"]), (201, &json!("production"), &json!(true)), "{made}");
    let id = made["id"].as_str().unwrap();
    let (_, listed) = service.call("GET", path, &Value::Null).await;
    assert_eq!(listed["channels"], json!([id]));
    let one = format!("{path}/{}", id.replace('/', "%2F").replace('+', "%2B"));
    assert_eq!(service.call("GET", &one, &Value::Null).await, (200, made.clone()));

    let push = json!({"kind": "live_activity", "event": "update", "content_state": {"score": "1:0"}});
    let to = json!({"channel": {"id": id}});
    let (status, sent) = service.call("POST", "/v1/notifications", &json!({"to": to, "push": push})).await;
    assert_eq!(status, 202, "{sent}");
    service.until(async || service.states(sent["id"].as_str().unwrap()).await == ["accepted"]).await;
    let pushes = service.simulators.inbox().list(Some(&format!("channel:{id}")), 0, 10);
    assert_eq!(pushes[0].payload["aps"]["content-state"], json!({"score": "1:0"}));
    assert!(pushes[0].payload["aps"]["timestamp"].as_i64().unwrap() > 1_700_000_000);

    let (status, refused) =
        service.call("POST", "/v1/notifications", &json!({"to": to, "push": {"kind": "wake"}})).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("push_invalid")), "{refused}");
    assert_eq!(service.call("DELETE", &one, &Value::Null).await.0, 204);
    let (status, gone) = service.call("GET", &one, &Value::Null).await;
    assert_eq!((status, &gone["error"]["code"]), (404, &json!("channel_unknown")), "{gone}");
    let (status, none) = service.call("GET", &format!("{path}?environment=sandbox"), &Value::Null).await;
    assert_eq!((status, &none["error"]["code"]), (400, &json!("environment_unavailable")), "{none}");
    let (status, unknown) = service.call("POST", "/v1/apps/other/channels", &json!({})).await;
    assert_eq!((status, &unknown["error"]["code"]), (400, &json!("app_unknown")), "{unknown}");
}

#[tokio::test]
async fn topics_have_subscribers_and_get_messages() {
    let service = Service::start().await;
    let fcm = service.simulators.fcm();
    fcm.register_token(RegistrationToken { token: "gone".to_owned(), project: None, gone: true });
    let pixel = json!({"user": "anna", "provider": "fcm", "token": "of-anna"});
    assert_eq!(service.call("PUT", "/v1/devices/pixel", &pixel).await.0, 201);
    let members = json!({"tokens": ["one", "gone"], "users": ["anna", "nobody"]});
    let (status, result) = service.call("POST", "/v1/apps/default/topics/news/subscribe", &members).await;
    assert_eq!(status, 200, "{result}");
    assert_eq!(result, json!({"done": 2, "failed": [{"position": 1, "reason": "NOT_FOUND"}]}));
    let names = |topic: &str| fcm.subscribers("tidings-dev", topic).into_iter().collect::<Vec<_>>();
    assert_eq!(names("news"), ["of-anna", "one"]);
    // The access token is refused once: another one is fetched.
    fcm.script().add(Rule::once(FcmAction::RevokeTokens).token("topics:news"));
    let (status, result) =
        service.call("POST", "/v1/apps/default/topics/news/unsubscribe", &json!({"tokens": ["one"]})).await;
    assert_eq!((status, &result["done"]), (200, &json!(1)), "{result}");
    assert_eq!(names("news"), ["of-anna"]);
    let (status, refused) =
        service.call("POST", "/v1/apps/default/topics/two%20words/subscribe", &json!({"tokens": ["one"]})).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("push_invalid")), "{refused}");
    let (status, refused) = service.call("POST", "/v1/apps/default/topics/news/subscribe", &json!({})).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("body_invalid")), "{refused}");

    for (to, name) in [
        (json!({"topic": {"name": "news"}}), "topic:news"),
        (json!({"condition": {"expression": "'news' in topics"}}), "condition:'news' in topics"),
        (json!({"fid": {"id": "cFq2_-"}}), "cFq2_-"),
    ] {
        let body = json!({"to": to, "push": {"kind": "alert", "title": "t"}});
        let (status, sent) = service.call("POST", "/v1/notifications", &body).await;
        assert_eq!(status, 202, "{sent}");
        service.until(async || service.states(sent["id"].as_str().unwrap()).await == ["accepted"]).await;
        assert_eq!(service.simulators.inbox().list(Some(name), 0, 10).len(), 1, "{name}");
    }
    let wrong = json!({"to": {"condition": {"expression": "news"}}, "push": {"kind": "wake"}});
    assert_eq!(service.call("POST", "/v1/notifications", &wrong).await.0, 400);
}

#[tokio::test]
async fn a_verdict_is_the_providers_own_and_nothing_is_sent() {
    let service = Service::start().await;
    let gone = RegistrationToken { token: "gone".to_owned(), project: None, gone: true };
    service.simulators.fcm().register_token(gone);
    let ask = async |provider: &str, token: &str| {
        let to = json!({"token": {"provider": provider, "token": token}});
        let body = json!({"to": to, "push": {"kind": "alert", "title": "t"}, "validate_only": true});
        let (status, answer) = service.call("POST", "/v1/notifications", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer["verdicts"][0].clone()
    };
    assert_eq!(ask("fcm", "good").await["accepted"], true);
    let gone = ask("fcm", "gone").await;
    assert_eq!((&gone["accepted"], &gone["reason"]), (&json!(false), &json!("UNREGISTERED")));
    let error = ScriptedError {
        code: "UNAVAILABLE".to_owned(),
        status: None,
        message: None,
        retry_after: None,
        retry_after_form: RetryAfterForm::default(),
        details: Details::Fcm,
        field: None,
    };
    service.simulators.fcm().script().add(Rule::once(FcmAction::Answer(error)));
    assert_eq!(ask("fcm", "good").await["accepted"], Value::Null);
    assert_eq!(ask("apns", &"ab".repeat(32)).await["accepted"], Value::Null);
    assert!(service.simulators.inbox().list(None, 0, 10).is_empty());
    assert!(!metrics(&service).await.contains("tidings_push_outcomes_total{"));
}

#[tokio::test]
async fn a_browser_is_a_device_and_its_push_service_is_judged() {
    let service = Service::start().await;
    let browsers = service.simulators.webpush();
    let subscription = serde_json::to_value(browsers.subscribe(None).unwrap()).unwrap();
    let device = json!({"user": "anna", "provider": "webpush", "token": subscription});
    assert_eq!(service.call("PUT", "/v1/devices/browser", &device).await.0, 201);
    let alert = json!({"kind": "alert", "title": "Hello", "body": "there", "data": {"n": 1}});
    let body = json!({"to": {"user": "anna"}, "push": alert, "collapse_id": "greeting", "ttl": "1h"});
    let (status, sent) = service.call("POST", "/v1/notifications", &body).await;
    assert_eq!(status, 202, "{sent}");
    service.until(async || service.states(sent["id"].as_str().unwrap()).await == ["accepted"]).await;
    let endpoint = subscription["endpoint"].as_str().unwrap();
    let pushes = service.simulators.inbox().list(Some(endpoint), 0, 10);
    assert_eq!(pushes[0].payload, json!({"title": "Hello", "body": "there", "data": {"n": 1}}));
    assert_eq!((pushes[0].headers["urgency"].as_str(), pushes[0].headers["topic"].as_str()), ("high", "greeting"));
    assert!((3590..=3600).contains(&pushes[0].headers["ttl"].parse::<i64>().unwrap()));

    // The browser has forgotten its subscription: nothing more is sent there.
    assert!(browsers.unsubscribe(endpoint));
    let (_, sent) = service.call("POST", "/v1/notifications", &body).await;
    service.until(async || service.states(sent["id"].as_str().unwrap()).await == ["dead"]).await;
    let (_, devices) = service.call("GET", "/v1/devices?user=anna", &Value::Null).await;
    assert!(devices["devices"][0]["quarantined_at_ms"].is_i64(), "{devices}");

    for (endpoint, code) in [
        ("https://169.254.169.254/latest/meta-data", "endpoint_refused"),
        ("http://127.0.0.1:9/x", "endpoint_refused"),
        ("https://router.local/x", "endpoint_refused"),
    ] {
        let mut inside = device.clone();
        inside["token"]["endpoint"] = json!(endpoint);
        let (status, refused) = service.call("PUT", "/v1/devices/browser", &inside).await;
        assert_eq!((status, &refused["error"]["code"]), (400, &json!(code)), "{endpoint}: {refused}");
    }
    let nothing = json!({"user": "anna", "provider": "webpush", "token": "https://push.example/x"});
    let (status, refused) = service.call("PUT", "/v1/devices/browser", &nothing).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("token_invalid")), "{refused}");
}
