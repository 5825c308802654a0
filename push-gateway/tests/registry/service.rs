//! The service with the simulators behind it, on each of the databases.

use std::time::Duration;

use serde_json::{Value, json};
use tidings_push_gateway::{Config, Listeners, SETTINGS, run};
use tidings_shared::clock::Clock;
use tidings_shared::config::Loader;
use tidings_shared::lifecycle::Shutdown;
use tidings_simulators::Simulators;
use tokio::task::JoinHandle;

use crate::simulation::simulators;

pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";

pub(crate) struct Service {
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    pub(crate) simulators: Simulators,
    config: Config,
    shutdown: Shutdown,
    running: Option<JoinHandle<anyhow::Result<()>>>,
    _folder: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// A service on each database, with these settings besides its own.
pub(crate) async fn services(settings: &[(&str, &str)]) -> Vec<Service> {
    let mut services = Vec::new();
    for url in tidings_shared::storage::testing::urls().await {
        services.push(Service::start(&url, settings).await);
    }
    services
}

impl Service {
    pub(crate) async fn start(database: &str, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shutdown = Shutdown::new();
        let simulators = simulators(&folder, &shutdown).await;
        let config = config(&folder, &simulators, database, settings);
        let (url, running) = serve(&config, &shutdown).await;
        let http = tidings_shared::http::client(None).unwrap();
        let service = Self { url, http, simulators, config, shutdown, running: Some(running), _folder: folder };
        service.is_ready().await;
        service
    }

    async fn is_ready(&self) {
        let ready = format!("{}/readyz", self.url);
        self.until(async || self.http.get(&ready).send().await.is_ok_and(|answer| answer.status() == 200)).await;
    }

    /// Ends it at once, as a crash does, and starts it again on the same database.
    pub(crate) async fn crash_and_start(&mut self) {
        let running = self.running.take().unwrap();
        running.abort();
        let _ = running.await;
        let (url, running) = serve(&self.config, &self.shutdown).await;
        (self.url, self.running) = (url, Some(running));
        self.is_ready().await;
    }

    pub(crate) async fn until(&self, mut done: impl AsyncFnMut() -> bool) {
        for _ in 0..2000 {
            if done().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it did not happen within twenty seconds");
    }

    pub(crate) async fn ask(&self, credential: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(credential);
        let request = if body.is_null() { request } else { request.json(body) };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.ask("service-key", method, path, &body).await
    }

    /// A call that is taken.
    pub(crate) async fn good(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// A call that is refused with this code; gives the message.
    pub(crate) async fn refused(&self, method: &str, path: &str, body: Value, code: &str) -> String {
        let (_, answer) = self.call(method, path, body).await;
        assert_eq!(answer["error"]["code"], code, "{method} {path}: {answer}");
        answer["error"]["message"].as_str().unwrap().to_owned()
    }

    /// Registers a phone of APNs; `more` are further fields.
    pub(crate) async fn phone(&self, user: &str, device: &str, token: &str, more: Value) -> Value {
        let mut body = json!({"user": user, "provider": "apns", "token": token.repeat(64 / token.len())});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.good("PUT", &format!("/v1/devices/{device}"), body).await
    }

    /// Sends, and waits until every target is in a final state; gives the notification.
    pub(crate) async fn send(&self, body: Value) -> Value {
        let sent = self.good("POST", "/v1/notifications", body).await;
        self.ended(sent["id"].as_str().unwrap()).await
    }

    /// Waits until every target of a notification is in a final state.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        let path = format!("/v1/notifications/{id}");
        let mut shown = Value::Null;
        self.until(async || {
            shown = self.good("GET", &path, Value::Null).await;
            let complete = shown["expansion"].is_null() || shown["expansion"]["complete"] == true;
            let ended = |target: &Value| {
                ["accepted", "dead", "expired", "unknown"].contains(&target["state"].as_str().unwrap())
            };
            complete && shown["targets"].as_array().unwrap().iter().all(ended)
        })
        .await;
        shown
    }

    pub(crate) async fn metrics(&self) -> String {
        self.http.get(format!("{}/metrics", self.url)).send().await.unwrap().text().await.unwrap()
    }
}

/// An app's token for a user.
pub(crate) fn token(user: &str) -> String {
    let now = Clock::system().now_s();
    let claims = json!({"sub": user, "iat": now, "exp": now + 3600});
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

async fn serve(config: &Config, shutdown: &Shutdown) -> (String, JoinHandle<anyhow::Result<()>>) {
    let listeners = Listeners::bind(config).await.unwrap();
    let url = format!("http://{}", listeners.http.local_addr().unwrap());
    (url, tokio::spawn(run(config.clone(), listeners, shutdown.child(), Clock::system())))
}

fn config(folder: &tempfile::TempDir, simulators: &Simulators, database: &str, more: &[(&str, &str)]) -> Config {
    let credentials = simulators.credentials();
    let key = &credentials.apns_key;
    let own = [
        ("data", folder.path().display().to_string()),
        ("push.database", database.to_owned()),
        ("push.listen", "127.0.0.1:0".to_owned()),
        ("push.wake.enabled", "false".to_owned()),
        ("push.retry.first", "50ms".to_owned()),
        ("auth.secret", SECRET.to_owned()),
        ("keys.service", "service-key".to_owned()),
        ("push.ca_file", credentials.ca_file.clone().unwrap().display().to_string()),
        ("push.apps.default.apns.topic", "org.example.app".to_owned()),
        ("push.apps.default.apns.key_file", key.file.display().to_string()),
        ("push.apps.default.apns.key_id", key.key_id.clone()),
        ("push.apps.default.apns.team_id", key.team_id.clone()),
        ("push.apps.default.apns.url", credentials.apns_url.clone()),
        ("push.apps.default.fcm.service_account_file", credentials.fcm_account_file.display().to_string()),
        ("push.apps.default.fcm.url", credentials.fcm_url.clone()),
    ];
    let mut loader = Loader::new(&[tidings_shared::config::SETTINGS, SETTINGS]);
    for (path, value) in own.iter().map(|(path, value)| (*path, value.as_str())).chain(more.iter().copied()) {
        loader = loader.flag("--set", path, value);
    }
    Config::from_settings(&loader.load().unwrap())
}
