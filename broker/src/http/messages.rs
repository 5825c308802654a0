//! `GET /v1/messages`: what the user has not fetched yet, or a wait for it.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tidings_shared::auth::{Claims, TokenError};
use tidings_shared::cursor::Cursor;
use tidings_shared::http::ApiError;
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, not_modified};
use super::reading::Reader;
use super::{Door, Limits, request};

/// Messages in one answer unless the client says otherwise, and at most.
const LIMIT: (usize, usize) = (100, 1_000);

#[derive(Deserialize)]
pub(super) struct Asked {
    wait: Option<String>,
    limit: Option<String>,
    client: Option<String>,
}

pub(super) async fn messages(
    State(door): State<Door>,
    headers: HeaderMap,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, ApiError> {
    let claims = request::device(&door.parts, &headers).await?;
    let Query(asked) = query.map_err(|_| request::invalid("query", "of the form name=value&name=value"))?;
    let client = request::client(asked.client, &headers)?;
    let cursor = request::cursor(&headers)?;
    let limit = read_limit(asked.limit.as_deref())?;
    let wait = match asked.wait {
        Some(text) => request::duration("wait", &text)?,
        None => door.parts.limits.wait,
    };
    let deadline = Instant::now() + wait.min(door.parts.limits.wait_max).min(lifetime(&claims, &door));
    let place = door.pollers.enter(&claims.user).ok_or_else(|| too_many(&door.parts.limits))?;
    let (mut reader, whole, mut news) = door.begin(&claims.user, client, cursor).await;
    loop {
        let part = reader.read(limit, door.parts.limits.answer).await?;
        let whole = whole && part.whole;
        if !part.messages.is_empty() || !whole {
            return Ok(Answer::new(&part.messages, reader.cursor(), whole).into_response());
        }
        tokio::select! {
            waited = timeout_at(deadline, news.changed()) => if waited.is_err() {
                drop(place);
                return Ok(end_of_wait(&reader, cursor));
            },
            () = door.parts.engine.revocations().until_revoked(&claims) => return Err(TokenError::Revoked.into()),
            () = door.parts.shutdown.wait() => return Err(stopping()),
        }
    }
}

/// The time that is left to the token.
pub(super) fn lifetime(claims: &Claims, door: &Door) -> std::time::Duration {
    let left = claims.ends_at_ms.map(|expires| expires.saturating_sub(door.parts.clock.now_ms()).max(0));
    left.map_or(std::time::Duration::MAX, |left| std::time::Duration::from_millis(left.unsigned_abs()))
}

fn read_limit(text: Option<&str>) -> Result<usize, ApiError> {
    let Some(text) = text else { return Ok(LIMIT.0) };
    match text.parse() {
        Ok(limit) if limit > 0 => Ok(LIMIT.1.min(limit)),
        _ => Err(request::invalid("limit", "a whole number from 1 on")),
    }
}

/// 304 for who has a cursor; a cursor for who has none, or whose cursor will soon be older than what is kept.
fn end_of_wait(reader: &Reader, cursor: Option<Cursor>) -> Response {
    match cursor {
        Some(cursor) if !reader.is_old(cursor) => not_modified(cursor),
        _ => Answer::new(&[], reader.cursor(), true).into_response(),
    }
}

pub(super) fn too_many(limits: &Limits) -> ApiError {
    let message =
        format!("{} requests of this user wait already; let each client have one at a time", limits.polls_per_user);
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_polls", message).retry_after(1)
}

pub(super) fn stopping() -> ApiError {
    let message = "the broker is stopping; try again";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", message).retry_after(1)
}
