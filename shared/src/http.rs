//! What every HTTP door has: error bodies, health and metrics, serving until the shutdown, and a client.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

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
}

impl ApiError {
    /// A refusal.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_s: None }
    }

    /// Something failed inside; the cause is logged where it happened and never told to the client.
    #[must_use]
    pub fn internal() -> Self {
        let message = "something went wrong on our side; the server's log says what";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

#[derive(Serialize, Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Serialize, Deserialize)]
struct ErrorDetail {
    code: String,
    message: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody { error: ErrorDetail { code: self.code.to_owned(), message: self.message } };
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Bearer error=\"invalid_token\"");
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

/// Serves HTTP/1.1 and HTTP/2 until the shutdown, then lets requests under way finish for up to ten seconds.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) -> std::io::Result<()> {
    let begin = shutdown.clone();
    let app = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move { begin.wait().await });
    let late = async {
        shutdown.wait().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        result = server => result,
        () = late => Ok(()),
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
        shutdown.begin();
        server.await.unwrap().unwrap();
    }
}
