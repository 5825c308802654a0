//! What becomes of pushes, as it happens: server-sent events with a durable sequence.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::sse::{Event as Sse, KeepAlive, Sse as SseAnswer};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tidings_shared::auth::http::require_service_key;
use tidings_shared::http::ApiError;
use tidings_shared::storage::StorageError;
use tokio::sync::watch;

use super::{Gateway, refusal};
use crate::events::MISSED;
use crate::events::store::{self, Event};
use crate::metrics::Metrics;

/// Events that are read at once.
const PORTION: i64 = 500;
/// How often an open stream says that it is still wanted.
const RENEW: Duration = Duration::from_secs(3600);
const RENEW_MS: i64 = 3_600_000;

/// Which events.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Only those of one notification.
    notification: Option<String>,
    /// Only those of this kind, for example `push.dead`.
    kind: Option<String>,
    /// Where to go on, for clients that cannot set `Last-Event-ID`.
    last_event_id: Option<String>,
}

/// Streams outcomes and receipts. Each event has a number as its id, `push.accepted` and the like as its name, and an `Outcome`
/// as its data. With `Last-Event-ID` it goes on behind that one; where events behind it are not kept any more, an event
/// `missed` says so first. Without it, it begins with what happens next.
#[utoipa::path(get, path = "/v1/notifications/stream", tag = "notifications",
    params(("notification" = Option<String>, Query, description = "Only the events of one notification"),
        ("kind" = Option<String>, Query, description = "Only the events of this kind, for example `push.dead`"),
        ("last_event_id" = Option<String>, Query, description = "Like the header, for clients that cannot set it"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen")),
    security(("service_key" = [])),
    responses((status = 200, content_type = "text/event-stream", body = String, description = "Events; `data` is an `Outcome`")))]
pub(super) async fn open(
    State(gateway): State<Arc<Gateway>>,
    which: Result<Query<Which>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    require_service_key(&headers, &gateway.service_keys)?;
    let invalid = |message: &str| ApiError::new(StatusCode::BAD_REQUEST, "last_event_id_invalid", message);
    let which = which.map_err(|_| invalid("the address takes `notification`, `kind` and `last_event_id`"))?.0;
    let named = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let asked = match named.or(which.last_event_id).filter(|id| !id.is_empty()) {
        Some(id) => Some(
            id.parse::<i64>()
                .ok()
                .filter(|id| *id >= 0)
                .ok_or_else(|| invalid("Last-Event-ID is the number of an event, as an earlier stream gave it"))?,
        ),
        None => None,
    };
    let database = gateway.database()?.clone();
    let now_ms = gateway.clock.now_ms();
    let last = gateway.rooms.events.stream_open(&database, now_ms).await.map_err(refusal::storage)?;
    let first = store::first(&database).await.map_err(refusal::storage)?;
    let mut waiting = VecDeque::new();
    let position = match asked {
        None => last,
        Some(asked) => {
            // What was before the first one that is kept is forgotten; what comes after the last one was never given.
            let oldest = first.map_or(last, |first| first - 1);
            if asked < oldest || asked > last {
                let data = serde_json::json!({"last_event_id": asked, "continues_after": oldest}).to_string();
                waiting.push_back(Sse::default().event(MISSED).id(oldest.to_string()).data(data));
            }
            if asked > last { oldest } else { asked.max(oldest) }
        }
    };
    gateway.metrics.registry.stream_opened();
    let heartbeat = gateway.rooms.heartbeat;
    let reader = Reader {
        open: Open(Arc::clone(&gateway.metrics)),
        news: gateway.rooms.events.watch(),
        position,
        notification: which.notification,
        kind: which.kind,
        waiting,
        renewed_at: now_ms,
        gateway,
    };
    let events = stream::unfold(reader, async |mut reader| {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    Ok(SseAnswer::new(events).keep_alive(KeepAlive::new().interval(heartbeat)).into_response())
}

struct Reader {
    gateway: Arc<Gateway>,
    open: Open,
    news: watch::Receiver<i64>,
    /// The last event that was read.
    position: i64,
    notification: Option<String>,
    kind: Option<String>,
    waiting: VecDeque<Sse>,
    renewed_at: i64,
}

/// Counts the stream as open until it is dropped.
struct Open(Arc<Metrics>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.registry.stream_closed();
    }
}

impl Reader {
    /// The next event; `None` at a shutdown, or when the database does not answer: the client comes again and goes on.
    async fn next(&mut self) -> Option<Sse> {
        let _ = &self.open;
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            match self.read().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "a stream of outcomes ends: its events cannot be read");
                    return None;
                }
            }
            tokio::select! {
                () = self.gateway.rooms.shutdown.wait() => return None,
                changed = self.news.changed() => changed.ok()?,
                // Says that it is still wanted, however long nothing happens.
                () = tokio::time::sleep(RENEW) => {}
            }
        }
    }

    /// Reads the next portion; whether there was one.
    async fn read(&mut self) -> Result<bool, StorageError> {
        let Some(database) = self.gateway.database.get() else { return Ok(false) };
        let now_ms = self.gateway.clock.now_ms();
        if now_ms - self.renewed_at >= RENEW_MS {
            self.gateway.rooms.events.stream_open(database, now_ms).await?;
            self.renewed_at = now_ms;
        }
        self.news.borrow_and_update();
        let portion = store::after(database, self.position, PORTION).await?;
        let Some(last) = portion.last() else { return Ok(false) };
        self.position = last.seq;
        let wanted = portion.iter().filter(|event| event.kind == MISSED || self.is_wanted(event));
        let wanted: Vec<_> = wanted.map(shown).collect();
        self.waiting.extend(wanted);
        Ok(true)
    }

    fn is_wanted(&self, event: &Event) -> bool {
        if self.kind.as_ref().is_some_and(|kind| *kind != event.kind) {
            return false;
        }
        let Some(wanted) = &self.notification else { return true };
        let outcome: Option<serde_json::Value> = serde_json::from_str(&event.data).ok();
        outcome.is_some_and(|outcome| outcome["notification"] == wanted.as_str())
    }
}

fn shown(event: &Event) -> Sse {
    Sse::default().event(&event.kind).id(event.seq.to_string()).data(&event.data)
}
