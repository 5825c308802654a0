//! `POST /v1/messages/ack`: a client says how far it has read, between two requests that would say so by themselves.

use axum::body::{Body, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tidings_shared::cursor::Cursor;
use tidings_shared::http::ApiError;
use tokio::time::timeout;

use super::reading::place_of;
use super::{Door, request};

/// The longest body, in bytes.
const BODY: usize = 4_096;

#[derive(Deserialize)]
pub(super) struct Asked {
    client: Option<String>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Acked {
    cursor: String,
}

pub(super) async fn ack(
    State(door): State<Door>,
    headers: HeaderMap,
    query: Result<Query<Asked>, QueryRejection>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let claims = request::device(&door.parts, &headers).await?;
    let Query(asked) = query.map_err(|_| request::invalid("query", "of the form name=value&name=value"))?;
    let client = request::client(asked.client, &headers)?;
    let text = match asked.cursor {
        Some(text) => text,
        None => in_body(&door, body).await?,
    };
    let cursor: Cursor = text.parse().map_err(|_| invalid())?;
    let reached = place_of(&*door.parts.log, cursor).ok_or_else(|| {
        let message =
            "this cursor is not of the log that is kept here now; read on from the one that the next answer gives";
        ApiError::new(StatusCode::CONFLICT, "cursor_unknown", message)
    })?;
    door.parts.engine.polled(claims.user, client, Some(reached)).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn in_body(door: &Door, body: Body) -> Result<String, ApiError> {
    let read = timeout(door.parts.limits.body_deadline, to_bytes(body, BODY)).await.map_err(|_| {
        let message = "the body did not arrive in time; try again";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message)
    })?;
    let bytes = read.map_err(|_| invalid())?;
    serde_json::from_slice(&bytes).map(|acked: Acked| acked.cursor).map_err(|_| invalid())
}

fn invalid() -> ApiError {
    let message = "say how far was read: `{\"cursor\":\"EPOCH-OFFSET\"}` in the body, or `?cursor=`";
    ApiError::new(StatusCode::BAD_REQUEST, "cursor_invalid", message)
}
