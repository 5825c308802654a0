//! The service as a whole, through its HTTP door: registration, notification, delivery to the simulators, stop.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: what fails here fails the test")]

use std::time::Duration;

use serde_json::{Value, json};
use tidings_push_gateway::{Config, Listeners, SETTINGS, run};
use tidings_shared::clock::Clock;
use tidings_shared::config::Loader;
use tidings_shared::lifecycle::Shutdown;
use tidings_simulators::Simulators;
use tidings_simulators::apns::{ApnsAction, ScriptedAnswer};
use tidings_simulators::script::Rule;
use tokio::task::JoinHandle;

#[path = "service/apps.rs"]
mod apps;
#[path = "common/simulation.rs"]
mod simulation;

use simulation::simulators;

struct Service {
    url: String,
    http: reqwest::Client,
    shutdown: Shutdown,
    running: JoinHandle<anyhow::Result<()>>,
    simulators: Simulators,
    folder: tempfile::TempDir,
}

fn config(folder: &tempfile::TempDir, simulators: &Simulators) -> Config {
    let credentials = simulators.credentials();
    let key = &credentials.apns_key;
    let mut loader = Loader::new(&[tidings_shared::config::SETTINGS, SETTINGS]);
    for (path, value) in [
        ("data", folder.path().display().to_string()),
        ("push.listen", "127.0.0.1:0".to_owned()),
        ("push.wake.enabled", "false".to_owned()),
        ("push.retry.first", "50ms".to_owned()),
        ("keys.service", "service-key".to_owned()),
        ("push.ca_file", credentials.ca_file.clone().unwrap().display().to_string()),
        ("push.apps.default.apns.topic", "org.example.app".to_owned()),
        ("push.apps.default.apns.key_file", key.file.display().to_string()),
        ("push.apps.default.apns.key_id", key.key_id.clone()),
        ("push.apps.default.apns.team_id", key.team_id.clone()),
        ("push.apps.default.apns.url", credentials.apns_url.clone()),
        ("push.apps.default.fcm.service_account_file", credentials.fcm_account_file.display().to_string()),
        ("push.apps.default.fcm.url", credentials.fcm_url.clone()),
        ("push.apps.default.webpush.private_key_file", credentials.webpush_key_file.display().to_string()),
        ("push.apps.default.webpush.contact", "mailto:operations@example.org".to_owned()),
        ("push.webpush.allow", "127.0.0.0/8".to_owned()),
        ("push.credentials_check", "100ms".to_owned()),
    ] {
        loader = loader.flag("--set", path, &value);
    }
    Config::from_settings(&loader.load().unwrap())
}

impl Service {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shutdown = Shutdown::new();
        let simulators = simulators(&folder, &shutdown).await;
        let config = config(&folder, &simulators);
        let listeners = Listeners::bind(&config).await.unwrap();
        let url = format!("http://{}", listeners.http.local_addr().unwrap());
        let stop = shutdown.child();
        let running = tokio::spawn(run(config, listeners, stop.clone(), Clock::system()));
        let http = tidings_shared::http::client(None).unwrap();
        let service = Self { url, http, shutdown: stop, running, simulators, folder };
        service.until(async || service.status("/readyz").await == 200).await;
        service
    }

    async fn until(&self, mut done: impl AsyncFnMut() -> bool) {
        for _ in 0..1000 {
            if done().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it did not happen within ten seconds");
    }

    async fn status(&self, path: &str) -> u16 {
        self.http.get(format!("{}{path}", self.url)).send().await.unwrap().status().as_u16()
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth("service-key").json(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn states(&self, id: &str) -> Vec<String> {
        let (status, shown) = self.call("GET", &format!("/v1/notifications/{id}"), &Value::Null).await;
        assert_eq!(status, 200, "{shown}");
        shown["targets"].as_array().unwrap().iter().map(|target| target["state"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_notification_goes_from_the_door_to_both_providers() {
    let service = Service::start().await;
    let iphone = json!({"user": "anna", "provider": "apns", "token": "ab".repeat(32), "client": "iphone"});
    assert_eq!(service.call("PUT", "/v1/devices/iphone", &iphone).await.0, 201);
    let pixel = json!({"user": "anna", "provider": "fcm", "token": "registration-token"});
    assert_eq!(service.call("PUT", "/v1/devices/pixel", &pixel).await.0, 201);
    // The first answer of APNs is a failure: it is tried again by itself.
    let busy = ApnsAction::Answer(ScriptedAnswer::reason("ServiceUnavailable"));
    service.simulators.apns().script().add(Rule::once(busy));
    let alert = json!({"to": {"user": "anna"}, "push": {"kind": "alert", "title": "Hello", "data": {"n": 1}}});
    let (status, sent) = service.call("POST", "/v1/notifications", &alert).await;
    assert_eq!(status, 202, "{sent}");
    let id = sent["id"].as_str().unwrap();
    service.until(async || service.states(id).await == ["accepted", "accepted"]).await;
    let pushes = service.simulators.inbox().list(None, 0, 10);
    assert_eq!(pushes.len(), 2);
    let metrics = service.http.get(format!("{}/metrics", service.url)).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("tidings_push_outcomes_total{provider=\"apns\",app=\"default\",state=\"retrying\",reason=\"ServiceUnavailable\"} 1"), "{metrics}");
    assert_eq!(service.status("/healthz").await, 200);
    service.shutdown.begin();
    service.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_taken_before_a_stop_is_sent_after_the_next_start() {
    let service = Service::start().await;
    let refused = ApnsAction::Answer(ScriptedAnswer::reason("ServiceUnavailable"));
    service.simulators.apns().script().add(Rule::once(refused).always());
    let to = json!({"token": {"provider": "apns", "token": "cd".repeat(32)}});
    let (status, sent) = service.call("POST", "/v1/notifications", &json!({"to": to, "push": {"kind": "wake"}})).await;
    assert_eq!(status, 202, "{sent}");
    let id = sent["id"].as_str().unwrap();
    service.until(async || service.states(id).await == ["retrying"]).await;
    service.shutdown.begin();
    service.running.await.unwrap().unwrap();
    service.simulators.apns().script().clear();

    let config = config(&service.folder, &service.simulators);
    let listeners = Listeners::bind(&config).await.unwrap();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(run(config, listeners, shutdown.clone(), Clock::system()));
    let pushes = service.simulators.inbox().wait(None, 0, 10, Duration::from_secs(10)).await;
    assert_eq!(pushes.len(), 1);
    assert_eq!(sent["targets"][0]["id"], pushes[0].id.as_str());
    shutdown.begin();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_database_that_is_away_is_said_and_the_service_still_stops() {
    let folder = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    let simulators = simulators(&folder, &shutdown).await;
    let config =
        Config { database: "postgres://tidings:hunter2@127.0.0.1:1/none".to_owned(), ..config(&folder, &simulators) };
    let listeners = Listeners::bind(&config).await.unwrap();
    let url = format!("http://{}", listeners.http.local_addr().unwrap());
    let running = tokio::spawn(run(config, listeners, shutdown.clone(), Clock::system()));
    let answer = reqwest::get(format!("{url}/readyz")).await.unwrap();
    assert_eq!(answer.status(), 503);
    let text = answer.text().await.unwrap();
    assert!(text.contains("database: ") && !text.contains("hunter2"), "{text}");
    assert_eq!(reqwest::get(format!("{url}/healthz")).await.unwrap().status(), 200);
    shutdown.begin();
    running.await.unwrap().unwrap();
}
