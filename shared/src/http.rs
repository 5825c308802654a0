//! What every HTTP door has: error bodies, health and metrics, serving until the shutdown, and a client.

pub mod egress;
pub mod openapi;
mod patient_writes;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use self::patient_writes::PatientWrites;
use crate::health::Health;
use crate::lifecycle::Shutdown;

/// A refusal that a client sees: `{"error":{"code":"…","message":"…"}}`. Codes are documented and stable; the
/// message is for people and says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable code.
    pub code: &'static str,
    /// For people; never internal text.
    pub message: String,
    /// Seconds for `Retry-After`.
    pub retry_after_s: Option<u64>,
    /// Further fields beside code and message, for programs.
    pub details: Vec<(&'static str, i64)>,
}

impl ApiError {
    /// A refusal.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_s: None, details: Vec::new() }
    }

    /// Something failed inside; the cause is logged where it happened and never told to the client.
    #[must_use]
    pub fn internal() -> Self {
        let message = "something went wrong on our side; the server's log says what";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// What 401 asks for. Who brought no credential at all has done nothing wrong yet and is told no error (RFC 6750,
    /// section 3.1); the codes of such refusals end in `_missing`.
    fn challenge(&self) -> &'static str {
        if self.code.ends_with("_missing") { "Bearer" } else { "Bearer error=\"invalid_token\"" }
    }

    /// Adds a field beside code and message.
    #[must_use]
    pub fn detail(mut self, name: &'static str, value: i64) -> Self {
        self.details.push((name, value));
        self
    }

    /// What stands under `error` in the body.
    #[must_use]
    pub fn as_json(&self) -> serde_json::Value {
        let mut error = serde_json::json!({ "code": self.code, "message": self.message });
        for (name, value) in &self.details {
            error[*name] = (*value).into();
        }
        error
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let challenge = self.challenge();
        let body = serde_json::json!({ "error": self.as_json() });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static(challenge);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[derive(Clone)]
struct Operations {
    health: Health,
    registry: Arc<Registry>,
}

/// `/healthz` (the process lives), `/readyz` (it can work; else 503 and what is missing), `/metrics` (Prometheus).
pub fn operations_router(health: Health, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Operations { health, registry })
}

async fn readyz(State(operations): State<Operations>) -> Response {
    let missing = operations.health.missing();
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": missing.is_empty(), "missing": missing }))).into_response()
}

async fn metrics(State(operations): State<Operations>) -> Response {
    let mut text = String::new();
    if prometheus_client::encoding::text::encode(&mut text, &operations.registry).is_err() {
        return ApiError::internal().into_response();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// How long requests under way may take after the shutdown began.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a client may take for the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);
/// How long a client may take nothing out of its socket while something waits for it.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// How often an idle HTTP/2 connection is asked whether it lives, and how long it may take to answer.
const HTTP2_PING: Duration = Duration::from_secs(30);
/// The pause after an accept that failed (no more files, say): serving goes on when there is room again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves HTTP/1.1 and HTTP/2 until the shutdown, then lets requests under way finish for up to ten seconds. A client
/// that is silent, slow with the head of a request, or takes nothing of its answer, loses its connection and costs nobody else anything.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    let server = Server::new(router);
    loop {
        let accepted = tokio::select! {
            () = shutdown.wait() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Without it answers are only slower.
        let _ = stream.set_nodelay(true);
        tokio::spawn(server.connection(stream, peer, (), None).0);
    }
    drop(listener);
    server.drain().await;
}

/// Speaks HTTP/1.1 and HTTP/2 on sockets that somebody else accepts. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    builder: Arc<auto::Builder<TokioExecutor>>,
    router: Router,
    /// `None` when nothing is served any more.
    connections: Arc<Mutex<Option<GracefulShutdown>>>,
}

/// Whoever keeps a place for a connection until its first request.
pub struct Heard<G>(Arc<Mutex<Option<G>>>);

impl<G> Heard<G> {
    fn place(&self) -> MutexGuard<'_, Option<G>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request has come.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.place().is_none()
    }

    /// Looks at the place, if no request has come yet.
    pub fn with<T>(&self, look: impl FnOnce(&G) -> T) -> Option<T> {
        self.place().as_ref().map(look)
    }

    /// Takes the place away, if no request has come yet.
    pub fn take(&self) -> Option<G> {
        self.place().take()
    }
}

impl Server {
    /// A server of these routes.
    #[must_use]
    pub fn new(router: Router) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(HTTP2_PING).keep_alive_timeout(HTTP2_PING);
        let connections = Arc::new(Mutex::new(Some(GracefulShutdown::new())));
        Self { builder: Arc::new(builder), router, connections }
    }

    fn connections(&self) -> MutexGuard<'_, Option<GracefulShutdown>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one connection to its end. `place` is dropped at its first request. With a `refusal` every request gets
    /// that for an answer, and the connection closes.
    pub fn connection<G: Send + 'static>(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: G,
        refusal: Option<ApiError>,
    ) -> (impl Future<Output = ()> + Send + 'static, Heard<G>) {
        let heard = Heard(Arc::new(Mutex::new(Some(place))));
        let (router, place) = (self.router.clone(), Arc::clone(&heard.0));
        let service = service_fn(move |mut request: http::Request<Incoming>| {
            drop(place.lock().unwrap_or_else(PoisonError::into_inner).take());
            request.extensions_mut().insert(ConnectInfo(peer));
            let (router, refusal) = (router.clone(), refusal.clone());
            async move {
                match refusal {
                    None => router.oneshot(request.map(Body::new)).await,
                    Some(refusal) => {
                        let mut response = refusal.into_response();
                        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
                        Ok(response)
                    }
                }
            }
        });
        let stream = TokioIo::new(PatientWrites::new(stream, WRITE_PATIENCE));
        let connection = self.builder.serve_connection_with_upgrades(stream, service).into_owned();
        let connection = self.connections().as_ref().map(|connections| connections.watch(connection));
        let serving = async move {
            let Some(connection) = connection else { return };
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "an HTTP connection ended");
            }
        };
        (serving, heard)
    }

    /// Serves nothing new, and lets requests under way finish for up to ten seconds.
    pub async fn drain(&self) {
        let Some(connections) = self.connections().take() else { return };
        if tokio::time::timeout(DRAIN, connections.shutdown()).await.is_err() {
            tracing::warn!("HTTP requests were still under way after {DRAIN:?}; they are cut off");
        }
    }
}

/// A client that trusts the system's certificates and those of `ca` (PEM).
///
/// # Errors
/// When the file cannot be used; the text names it.
pub fn client(ca: Option<&Path>) -> anyhow::Result<reqwest::Client> {
    use anyhow::Context;

    crate::tls::install_provider();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none());
    if let Some(file) = ca {
        let pem =
            std::fs::read(file).with_context(|| format!("{}: the certificates cannot be read", file.display()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .with_context(|| format!("{}: these are no PEM certificates", file.display()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    Ok(builder.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_credential_that_was_sent_can_be_invalid() {
        for (code, challenge) in [
            ("token_missing", "Bearer"),
            ("service_key_missing", "Bearer"),
            ("token_expired", "Bearer error=\"invalid_token\""),
            ("service_key_wrong", "Bearer error=\"invalid_token\""),
        ] {
            let response = ApiError::new(StatusCode::UNAUTHORIZED, code, "").into_response();
            assert_eq!(response.headers()["www-authenticate"], challenge, "{code}");
        }
        let forbidden = ApiError::new(StatusCode::FORBIDDEN, "x", "").into_response();
        assert!(!forbidden.headers().contains_key("www-authenticate"));
    }

    #[tokio::test]
    async fn readiness_says_what_is_missing() {
        let health = Health::default();
        let database = health.register("database");
        database.missing("connection refused");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let router = operations_router(health, Arc::new(Registry::default()));
        let server = tokio::spawn(serve(listener, router, shutdown.clone()));
        let client = client(None).unwrap();
        let answer = client.get(format!("{url}/readyz")).send().await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.text().await.unwrap(), r#"{"ready":false,"missing":["database: connection refused"]}"#);
        database.ready();
        assert_eq!(client.get(format!("{url}/readyz")).send().await.unwrap().status(), 200);
        assert_eq!(client.get(format!("{url}/healthz")).send().await.unwrap().status(), 200);
        assert!(client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap().ends_with("# EOF\n"));
        // A client that says nothing must not hold the stop up.
        let silent = tokio::net::TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
        shutdown.begin();
        server.await.unwrap();
        drop(silent);
    }
}
