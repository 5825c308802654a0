//! `GET /v1/messages`: what the user has not fetched yet, or a wait for it.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tidings_shared::auth::Claims;
use tidings_shared::cursor::Cursor;
use tidings_shared::http::ApiError;
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, not_modified};
use super::{Door, Limits, request};
use crate::log::{Key, LogError, MessageLog, Offset, Stored};

/// Messages in one answer unless the client says otherwise, and at most.
const LIMIT: (usize, usize) = (100, 1_000);

/// Messages read from the log at once.
const CHUNK: usize = 64;

#[derive(Deserialize)]
pub(super) struct Asked {
    wait: Option<String>,
    limit: Option<String>,
    client: Option<String>,
}

/// Where the client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Start {
    /// Read what is after this.
    after: Offset,
    /// Whether everything after the client's cursor can be told.
    whole: bool,
    /// What the client sent.
    cursor: Option<Cursor>,
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
    let key = Key::User(claims.user.clone());
    let start = start(&*door.parts.log, &key, cursor);
    // Before the first read, so that nothing can be stored between a read and the wait unnoticed.
    let mut news = door.parts.engine.watch(&claims.user);
    let reached = cursor.filter(|cursor| cursor.epoch == door.parts.log.epoch() && start.cursor == Some(*cursor));
    let reached = reached.filter(|_| !is_ahead(&*door.parts.log, cursor)).map(|cursor| Offset(cursor.offset));
    door.parts.engine.polled(claims.user.clone(), client, reached).await;
    loop {
        let found = fetch(&door, &key, start.after, limit).await?;
        if !found.messages.is_empty() || !start.whole {
            return Ok(found.answer(&door, start.whole));
        }
        tokio::select! {
            waited = timeout_at(deadline, news.changed()) => if waited.is_err() {
                drop(place);
                return Ok(end_of_wait(&door, start, &found));
            },
            () = door.parts.shutdown.wait() => return Err(stopping()),
        }
    }
}

/// The time that is left to the token.
fn lifetime(claims: &Claims, door: &Door) -> std::time::Duration {
    let left = claims.expires_at_ms.map(|expires| expires.saturating_sub(door.parts.clock.now_ms()).max(0));
    left.map_or(std::time::Duration::MAX, |left| std::time::Duration::from_millis(left.unsigned_abs()))
}

fn read_limit(text: Option<&str>) -> Result<usize, ApiError> {
    let Some(text) = text else { return Ok(LIMIT.0) };
    match text.parse() {
        Ok(limit) if limit > 0 => Ok(LIMIT.1.min(limit)),
        _ => Err(request::invalid("limit", "a whole number from 1 on")),
    }
}

fn is_ahead(log: &dyn MessageLog, cursor: Option<Cursor>) -> bool {
    cursor.is_some_and(|cursor| cursor.offset > log.head().0)
}

fn start(log: &dyn MessageLog, key: &Key, cursor: Option<Cursor>) -> Start {
    let Some(known) = cursor else { return Start { after: Offset::START, whole: true, cursor } };
    if known.epoch != log.epoch() || is_ahead(log, cursor) {
        return Start { after: Offset::START, whole: false, cursor };
    }
    let after = Offset(known.offset);
    Start { after, whole: after >= log.floor(key), cursor }
}

/// What a read found.
struct Found {
    messages: Vec<Stored>,
    /// Everything up to here is in `messages` or is none of this user's.
    upto: Offset,
}

impl Found {
    fn answer(&self, door: &Door, whole: bool) -> Response {
        let epoch = door.parts.log.epoch();
        let next = Cursor { epoch, offset: self.upto.0 };
        Answer::new(&self.messages, epoch, next, whole).into_response()
    }
}

async fn fetch(door: &Door, key: &Key, after: Offset, limit: usize) -> Result<Found, ApiError> {
    let (log, key, bytes) = (Arc::clone(&door.parts.log), key.clone(), door.parts.limits.answer);
    let read = tokio::task::spawn_blocking(move || read(&*log, &key, after, limit, bytes)).await;
    match read {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            tracing::error!(%error, "messages could not be read from the log");
            Err(ApiError::internal())
        }
        Err(error) => {
            tracing::error!(%error, "reading messages from the log ended early");
            Err(ApiError::internal())
        }
    }
}

fn read(log: &dyn MessageLog, key: &Key, after: Offset, limit: usize, bytes: usize) -> Result<Found, LogError> {
    // Taken first: whatever is stored during the read lies behind it.
    let head = log.head();
    let mut found = Found { messages: Vec::new(), upto: after };
    let mut size = 0;
    loop {
        let wanted = CHUNK.min(limit - found.messages.len());
        let chunk = log.read(key, found.upto, wanted)?;
        let at_end = chunk.len() < wanted;
        for (offset, message) in chunk {
            size += message.payload.len() + message.topic.len();
            found.upto = offset;
            // The second wall: what a device published under the command rule is for handlers only.
            if message.granted {
                found.messages.push((offset, message));
            }
            if size >= bytes {
                return Ok(found);
            }
        }
        if at_end {
            found.upto = found.upto.max(head);
            return Ok(found);
        }
        if found.messages.len() >= limit {
            return Ok(found);
        }
    }
}

/// 304 for who has a cursor; a cursor for who has none, or whose cursor will soon be older than what is kept.
fn end_of_wait(door: &Door, start: Start, found: &Found) -> Response {
    let log = &*door.parts.log;
    let (first, head) = (log.first().0, log.head().0);
    let oldest = first + head.saturating_sub(first) / 2;
    match start.cursor {
        Some(cursor) if cursor.offset >= oldest || cursor.offset == found.upto.0 => not_modified(cursor),
        _ => found.answer(door, true),
    }
}

fn too_many(limits: &Limits) -> ApiError {
    let message =
        format!("{} requests of this user wait already; let each client have one at a time", limits.polls_per_user);
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_polls", message).retry_after(1)
}

pub(super) fn stopping() -> ApiError {
    let message = "the broker is stopping; try again";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", message).retry_after(1)
}
