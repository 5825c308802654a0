//! The connections to one address with one set of credentials: opened when needed, shared by all apps of these
//! credentials and all their pushes, held to
//! the peer's live limit of streams, replaced when they are cut or sent away (GOAWAY).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::connection::Connection;
use super::endpoint::Endpoint;
use super::fault::TransportError;
use super::goaway;
use crate::provider::dial::dial;
use crate::provider::handover;

/// How often a request that was certainly not processed is handed over again at once.
const ATTEMPTS: u32 = 4;
/// The pause before that; it grows.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);
/// A waiter looks again after this time even when nobody told it that there is room.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// After a failed attempt to connect, the next one waits this long.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Bounds of a [`Transport`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; more than one is opened only when the others are full.
    pub connections: usize,
    /// Streams at once on a connection, if the peer allows more.
    pub streams: usize,
    /// For name lookup, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From a free stream to the end of the answer.
    pub request_timeout: Duration,
    /// An open connection is sent a PING this often.
    pub ping_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2,
            streams: 1000,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(15),
            ping_after: Duration::from_secs(3600),
        }
    }
}

/// An answer and the connection that it came on.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) connection: Arc<Connection>,
}

/// See the head of this file. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Transport(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    tls: Arc<ClientConfig>,
    limits: Limits,
    pool: Mutex<Pool>,
    /// Counts failed attempts to connect, so that those who wait for one learn of its end.
    failures: AtomicU64,
    room: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Pool {
    connections: Vec<Arc<Connection>>,
    opening: bool,
    last_failure: Option<Failure>,
}

/// A failed attempt to connect. Until it is a moment ago, everybody gets the same answer without a new attempt.
#[derive(Debug)]
struct Failure {
    error: TransportError,
    until: tokio::time::Instant,
}

/// A stream of a connection, given back when dropped.
struct Stream(Arc<Connection>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.release();
    }
}

enum Step {
    Go(Stream),
    Open,
    Wait,
}

impl Transport {
    /// Nothing is opened before the first request. `tls` holds roots and, where used, the client certificate.
    #[must_use]
    pub fn new(endpoint: Endpoint, mut tls: ClientConfig, limits: Limits) -> Self {
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self(Arc::new(Inner {
            endpoint,
            tls: Arc::new(tls),
            limits,
            pool: Mutex::default(),
            failures: AtomicU64::new(0),
            room: Arc::new(Notify::new()),
        }))
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Whether somebody else has a clone.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Sends what `request` makes; it is asked again when a request was certainly not taken.
    pub(super) async fn send(
        &self,
        request: impl Fn() -> Result<Request<()>, http::Error>,
        body: &Bytes,
    ) -> Result<Response, TransportError> {
        let inner = &*self.0;
        let mut attempt = 0;
        loop {
            let made = request().map_err(|error| TransportError::Invalid { why: error.to_string() })?;
            handover::waiting();
            let stream =
                timeout(inner.limits.request_timeout, inner.stream()).await.unwrap_or(Err(TransportError::NoRoom))?;
            handover::begins();
            let exchange = stream.0.exchange(made, body.clone());
            match timeout(inner.limits.request_timeout, exchange).await {
                Ok(Ok(answered)) => {
                    return Ok(Response {
                        status: answered.status,
                        headers: answered.headers,
                        body: answered.body,
                        connection: Arc::clone(&stream.0),
                    });
                }
                Ok(Err(TransportError::NotTaken { why, .. })) if attempt < ATTEMPTS => {
                    attempt += 1;
                    tracing::debug!(why, "a push that was not taken is handed over again");
                    // A refused stream says that there were too many; a connection that is closing has been retired.
                    drop(stream);
                    tokio::time::sleep(REFUSED_PAUSE * attempt).await;
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    stream.0.suspect();
                    return Err(TransportError::Timeout);
                }
            }
        }
    }
}

impl Inner {
    async fn stream(&self) -> Result<Stream, TransportError> {
        let failures = self.failures.load(Ordering::Acquire);
        loop {
            match self.step(failures)? {
                Step::Go(stream) => return Ok(stream),
                Step::Open => self.open().await?,
                // A place among the waiters is only made when there is no room, and then looked once more: room that
                // was made in between would not be noticed.
                Step::Wait => {
                    let room = self.room.notified();
                    tokio::pin!(room);
                    room.as_mut().enable();
                    match self.step(failures)? {
                        Step::Go(stream) => return Ok(stream),
                        Step::Open => self.open().await?,
                        Step::Wait => {
                            let _ = timeout(LOOK_AGAIN, room).await;
                        }
                    }
                }
            }
        }
    }

    fn step(&self, failures: u64) -> Result<Step, TransportError> {
        let mut pool = self.lock();
        pool.connections.retain(|connection| !connection.is_retired());
        let ceiling = self.limits.streams;
        if let Some(connection) = pool.connections.iter().find(|connection| connection.take(ceiling)) {
            let stream = Stream(Arc::clone(connection));
            // Passes the word on: one notice may stand for room for many (a raised limit, a new connection).
            if pool.connections.iter().any(|connection| connection.has_room(ceiling)) {
                self.room.notify_one();
            }
            return Ok(Step::Go(stream));
        }
        if let Some(failure) = &pool.last_failure {
            let resting = tokio::time::Instant::now() < failure.until;
            match (pool.connections.is_empty(), resting) {
                (true, _) if self.failures.load(Ordering::Acquire) > failures => return Err(failure.error.clone()),
                (true, true) => return Err(failure.error.clone()),
                (false, true) => return Ok(Step::Wait),
                _ => {}
            }
        }
        // Another connection only when the others have shown that they work: Apple limits new ones by intent.
        let may_open =
            pool.connections.len() < self.limits.connections && pool.connections.iter().all(|c| c.is_proven());
        if may_open && !pool.opening {
            pool.opening = true;
            return Ok(Step::Open);
        }
        Ok(Step::Wait)
    }

    async fn open(&self) -> Result<(), TransportError> {
        /// Also when the opening future is dropped half way.
        struct Opening<'a>(&'a Inner);
        impl Drop for Opening<'_> {
            fn drop(&mut self) {
                self.0.lock().opening = false;
                self.0.room.notify_waiters();
            }
        }
        let _opening = Opening(self);
        let opened = timeout(self.limits.connect_timeout, self.connect())
            .await
            .unwrap_or_else(|_| Err(self.unconnected("no answer in time")));
        let mut pool = self.lock();
        match opened {
            Ok(connection) => {
                pool.connections.push(connection);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "no connection to APNs");
                self.failures.fetch_add(1, Ordering::AcqRel);
                pool.last_failure =
                    Some(Failure { error: error.clone(), until: tokio::time::Instant::now() + CONNECT_PAUSE });
                // Another connection still works: its streams are worth waiting for.
                if pool.connections.is_empty() { Err(error) } else { Ok(()) }
            }
        }
    }

    /// Looks the host up anew for every connection.
    async fn connect(&self) -> Result<Arc<Connection>, TransportError> {
        let Endpoint { host, port, .. } = &self.endpoint;
        let tcp = dial(host, *port).await.map_err(|error| self.unconnected(error))?;
        tcp.set_nodelay(true).map_err(|error| self.unconnected(error))?;
        let name = ServerName::try_from(host.clone()).map_err(|error| self.unconnected(error))?;
        let tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await.map_err(|error| {
            match goaway::certificate_alert(&error) {
                Some(reason) => TransportError::Refused { reason },
                None => self.unconnected(error),
            }
        })?;
        if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(self.unconnected("the server does not speak HTTP/2"));
        }
        let connection =
            Connection::start(tls, Arc::clone(&self.room), self.limits.ping_after).await.map_err(|error| {
                match TransportError::broken(error, false) {
                    refused @ TransportError::Refused { .. } => refused,
                    other => self.unconnected(other),
                }
            })?;
        tracing::info!(endpoint = self.endpoint.authority.as_str(), "connected to APNs");
        Ok(connection)
    }

    fn unconnected(&self, why: impl std::fmt::Display) -> TransportError {
        TransportError::Connect { endpoint: self.endpoint.authority.to_string(), why: why.to_string() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
