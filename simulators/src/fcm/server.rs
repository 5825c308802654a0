//! The HTTP door of the FCM simulator.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Form, Path, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, post};
use axum::{Extension, Json, Router};
use http::{HeaderMap, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tidings_shared::lifecycle::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::error::FcmError;
use super::message::{self, Checked};
use super::oauth::{AccessToken, TokenForm};
use super::{FcmAction, FcmSimulator, lock, topics};
use crate::inbox::{Provider, Push};
use crate::tls::ServerIdentity;

const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

impl FcmSimulator {
    /// Serves FCM, and what else lives at Google's door (`neighbours`), on `listener` until `shutdown`.
    ///
    /// # Errors
    /// When the certificate cannot be used.
    pub async fn serve(
        self,
        listener: TcpListener,
        identity: &ServerIdentity,
        neighbours: Router,
        shutdown: Shutdown,
    ) -> anyhow::Result<()> {
        let mut config = identity.server_config(None)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let router = self.router().merge(neighbours).fallback(async || StatusCode::NOT_FOUND);
        loop {
            let socket = tokio::select! {
                () = shutdown.wait() => return Ok(()),
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => socket,
                    Err(error) => {
                        tracing::warn!(%error, "the FCM simulator cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let serving = connection(socket, acceptor.clone(), router.clone());
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = shutdown.wait() => {}
                    () = serving => {}
                }
            });
        }
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/token", post(token))
            .route("/v1/projects/{project}/{call}", post(send))
            .route("/iid/{call}", post(topics::batch))
            .route("/v1/projects/{project}/registrations/{token}/topicSubscriptions", post(topics::subscribe))
            .route(
                "/v1/projects/{project}/registrations/{token}/topicSubscriptions/{topic}",
                delete(topics::unsubscribe),
            )
            .with_state(self.clone())
    }
}

/// Cuts the connection that a request came on, with everything that is under way on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Cut(Arc<Notify>);

impl Cut {
    /// Cuts it. Does not return: whoever answers on it ends with it.
    pub(super) async fn now(&self) {
        self.0.notify_one();
        std::future::pending().await
    }
}

async fn connection(socket: TcpStream, acceptor: TlsAcceptor, router: Router) {
    let _ = socket.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake with the FCM simulator failed"),
        Err(_) => return tracing::debug!("TLS handshake with the FCM simulator took too long"),
    };
    let cut = Cut::default();
    let service = TowerToHyperService::new(router.layer(Extension(cut.clone())));
    let serving = Builder::new(TokioExecutor::new());
    tokio::select! {
        ended = serving.serve_connection(TokioIo::new(stream), service) => {
            if let Err(error) = ended {
                tracing::debug!(error, "connection to the FCM simulator ended");
            }
        }
        () = cut.0.notified() => {}
    }
}

async fn token(State(simulator): State<FcmSimulator>, Form(form): Form<TokenForm>) -> Response {
    match simulator.exchange(&form) {
        Ok(answer) => Json(answer).into_response(),
        Err(refused) => {
            let body = json!({ "error": refused.error, "error_description": refused.description });
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    }
}

async fn send(
    State(simulator): State<FcmSimulator>,
    Path((project, call)): Path<(String, String)>,
    Extension(cut): Extension<Cut>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if call != "messages:send" {
        return StatusCode::NOT_FOUND.into_response();
    }
    let judged = judge(&simulator, &project, &headers, &body);
    let (access, checked) = match judged {
        Ok(judged) => judged,
        Err(error) => return refuse(&simulator, error),
    };
    let hit = simulator.0.script.next(&checked.target, &project);
    let accepts = hit.as_ref().is_none_or(|hit| hit.delivered || hit.action == FcmAction::Accept);
    let name = if accepts { Some(deliver(&simulator, &project, &access, &checked)) } else { None };
    if let Some(hit) = hit {
        tokio::time::sleep(hit.delay).await;
        match hit.action {
            FcmAction::Accept => {}
            FcmAction::Answer(error) => return refuse(&simulator, FcmError::scripted(&error)),
            FcmAction::Stall => std::future::pending::<()>().await,
            FcmAction::Cut => cut.now().await,
            FcmAction::Html502 => {
                let page = "<!DOCTYPE html>\n<html lang=en>\n<title>Error 502 (Server Error)!!1</title>\n";
                return (StatusCode::BAD_GATEWAY, Html(page)).into_response();
            }
            FcmAction::RevokeTokens => {
                lock(&simulator.0.access).clear();
                return refuse(&simulator, FcmError::unauthenticated());
            }
        }
    }
    simulator.0.sent.fetch_add(1, Ordering::Relaxed);
    Json(json!({ "name": name.unwrap_or_default() })).into_response()
}

fn judge(
    simulator: &FcmSimulator,
    project: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(AccessToken, Checked), FcmError> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let access = authorization
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .and_then(|(_, token)| simulator.access(token.trim()))
        .ok_or_else(FcmError::unauthenticated)?;
    if access.project != project || !access.allows_sending() {
        return Err(FcmError::permission_denied(project));
    }
    let checked = message::check(body)?;
    if matches!(checked.kind, "token" | "fid") {
        check_registration(simulator, project, &checked.target)?;
    }
    Ok((access, checked))
}

fn check_registration(simulator: &FcmSimulator, project: &str, token: &str) -> Result<(), FcmError> {
    let tokens = lock(&simulator.0.tokens);
    match tokens.get(token) {
        None if simulator.0.options.strict_tokens => {
            Err(FcmError::fcm("UNREGISTERED", "Requested entity was not found."))
        }
        None => Ok(()),
        Some(known) if known.project.as_deref().is_some_and(|owner| owner != project) => {
            Err(FcmError::fcm("SENDER_ID_MISMATCH", "SenderId mismatch"))
        }
        Some(known) if known.gone => Err(FcmError::fcm("UNREGISTERED", "NotRegistered")),
        Some(_) => Ok(()),
    }
}

/// Puts the message into the inbox, unless it is only to be validated; returns its name.
fn deliver(simulator: &FcmSimulator, project: &str, access: &AccessToken, checked: &Checked) -> String {
    if checked.validate_only {
        return format!("projects/{project}/messages/fake_message_id");
    }
    let name = format!("projects/{project}/messages/{}", uuid::Uuid::new_v4().simple());
    simulator.0.inbox.deliver(Push {
        seq: 0,
        provider: Provider::Fcm,
        token: checked.target.clone(),
        id: name.clone(),
        at_ms: simulator.0.clock.now_ms(),
        topic: project.to_owned(),
        headers: std::collections::BTreeMap::new(),
        sender: access.account.clone(),
        connection: 0,
        payload: checked.message.clone(),
    });
    name
}

fn refuse(simulator: &FcmSimulator, error: FcmError) -> Response {
    simulator.0.refused.fetch_add(1, Ordering::Relaxed);
    let mut response = (error.status, Json(error.body)).into_response();
    if let Some((seconds, form)) = error.retry_after
        && let Ok(value) = form.value(seconds, simulator.0.clock.now_s()).parse()
    {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}
