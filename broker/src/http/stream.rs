//! `GET /v1/messages/stream`: server-sent events. What the user has missed, then what comes, from the log: the stream
//! holds a part of a few messages and reads the next one when the socket has taken it, so a slow reader costs its own
//! time and a bounded piece of memory.
//!
//! Sending is not arriving. A stream acknowledges nothing by itself: the `Last-Event-ID` of the next request does, and
//! `POST /v1/messages/ack` in between; a phone whose stream is dead is woken by a push all the same.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use tidings_shared::auth::Claims;
use tidings_shared::cursor::Cursor;
use tidings_shared::http::ApiError;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::event::{self, Reason};
use super::messages::{lifetime, too_many};
use super::pollers::Place;
use super::reading::Reader;
use super::{Door, request};
use crate::core::Watch;
use crate::metrics::Ended;

/// Messages in one part, and the bytes with which it is full.
const PART: (usize, usize) = (64, 64 << 10);

/// How long the last event may take: nobody should wait for a client that does not read.
const LAST_WORD: Duration = Duration::from_secs(2);

/// The client's end of the connection is closed.
const CLIENT_GONE: &str = "client_gone";

#[derive(Deserialize)]
pub(super) struct Asked {
    client: Option<String>,
    cursor: Option<String>,
}

pub(super) async fn stream(
    State(door): State<Door>,
    headers: HeaderMap,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, ApiError> {
    let claims = request::device(&door.parts, &headers).await?;
    let Query(asked) = query.map_err(|_| request::invalid("query", "of the form name=value&name=value"))?;
    let client = request::client(asked.client, &headers)?;
    let cursor = request::last_event(asked.cursor.as_deref(), &headers)?;
    let place = door.pollers.enter(&claims.user).ok_or_else(|| too_many(&door.parts.limits))?;
    let (reader, whole, news) = door.begin(&claims.user, client, cursor).await;
    let (events, body) = mpsc::channel(1);
    let last_id = reader.cursor();
    let stream = Stream { door, claims, reader, news, events, last_id, _place: place };
    tokio::spawn(stream.run(whole));
    Ok(response(body))
}

/// After how long clients come back: between one second and five, each at another time, so that they do not all come
/// at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Spread(Arc<AtomicU64>);

impl Spread {
    fn next(&self) -> Duration {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        // Steps of the golden ratio fill a range evenly, whenever they stop.
        Duration::from_millis(1_000 + turn.wrapping_mul(2_472) % 4_001)
    }
}

fn response(events: mpsc::Receiver<Bytes>) -> Response {
    let events = futures_util::stream::unfold(events, async |mut events| {
        let text = events.recv().await?;
        Some((Ok::<_, Infallible>(text), events))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(header::VARY, HeaderValue::from_static("Authorization"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Why a stream has nothing more to say.
enum Stop {
    /// The client has gone away, or has taken nothing for too long: nobody is there to be told.
    Lost(&'static str),
    /// The client is told.
    Told(Reason),
}

struct Stream {
    door: Door,
    claims: Claims,
    reader: Reader,
    news: Watch,
    events: mpsc::Sender<Bytes>,
    /// What a client that reads everything would send as `Last-Event-ID`.
    last_id: Cursor,
    _place: Place,
}

impl Stream {
    async fn run(mut self, whole: bool) {
        let streams = self.door.parts.metrics.streams.clone();
        streams.inc();
        let (door, events) = (self.door.clone(), self.events.clone());
        let (left, claims) = (lifetime(&self.claims, &door), self.claims.clone());
        let stop = tokio::select! {
            Err(stop) = self.feed(whole) => stop,
            () = events.closed() => Stop::Lost(CLIENT_GONE),
            () = sleep(left) => Stop::Told(Reason::TokenExpired),
            () = door.parts.engine.revocations().until_revoked(&claims) => Stop::Told(Reason::TokenRevoked),
            () = door.parts.shutdown.wait() => Stop::Told(Reason::Stopping),
        };
        let reason = match stop {
            Stop::Lost(why) => why,
            Stop::Told(reason) => {
                let mut text = String::new();
                event::end(&mut text, reason, self.last_id);
                // It ends in any case.
                let _ = timeout(LAST_WORD, events.send(text.into())).await;
                reason.word()
            }
        };
        door.parts.metrics.streams_ended.get_or_create(&Ended { reason }).inc();
        streams.dec();
    }

    /// Says everything, for as long as there is somebody who listens.
    async fn feed(&mut self, whole: bool) -> Result<Infallible, Stop> {
        let mut text = String::new();
        event::ready(&mut text, self.door.retry.next(), whole, self.last_id);
        self.send(text).await?;
        let mut caught_up = false;
        loop {
            let part = self.reader.read(PART.0, PART.1).await.map_err(|_| Stop::Told(Reason::Internal))?;
            let mut text = String::new();
            if !part.whole {
                event::gap(&mut text, self.last_id);
            }
            for stored in &part.messages {
                event::message(&mut text, self.last_id.epoch, stored);
                self.last_id.offset = stored.0.0;
            }
            let reached = self.reader.cursor();
            if part.at_end && reached != self.last_id && (!caught_up || self.reader.is_old(self.last_id)) {
                self.last_id = reached;
                event::cursor(&mut text, reached);
            }
            caught_up |= part.at_end;
            if !text.is_empty() {
                self.send(text).await?;
            }
            if part.at_end {
                self.wait().await?;
            }
        }
    }

    /// Waits for news, and is heard now and then meanwhile. A heartbeat is followed by a look at the log, which moves the
    /// reader along with it.
    async fn wait(&mut self) -> Result<(), Stop> {
        let news = timeout(self.door.parts.limits.heartbeat, self.news.changed()).await;
        if news.is_ok() { Ok(()) } else { self.send(event::HEARTBEAT.to_owned()).await }
    }

    async fn send(&self, text: String) -> Result<(), Stop> {
        match timeout(self.door.parts.limits.write_deadline, self.events.send(text.into())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Stop::Lost(CLIENT_GONE)),
            Err(_) => Err(Stop::Lost("client_slow")),
        }
    }
}
