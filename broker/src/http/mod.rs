//! The HTTP door: fetch (long-poll) and publish, for phones behind networks that let nothing else through and for
//! backends without MQTT. It speaks to the engine through [`EngineHandle`] and reads from the log.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/messages?wait=25s&client=ID&limit=N`, `Authorization: Bearer TOKEN`, `If-None-Match: "CURSOR"` | 200 with messages and the next cursor (also as `ETag`), or 304 when the wait ends with nothing new |
//! | `GET /v1/messages/stream?client=ID&cursor=CURSOR`, `Authorization: Bearer TOKEN`, `Last-Event-ID: CURSOR` | 200 with server-sent events: what was missed, then what comes |
//! | `POST /v1/messages/ack?client=ID`, `Authorization: Bearer TOKEN`, body `{"cursor":"CURSOR"}` | 204: everything up to the cursor has arrived |
//! | `GET /v1/presence/{user}`, `GET /v1/presence?user=A&user=B`, a service key, a handler key, or a token of that user | 200: who is connected, and when others were seen last |
//! | `POST /v1/publish/{topic}?qos=0\|1&retain&expiry=1h`, `Authorization: Bearer TOKEN` (or a handler key), optional `Message-Id` | 202 when the message is durable, 200 when it had been published before under this `Message-Id` |
//!
//! # Codes of refusals
//! Every refusal is `{"error":{"code":"…","message":"…"}}`.
//!
//! | status | code | when |
//! |---|---|---|
//! | 400 | `query_invalid` | a parameter of the query cannot be used; the message names it |
//! | 400 | `cursor_invalid` | `If-None-Match` is not one cursor in quotes; `Last-Event-ID` or `cursor` is none |
//! | 400 | `client_invalid` | the client's name is longer than 256 bytes or has control characters |
//! | 400 | `topic_invalid` | the topic is not a topic name |
//! | 400 | `message_id_invalid` | `Message-Id` is not 1 to 64 visible ASCII characters |
//! | 400 | `body_unreadable` | the body ended early |
//! | 401 | `token_missing` | no `Authorization: Bearer …` |
//! | 401 | `token_revoked` | the token was revoked; also while a poll waits |
//! | 401 | `token_…` | the token was refused; the codes are those of [`tidings_shared::auth::TokenError`] |
//! | 400 | `user_invalid` | this cannot be the id of a user |
//! | 403 | `user_not_yours` | with a token, only its own user may be asked for |
//! | 403 | `topic_forbidden` | the topic rules forbid it; the message says which rule |
//! | 404, 405 | `not_found`, `method_not_allowed` | no such address, or not with this method |
//! | 408 | `body_timeout` | the body did not arrive in time |
//! | 409 | `cursor_unknown` | a cursor that is acknowledged is not of this log |
//! | 413 | `payload_too_large` | the body is longer than `broker.limits.packet` |
//! | 429 | `message_rate` | the user publishes more than `broker.limits.messages_per_user` or `bytes_per_user`; `Retry-After` |
//! | 429 | `login_backoff` | too many failed log-ins with these credentials or from this address; `Retry-After` |
//! | 429 | `too_many_polls` | the user has `broker.limits.polls_per_user` requests waiting already |
//! | 500 | `internal` | the log could not be read; the server's own log says why |
//! | 503 | `log_full` | the disk is full or too slow; try again after `Retry-After` |
//! | 503 | `not_stored` | the message could not be stored; try again |
//! | 503 | `stopping` | the broker is stopping; try again |
//! | 503 | `token_keys_unavailable` | the token issuer's keys cannot be fetched; try again |

mod ack;
pub mod admin;
mod answer;
mod event;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod messages;
mod pollers;
mod presence;
mod publish;
mod reading;
mod request;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use tidings_shared::auth::{ServiceKeys, Verifier};
use tidings_shared::clock::Clock;
use tidings_shared::cursor::Cursor;
use tidings_shared::http::ApiError;
use tidings_shared::identity::UserId;
use tidings_shared::lifecycle::Shutdown;

use crate::core::{EngineHandle, Watch};
use crate::gate::Throttles;
use crate::log::{Key, MessageLog};
use crate::metrics::{Answered, HttpMetrics};

use pollers::Pollers;
use reading::{Reader, place_of};

/// Limits of the HTTP door.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a poll waits when it does not say.
    pub wait: Duration,
    /// The longest wait; longer ones are shortened to it. Below the time-outs of common proxies (60 s).
    pub wait_max: Duration,
    /// Requests of one user that may wait at the same time.
    pub polls_per_user: usize,
    /// The longest body of a publish, in bytes.
    pub body: usize,
    /// How long a body may take to arrive.
    pub body_deadline: Duration,
    /// An answer ends with the message that makes it longer than this, in bytes.
    pub answer: usize,
    /// How often a quiet stream of events is heard.
    pub heartbeat: Duration,
    /// A stream ends whose client takes nothing for so long.
    pub write_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(25),
            wait_max: Duration::from_secs(55),
            polls_per_user: 10,
            body: 1 << 20,
            body_deadline: Duration::from_secs(30),
            answer: 4 << 20,
            heartbeat: Duration::from_secs(15),
            write_deadline: Duration::from_secs(30),
        }
    }
}

/// What the door stands on.
#[derive(Clone)]
pub struct Parts {
    /// The engine.
    pub engine: EngineHandle,
    /// Where messages are read.
    pub log: Arc<dyn MessageLog>,
    /// Verifies the tokens of devices.
    pub verifier: Verifier,
    /// The keys of handlers.
    pub keys: ServiceKeys,
    /// The keys of other services, which may ask who is there.
    pub service_keys: ServiceKeys,
    /// Limits.
    pub limits: Limits,
    /// The time.
    pub clock: Clock,
    /// Where it counts.
    pub metrics: HttpMetrics,
    /// What users may publish.
    pub throttles: Throttles,
    /// Ends waiting polls.
    pub shutdown: Shutdown,
    /// Who may use the admin door.
    pub admin: admin::Admin,
}

/// What every request can reach.
#[derive(Clone)]
struct Door {
    parts: Parts,
    pollers: Pollers,
    retry: stream::Spread,
}

impl Door {
    /// A client of the user begins to read behind its cursor, which says what has reached it: its reader, whether
    /// everything behind the cursor can be told, and the news to wait for.
    async fn begin(&self, user: &UserId, client: String, cursor: Option<Cursor>) -> (Reader, bool, Watch) {
        let (reader, whole) = Reader::new(&self.parts.log, Key::User(user.clone()), cursor);
        // Before the first read, so that nothing can be stored between a read and the wait unnoticed.
        let news = self.parts.engine.watch(user);
        let reached = cursor.and_then(|cursor| place_of(&*self.parts.log, cursor));
        self.parts.engine.polled(user.clone(), client, reached).await;
        (reader, whole, news)
    }
}

/// The routes of the door.
pub fn router(parts: Parts) -> Router {
    let pollers = Pollers::new(parts.limits.polls_per_user, parts.metrics.waiting.clone());
    let door = Door { parts, pollers, retry: stream::Spread::default() };
    Router::new()
        .route("/v1/messages", get(messages::messages))
        .route("/v1/messages/stream", get(stream::stream))
        .route("/v1/messages/ack", post(ack::ack))
        .route("/v1/presence", get(presence::many))
        .route("/v1/presence/{user}", get(presence::one))
        .route("/v1/publish/", post(publish::without_topic))
        .route("/v1/publish/{*topic}", post(publish::publish))
        .method_not_allowed_fallback(async || method_not_allowed())
        .merge(admin::routes(&door))
        .layer(axum::middleware::from_fn_with_state(door.clone(), count))
        .with_state(door)
}

/// The answer where there is nothing, for the whole HTTP listener.
#[must_use]
pub fn not_found() -> ApiError {
    let message = "there is nothing at this address; see GET /v1/messages, GET /v1/messages/stream, GET /v1/presence/USER and POST /v1/publish/TOPIC";
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
}

fn method_not_allowed() -> ApiError {
    let message = "this address knows another method: GET /v1/messages, GET /v1/messages/stream, POST /v1/messages/ack, GET /v1/presence/USER, POST /v1/publish/TOPIC";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

async fn count(State(door): State<Door>, request: axum::extract::Request, next: Next) -> Response {
    let response = next.run(request).await.into_response();
    let status = response.status().as_u16();
    door.parts.metrics.answered.get_or_create(&Answered { status }).inc();
    response
}
