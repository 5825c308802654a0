//! The admin door, under `/v1/admin/`: revocations, connections and sessions, and why a topic is allowed. Every request
//! needs one of `keys.admin`; without such a key in the configuration the door is closed.
//!
//! # Codes of refusals
//! Besides those of the other doors (`docs/http.md` describes the requests):
//!
//! | status | code | when |
//! |---|---|---|
//! | 400 | `body_invalid` | the body is not JSON of the described form; the message says where |
//! | 400 | `revocation_invalid` | the revocation names no token and no user, or both, or a time that is none |
//! | 400 | `query_invalid` | a parameter of the query cannot be used |
//! | 401 | `admin_key_missing`, `admin_key_wrong` | send one of `keys.admin` as `Authorization: Bearer KEY` |
//! | 403 | `admin_disabled` | `keys.admin` is empty |
//! | 404 | `revocation_unknown`, `connection_unknown` | there is none (any more) |
//! | 413 | `payload_too_large` | the body is longer than 64 KiB |
//! | 503 | `revocation_not_stored` | it is in force, but the log did not take it: a restart would forget it; try again |
//! | 507 | `revocations_full` | there are a million revocations already |

mod connections;
mod explain;
mod revocations;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;
use tidings_shared::auth::ServiceKeys;
use tidings_shared::auth::http::bearer;
use tidings_shared::http::ApiError;

use super::Door;

/// The longest body: a token and what is asked about it.
const BODY: usize = 64 << 10;

/// What the admin door needs besides what every door has.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    /// `keys.admin`.
    pub keys: ServiceKeys,
    /// How long a revocation is kept that does not say until when its tokens are good, ms (`broker.revocations.keep`);
    /// `None`: until it is taken back.
    pub keep_ms: Option<i64>,
}

pub(super) fn routes(door: &Door) -> Router<Door> {
    Router::new()
        .route("/v1/admin/revocations", get(revocations::list).post(revocations::revoke))
        .route("/v1/admin/revocations/{*id}", get(revocations::one).delete(revocations::take_back))
        .route("/v1/admin/connections", get(connections::connections).delete(connections::kick_all))
        .route("/v1/admin/connections/{id}", delete(connections::kick))
        .route("/v1/admin/sessions", get(connections::sessions))
        .route("/v1/admin/explain", post(explain::explain))
        .route("/v1/admin", get(nothing))
        .route("/v1/admin/{*rest}", axum::routing::any(nothing))
        .layer(axum::extract::DefaultBodyLimit::max(BODY))
        .layer(axum::middleware::from_fn_with_state(door.clone(), admit))
        .method_not_allowed_fallback(async || {
            let message = "this address knows another method; see docs/http.md, the admin door";
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
}

async fn nothing() -> ApiError {
    let message = "the admin door has revocations, connections, sessions and explain; see docs/http.md";
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
}

/// Only who has a key comes in, whatever the address.
async fn admit(State(door): State<Door>, request: Request, next: Next) -> Response {
    let keys = &door.parts.admin.keys;
    let refused = |status, code, message| ApiError::new(status, code, message).into_response();
    if keys.is_empty() {
        let message = "the admin door is closed; set keys.admin (the variable TIDINGS_KEYS__ADMIN) to open it";
        return refused(StatusCode::FORBIDDEN, "admin_disabled", message);
    }
    match bearer(request.headers()) {
        None => {
            let message = "send one of keys.admin as `Authorization: Bearer KEY`";
            refused(StatusCode::UNAUTHORIZED, "admin_key_missing", message)
        }
        Some(key) if keys.accepts(key) => next.run(request).await,
        Some(_) => refused(StatusCode::UNAUTHORIZED, "admin_key_wrong", "this admin key is not valid here"),
    }
}

/// The body, of the form that the request wants.
fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("the body is longer than {BODY} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
        }
        _ => ApiError::new(StatusCode::BAD_REQUEST, "body_unreadable", "the body ended early"),
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        // The text of the error may repeat a part of the body, which may hold a token.
        let (line, column) = (error.line(), error.column());
        let message =
            format!("the body is not JSON of the described form (line {line}, column {column}); see docs/http.md");
        ApiError::new(StatusCode::BAD_REQUEST, "body_invalid", message)
    })
}
