//! One HTTP/2 connection to Apple: how many streams it may carry now, and whether it is still worth using.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use http::{HeaderMap, Request, StatusCode};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::fault::TransportError;

/// More of an answer than this is not read: to a push it is well below a kilobyte, but a list of 10,000 channels is not.
const MAX_ANSWER: usize = 1024 * 1024;
/// A connection that does not answer a PING within this time is gone.
const PONG_TIMEOUT: Duration = Duration::from_secs(5);

/// An open connection. Dropping the last handle closes it gracefully.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    in_flight: AtomicUsize,
    /// The peer's limit of streams when it was looked at last: asking `h2` each time would take its lock each time. `h2`
    /// itself never opens more than the peer allows.
    announced: AtomicUsize,
    /// A push was accepted on it: until then Apple takes one stream only.
    proven: AtomicBool,
    /// No new streams: it is closing, or Apple said that it is done with it.
    retired: AtomicBool,
    suspected: Arc<Notify>,
    /// Tells the transport's waiters that there may be room.
    room: Arc<Notify>,
}

/// Status, headers and the (bounded) body of an answer, with the connection that it came on.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Connection {
    /// Takes an established TLS stream, makes it an HTTP/2 connection and drives it until it ends.
    pub(super) async fn start<S>(stream: S, room: Arc<Notify>, ping_after: Duration) -> Result<Arc<Self>, h2::Error>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, mut connection) = h2::client::Builder::new()
            .initial_max_send_streams(1)
            .enable_push(false)
            .handshake::<_, Bytes>(stream)
            .await?;
        let ping_pong = connection.ping_pong();
        let suspected = Arc::new(Notify::new());
        let opened = Arc::new(Self {
            announced: AtomicUsize::new(sender.current_max_send_streams()),
            sender,
            in_flight: AtomicUsize::new(0),
            proven: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            suspected: Arc::clone(&suspected),
            room,
        });
        let weak = Arc::downgrade(&opened);
        tokio::spawn(drive(connection, ping_pong, suspected, ping_after, weak));
        Ok(opened)
    }

    /// Takes a stream if the peer's present limit allows one more. Give it back with [`Connection::release`].
    pub(super) fn take(&self, ceiling: usize) -> bool {
        let take = || {
            let limit = self.limit().min(ceiling);
            self.in_flight
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |streams| (streams < limit).then(|| streams + 1))
                .is_ok()
        };
        // Full, perhaps because the limit has been raised since it was looked at.
        take() || (self.look() && take())
    }

    /// Looks at the peer's limit; whether it has changed.
    fn look(&self) -> bool {
        let announced = self.sender.current_max_send_streams();
        self.announced.swap(announced, Ordering::AcqRel) != announced
    }

    pub(super) fn release(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.room.notify_one();
    }

    pub(super) fn has_room(&self, ceiling: usize) -> bool {
        self.in_flight.load(Ordering::Acquire) < self.limit().min(ceiling)
    }

    fn limit(&self) -> usize {
        let announced = self.announced.load(Ordering::Acquire);
        if self.proven.load(Ordering::Acquire) { announced } else { announced.min(1) }
    }

    /// The first success: from here on the peer's announced limit counts.
    pub(super) fn proven(&self) {
        if !self.proven.swap(true, Ordering::AcqRel) {
            self.room.notify_one();
        }
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Acquire)
    }

    /// Opens no further streams; those in flight end as they will.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.room.notify_one();
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Something took too long: asks the peer whether it is still there, and ends the connection if not.
    pub(super) fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// One request and its answer. The caller has a stream ([`Connection::take`]).
    pub(super) async fn exchange(&self, request: Request<()>, body: Bytes) -> Result<Answered, TransportError> {
        let mut sender = self.sender.clone();
        let (response, mut stream) = sender.send_request(request, false).map_err(|error| self.broken(error, false))?;
        stream.send_data(body, true).map_err(|error| self.broken(error, true))?;
        let (head, mut incoming) = response.await.map_err(|error| self.broken(error, true))?.into_parts();
        // A lower limit comes before the answers behind it.
        self.look();
        let mut body = Vec::new();
        while let Some(chunk) = incoming.data().await {
            // The status is known, and it alone decides when the body is cut short.
            let Ok(chunk) = chunk else { break };
            // Fails only when the stream is gone, which the next read says.
            let _ = incoming.flow_control().release_capacity(chunk.len());
            if body.len() + chunk.len() > MAX_ANSWER {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answered { status: head.status, headers: head.headers, body })
    }

    /// `handed_over`: the request may have left before the connection broke.
    fn broken(&self, error: h2::Error, handed_over: bool) -> TransportError {
        let stream_only = error.is_reset();
        if !stream_only {
            self.retire();
        }
        TransportError::broken(error, handed_over)
    }
}

async fn drive<S>(
    connection: h2::client::Connection<S, Bytes>,
    ping_pong: Option<PingPong>,
    suspected: Arc<Notify>,
    ping_after: Duration,
    handle: Weak<Connection>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let why = tokio::select! {
        result = connection => match result {
            Ok(()) => "closed".to_owned(),
            Err(error) => error.to_string(),
        },
        why = watch(ping_pong, suspected, ping_after) => why,
    };
    if let Some(connection) = handle.upgrade() {
        tracing::info!(why, streams = connection.in_flight.load(Ordering::Acquire), "a connection to APNs ended");
        connection.retire();
    }
}

/// Sends a PING when the connection has been open for a while or is under suspicion; ends when none comes back.
async fn watch(ping_pong: Option<PingPong>, suspected: Arc<Notify>, ping_after: Duration) -> String {
    let Some(mut ping_pong) = ping_pong else {
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            () = tokio::time::sleep(ping_after) => {}
            () = suspected.notified() => {}
        }
        match timeout(PONG_TIMEOUT, ping_pong.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "no answer to a PING".to_owned(),
        }
    }
}
