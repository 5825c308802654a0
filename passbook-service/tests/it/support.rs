//! Starts the service and a gateway that records what it is asked, and plays a phone.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidings_passbook_service::{Config, Listeners, SETTINGS, run};
use tidings_shared::clock::Clock;
use tidings_shared::config::{Loader, Settings};
use tidings_shared::lifecycle::Shutdown;
use tidings_shared::storage::testing;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) const PASS_TYPE: &str = "pass.dev.tidings.example";
pub(crate) const KEY: &str = "a-service-key";
pub(crate) const NOW: i64 = 1_790_000_000_000;
/// No event of these tests takes longer.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// What the gateway was asked to send.
#[derive(Clone, Debug)]
pub(crate) struct Pushed {
    pub(crate) token: String,
    pub(crate) body: Value,
    pub(crate) idempotency_key: String,
    pub(crate) authorization: String,
}

/// A push-gateway that records, and answers what it is told to.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) url: String,
    pushed: Arc<Mutex<Vec<Pushed>>>,
    status: Arc<AtomicU16>,
    outcomes: tokio::sync::broadcast::Sender<String>,
    /// Pushes in batches are only counted, for the measurement of many.
    counted: Arc<AtomicU64>,
    only_counts: Arc<AtomicBool>,
    code: Arc<Mutex<String>>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gateway = Self {
            url,
            pushed: Arc::default(),
            status: Arc::new(AtomicU16::new(202)),
            outcomes: tokio::sync::broadcast::channel(64).0,
            counted: Arc::default(),
            only_counts: Arc::default(),
            code: Arc::default(),
        };
        let router = Router::new()
            .route("/healthz", get(async || "ok"))
            .route("/v1/notifications/batch", post(notify))
            .route("/v1/notifications/stream", get(outcomes))
            .with_state(gateway.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        gateway
    }

    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(crate) fn code(&self, code: &str) {
        code.clone_into(&mut self.code.lock().unwrap());
    }

    /// Keeps nothing of pushes in batches from now on, but their number.
    pub(crate) fn only_count(&self) {
        self.only_counts.store(true, Ordering::SeqCst);
    }

    /// How many.
    pub(crate) fn counted(&self) -> u64 {
        self.counted.load(Ordering::SeqCst)
    }

    /// Says that Apple calls the token of a push gone, once somebody listens.
    pub(crate) async fn token_gone(&self, number: u32, notification: &str) {
        let data = json!({"notification": notification, "target": "t", "provider": "apns", "app": PASS_TYPE,
            "state": "dead", "at_ms": NOW, "reason": "Unregistered", "token_gone": true});
        let event = format!("event: push.dead\nid: {number}\ndata: {data}\n\n");
        eventually("somebody to follow the outcomes", async || self.outcomes.send(event.clone()).ok()).await;
    }

    pub(crate) fn pushed(&self) -> Vec<Pushed> {
        self.pushed.lock().unwrap().clone()
    }

    /// Waits until there were `count` requests.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Pushed> {
        eventually(&format!("{count} pushes"), async || {
            let pushed = self.pushed();
            (pushed.len() >= count).then_some(pushed)
        })
        .await
    }
}

async fn notify(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    Json(batch): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let status = StatusCode::from_u16(gateway.status.load(Ordering::SeqCst)).unwrap();
    let code = gateway.code.lock().unwrap().clone();
    let notifications = batch["notifications"].as_array().unwrap();
    for body in notifications.iter().filter(|_| status != StatusCode::TOO_MANY_REQUESTS) {
        if gateway.only_counts.load(Ordering::SeqCst) {
            gateway.counted.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        gateway.pushed.lock().unwrap().push(Pushed {
            token: body.pointer("/to/token/token").and_then(Value::as_str).unwrap_or_default().to_owned(),
            idempotency_key: body["idempotency_key"].as_str().unwrap_or_default().to_owned(),
            body: body.clone(),
            authorization: authorization.clone().unwrap_or_default(),
        });
    }
    // Who may not speak at all is told so for the whole request.
    if matches!(status.as_u16(), 401 | 403 | 500..) {
        return (status, Json(json!({"error": {"code": code}})));
    }
    // As the gateway does: a key that comes again is answered with the same name.
    let results: Vec<_> = notifications
        .iter()
        .map(|item| match status.is_success() {
            true => json!({"status": 202, "notification": {"id": format!("n-{}", item["idempotency_key"].as_str().unwrap()), "targets": []}}),
            false => json!({"status": status.as_u16(), "error": {"code": code, "message": ""}}),
        })
        .collect();
    (StatusCode::OK, Json(json!({"results": results})))
}

/// What the gateway says of pushes, as server-sent events.
async fn outcomes(State(gateway): State<Gateway>) -> axum::response::Response {
    let stream = futures_util::stream::unfold(gateway.outcomes.subscribe(), async |mut told| {
        let event: String = told.recv().await.ok()?;
        Some((Ok::<_, std::convert::Infallible>(event), told))
    });
    axum::response::Response::new(axum::body::Body::from_stream(stream))
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(BOUND, asking).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A running service.
pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) database: String,
    pub(crate) data: PathBuf,
    pub(crate) gateway: Gateway,
    pub(crate) clock: Clock,
    pub(crate) client: reqwest::Client,
    shutdown: Shutdown,
    server: JoinHandle<anyhow::Result<()>>,
    _folder: Option<TempDir>,
}

/// Settings of a test, over which `extra` is laid.
pub(crate) fn settings(data: &std::path::Path, database: &str, gateway: &str, extra: &[(&str, &str)]) -> Settings {
    let data = data.display().to_string();
    let base = [
        ("data", data.as_str()),
        ("keys.service", KEY),
        ("wallet.listen", "127.0.0.1:0"),
        ("wallet.database", database),
        ("wallet.public_url", "https://wallet.example.org"),
        ("wallet.gateway.url", gateway),
        ("wallet.push.interval", "0s"),
        ("wallet.sequencer.interval", "20ms"),
    ];
    let mut loader = Loader::new(&[tidings_shared::config::SETTINGS, SETTINGS]);
    // An empty text takes a setting of the base away.
    let given = |key: &str| extra.iter().any(|(other, _)| *other == key);
    for (key, value) in base.iter().filter(|(key, _)| !given(key)).chain(extra).filter(|(_, value)| !value.is_empty()) {
        loader = loader.flag("--set", key, *value);
    }
    loader.load().unwrap()
}

impl Running {
    /// One for each database.
    pub(crate) async fn on_each_database(extra: &[(&str, &str)]) -> Vec<Self> {
        let mut all = Vec::new();
        for database in testing::urls().await {
            all.push(Self::start(&database, extra).await);
        }
        all
    }

    /// On SQLite, where the database makes no difference.
    pub(crate) async fn on_sqlite(extra: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite://{}", folder.path().join("wallet.db").display());
        let mut running = Self::start(&database, extra).await;
        // Both folders must live as long as the service.
        let _kept = folder.keep();
        running.database = database;
        running
    }

    pub(crate) async fn start(database: &str, extra: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::start().await;
        let mut running = Self::start_in(folder.path(), database, gateway, Clock::manual(NOW), extra).await;
        running._folder = Some(folder);
        running
    }

    pub(crate) async fn start_in(
        data: &std::path::Path,
        database: &str,
        gateway: Gateway,
        clock: Clock,
        extra: &[(&str, &str)],
    ) -> Self {
        let config = Config::from_settings(&settings(data, database, &gateway.url, extra)).unwrap();
        let listeners = Listeners::bind(&config).await.unwrap();
        let url = format!("http://{}", listeners.http.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let server = tokio::spawn(run(config, listeners, shutdown.clone(), clock.clone()));
        let client = tidings_shared::http::client(None).unwrap();
        let running = Self {
            url,
            database: database.to_owned(),
            data: data.to_owned(),
            gateway,
            clock,
            client,
            shutdown,
            server,
            _folder: None,
        };
        eventually("the service to be ready", async || {
            let answer = running.client.get(format!("{}/readyz", running.url)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        running
    }

    /// Stops the service and waits for its end.
    pub(crate) async fn stop(self) {
        let _stopped = self.end().await;
    }

    /// Ends the service as a power cut would: nothing is given back.
    pub(crate) fn kill(&self) {
        self.server.abort();
    }

    /// Stops the service, does something, and starts it again: the same database, data folder, gateway and clock.
    pub(crate) async fn restart(self, extra: &[(&str, &str)], between: impl AsyncFnOnce(&str)) -> Self {
        let (url, data, gateway, clock) =
            (self.database.clone(), self.data.clone(), self.gateway.clone(), self.clock.clone());
        let folder = self.end().await;
        between(&url).await;
        let mut again = Self::start_in(&data, &url, gateway, clock, extra).await;
        again._folder = folder;
        again
    }

    async fn end(self) -> Option<TempDir> {
        self.shutdown.begin();
        tokio::time::timeout(BOUND, self.server).await.unwrap().unwrap().unwrap();
        self._folder
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// With the service key.
    pub(crate) fn api(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(KEY)
    }

    /// Makes a pass of the example template.
    pub(crate) async fn create(&self, serial: &str) -> Pass {
        let body = json!({"template": "example", "serial": serial, "fields": {"points": 0, "name": "Ada"}});
        let answer = self.api(Method::POST, "/api/passes").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        let answer: Value = answer.json().await.unwrap();
        Pass { serial: serial.to_owned(), token: answer["authenticationToken"].as_str().unwrap().to_owned() }
    }

    pub(crate) async fn patch(&self, serial: &str, fields: Value) -> Value {
        let path = format!("/api/passes/{PASS_TYPE}/{serial}");
        let answer = self.api(Method::PATCH, &path).json(&json!({"fields": fields})).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    pub(crate) async fn register(&self, device: &str, pass: &Pass, push_token: &str) -> u16 {
        let answer = self
            .request(Method::POST, &registration(device, &pass.serial))
            .header("Authorization", pass.authorization())
            .json(&json!({"pushToken": push_token}))
            .send()
            .await
            .unwrap();
        answer.status().as_u16()
    }

    pub(crate) async fn unregister(&self, device: &str, pass: &Pass) -> u16 {
        let path = registration(device, &pass.serial);
        let request = self.request(Method::DELETE, &path).header("Authorization", pass.authorization());
        request.send().await.unwrap().status().as_u16()
    }

    /// `None`: 204.
    pub(crate) async fn list(&self, device: &str, since: Option<&str>) -> Option<Listed> {
        let query = since.map(|tag| format!("?passesUpdatedSince={tag}")).unwrap_or_default();
        let path = format!("/v1/devices/{device}/registrations/{PASS_TYPE}{query}");
        let answer = self.request(Method::GET, &path).send().await.unwrap();
        match answer.status().as_u16() {
            204 => {
                assert!(answer.bytes().await.unwrap().is_empty());
                None
            }
            200 => {
                let body: Value = answer.json().await.unwrap();
                let serials: Vec<_> =
                    body["serialNumbers"].as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect();
                assert!(!serials.is_empty());
                Some(Listed { serials, tag: body["lastUpdated"].as_str().expect("a text").to_owned() })
            }
            other => panic!("the list answered {other}"),
        }
    }

    pub(crate) async fn fetch(&self, pass: &Pass, modified_since: Option<&str>) -> Response {
        let mut request = self.request(Method::GET, &pass.path()).header("Authorization", pass.authorization());
        if let Some(date) = modified_since {
            request = request.header("If-Modified-Since", date);
        }
        request.send().await.unwrap()
    }
}

/// An answer to "what changed?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) serials: Vec<String>,
    pub(crate) tag: String,
}

/// A pass as its holder knows it.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    pub(crate) serial: String,
    pub(crate) token: String,
}

impl Pass {
    pub(crate) fn authorization(&self) -> String {
        format!("ApplePass {}", self.token)
    }

    pub(crate) fn path(&self) -> String {
        format!("/v1/passes/{PASS_TYPE}/{}", self.serial)
    }
}

pub(crate) fn registration(device: &str, serial: &str) -> String {
    format!("/v1/devices/{device}/registrations/{PASS_TYPE}/{serial}")
}

/// A push token that can be real.
pub(crate) fn push_token(number: u32) -> String {
    format!("{number:064x}")
}

/// The N of `EPOCH.N`.
pub(crate) fn number(tag: &str) -> i64 {
    tag.rsplit_once('.').unwrap().1.parse().unwrap()
}

/// Runs a script of `tests/clients` with this on its standard input and reads the JSON that it prints. `None` when there is
/// no Python for it and `TIDINGS_TEST_STRICT` does not ask for one.
pub(crate) async fn python(script: &str, input: &Value) -> Option<Value> {
    use std::process::Stdio;
    use tokio::io::AsyncWriteExt;

    let Some(python) = std::env::var_os("TIDINGS_TEST_PYTHON") else {
        let strict = std::env::var("TIDINGS_TEST_STRICT").is_ok_and(|strict| strict == "1");
        assert!(
            !strict,
            "TIDINGS_TEST_PYTHON is not set: the Python with the clients, see tests/clients/requirements.txt"
        );
        eprintln!("NOT RUN: {script} needs TIDINGS_TEST_PYTHON; `cargo xtask test` sets it");
        return None;
    };
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    let mut child = tokio::process::Command::new(python)
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(BOUND, child.wait_with_output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}
