//! Simulators on free ports, and an HTTP/2 client that shows everything APNs says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{Request, StatusCode};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tidings_shared::clock::Clock;
use tidings_shared::config::{self, Loader};
use tidings_shared::lifecycle::Shutdown;
use tidings_simulators::{Config, Credentials, Listeners, SETTINGS, Simulators};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Longer than anything in these tests takes.
pub(crate) const BOUND: Duration = Duration::from_secs(30);
pub(crate) const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
pub(crate) const TOPIC: &str = "com.example.app";

/// Running simulators; they stop when this is dropped.
pub(crate) struct Running {
    pub(crate) simulators: Simulators,
    _folder: tempfile::TempDir,
    shutdown: Shutdown,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Running {
    pub(crate) fn credentials(&self) -> &Credentials {
        self.simulators.credentials()
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.credentials().ca_file.clone().unwrap()
    }

    pub(crate) fn http(&self) -> reqwest::Client {
        tidings_shared::http::client(Some(&self.ca_file())).unwrap()
    }

    pub(crate) fn control(&self, path: &str) -> String {
        format!("{}{path}", self.credentials().control_url)
    }

    /// A fresh provider token of the development key.
    pub(crate) fn provider_token(&self) -> String {
        let key = &self.credentials().apns_key;
        provider_token(&key.pem, &key.key_id, &key.team_id, Clock::system().now_s())
    }
}

pub(crate) fn provider_token(pem: &str, key_id: &str, team_id: &str, issued_s: i64) -> String {
    let header = jsonwebtoken::Header {
        kid: Some(key_id.to_owned()),
        ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256)
    };
    let key = jsonwebtoken::EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
    jsonwebtoken::encode(&header, &serde_json::json!({"iss": team_id, "iat": issued_s}), &key).unwrap()
}

/// Starts simulators with these settings changed.
pub(crate) async fn start(settings: &[(&str, &str)]) -> Running {
    start_at(settings, Clock::system()).await
}

pub(crate) async fn start_at(settings: &[(&str, &str)], clock: Clock) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut loader = Loader::new(&[config::SETTINGS, SETTINGS]).flag("test", "data", folder.path().to_str().unwrap());
    for setting in ["simulators.apns.listen", "simulators.fcm.listen", "simulators.control.listen"] {
        loader = loader.flag("test", setting, "127.0.0.1:0");
    }
    for (path, value) in settings {
        loader = loader.flag("test", path, *value);
    }
    let config = Config::from_settings(&loader.load().unwrap());
    let listeners = Listeners::bind(&config).await.unwrap();
    let shutdown = Shutdown::new();
    let simulators = Simulators::new(&config, &listeners, &clock, shutdown.clone()).unwrap();
    tokio::spawn(simulators.clone().serve(listeners));
    Running { simulators, _folder: folder, shutdown }
}

/// A raw HTTP/2 connection to APNs.
pub(crate) struct Apns {
    pub(crate) send: SendRequest<Bytes>,
    /// How the connection ended.
    pub(crate) ended: JoinHandle<Result<(), h2::Error>>,
}

/// An answer of APNs.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) apns_id: String,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn reason(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["reason"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) async fn connect(running: &Running) -> Apns {
    connect_to(&running.credentials().apns_url, running, None).await
}

pub(crate) async fn connect_to(url: &str, running: &Running, identity: Option<(PathBuf, PathBuf)>) -> Apns {
    let identity = identity.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    let config = tidings_shared::tls::client_config(Some(&running.ca_file()), identity, &[b"h2"]).unwrap();
    let address = url.strip_prefix("https://").unwrap();
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    Apns { send, ended: tokio::spawn(connection) }
}

impl Apns {
    /// Begins a push and returns its answer to come, without waiting for a place among the streams.
    pub(crate) async fn begin(&mut self, token: &str, headers: &[(&str, &str)], payload: &[u8]) -> ResponseFuture {
        let mut request = Request::post(format!("https://localhost/3/device/{token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let ready = self.send.clone().ready().await.unwrap();
        self.send = ready;
        let (response, mut stream) = self.send.send_request(request.body(()).unwrap(), false).unwrap();
        stream.send_data(Bytes::copy_from_slice(payload), true).unwrap();
        response
    }

    /// Sends a push and reads the answer.
    pub(crate) async fn push(&mut self, token: &str, headers: &[(&str, &str)], payload: &[u8]) -> Answer {
        let response = self.begin(token, headers, payload).await;
        read(response).await.unwrap()
    }

    /// Waits until the server allows exactly so many streams.
    pub(crate) async fn until_limit(&self, limit: usize) {
        bounded(async {
            while self.send.current_max_send_streams() != limit {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

pub(crate) async fn read(response: ResponseFuture) -> Result<Answer, h2::Error> {
    bounded(async {
        let (parts, mut stream) = response.await?.into_parts();
        let mut body = Vec::new();
        while let Some(chunk) = stream.data().await {
            body.extend_from_slice(&chunk?);
        }
        let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        Ok(Answer {
            status: parts.status,
            apns_id: text("apns-id").unwrap_or_default(),
            retry_after: text("retry-after"),
            body: String::from_utf8(body).unwrap(),
        })
    })
    .await
}

pub(crate) async fn bounded<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(BOUND, future).await.expect("it took too long")
}
