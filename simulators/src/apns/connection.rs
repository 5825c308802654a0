//! One client connection: its streams are held to the announced limit, and it can be made to misbehave as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc};

use super::auth::ConnectionIdentity;
use super::frames::{FrameControl, Frames};
use super::{ApnsSimulator, ConnectionCommand, exchange};

/// The streams a connection may open before its first success, and after a refused sender.
const UNPROVEN_STREAMS: u32 = 1;
/// How long a connection may take to end after GOAWAY once everything is answered.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// The same when GOAWAY has left a stream out, which nothing will ever end.
const CLOSE_TIME_LEFT_OUT: Duration = Duration::from_millis(200);

/// What the rest of the simulator knows of a connection.
pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(crate) identity: ConnectionIdentity,
    control: FrameControl,
    /// The limit of a connection that has proven itself.
    max_streams: AtomicU32,
    proven: AtomicBool,
    /// Streams that count against the limit.
    open_streams: AtomicUsize,
    /// Streams whose answer is still to be made.
    unanswered: AtomicUsize,
    going_away: AtomicBool,
    left_out: AtomicBool,
    wake: Notify,
    commands: mpsc::UnboundedSender<ConnectionCommand>,
}

impl Connection {
    pub(crate) fn new(
        number: u64,
        identity: ConnectionIdentity,
        max_streams: u32,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<ConnectionCommand>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let connection = Self {
            number,
            identity,
            control: FrameControl::new(UNPROVEN_STREAMS),
            max_streams: AtomicU32::new(max_streams),
            proven: false.into(),
            open_streams: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            going_away: false.into(),
            left_out: false.into(),
            wake: Notify::new(),
            commands,
        };
        (Arc::new(connection), receiver)
    }

    /// Asks the connection's task to do this.
    pub(crate) fn command(&self, command: ConnectionCommand) {
        // An ended connection has nothing left to do.
        let _ = self.commands.send(command);
    }

    /// The sender was accepted: the full number of streams.
    pub(crate) fn proven(&self) {
        if !self.proven.swap(true, Ordering::AcqRel) {
            self.control.set_stream_limit(self.max_streams.load(Ordering::Acquire));
        }
    }

    /// The sender was refused: one stream, until the next success.
    pub(crate) fn distrusted(&self) {
        if self.proven.swap(false, Ordering::AcqRel) {
            self.control.set_stream_limit(UNPROVEN_STREAMS);
        }
    }

    pub(crate) fn set_max_streams(&self, limit: u32) {
        self.max_streams.store(limit, Ordering::Release);
        if self.proven.load(Ordering::Acquire) || limit < UNPROVEN_STREAMS {
            self.control.set_stream_limit(limit);
        }
        self.wake.notify_one();
    }

    /// Says GOAWAY; `last_stream` when later streams than that are left out.
    pub(crate) fn go_away(&self, reason: &str, last_stream: Option<u32>) {
        let debug_data = serde_json::json!({ "reason": reason }).to_string();
        self.control.go_away(debug_data.as_bytes(), last_stream);
        self.left_out.store(last_stream.is_some(), Ordering::Release);
        self.going_away.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// A stream is about to get its answer, or never gets one: it does not count against the limit any more. The
    /// client may open its next stream as soon as it has the answer, so this comes before.
    pub(crate) fn stream_done(&self) {
        self.open_streams.fetch_sub(1, Ordering::AcqRel);
    }

    fn is_over_limit(&self) -> bool {
        let open = self.open_streams.load(Ordering::Acquire);
        self.control.enforced_limit().is_some_and(|limit| open >= limit as usize)
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve<T>(
    io: T,
    simulator: ApnsSimulator,
    connection: Arc<Connection>,
    mut commands: mpsc::UnboundedReceiver<ConnectionCommand>,
) -> Result<(), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let io = Frames::new(io, connection.control.clone());
    let mut h2 = h2::server::Builder::new()
        .max_header_list_size(16 * 1024)
        .initial_connection_window_size(8 * 1024 * 1024)
        .handshake::<_, Bytes>(io)
        .await?;
    loop {
        if connection.going_away.load(Ordering::Acquire) && connection.unanswered.load(Ordering::Acquire) == 0 {
            h2.graceful_shutdown();
            let patience = if connection.left_out.load(Ordering::Acquire) { CLOSE_TIME_LEFT_OUT } else { CLOSE_TIME };
            let closed = std::future::poll_fn(|cx| h2.poll_closed(cx));
            let _ = tokio::time::timeout(patience, closed).await;
            return Ok(());
        }
        tokio::select! {
            () = connection.wake.notified() => {}
            Some(command) = commands.recv() => match command {
                ConnectionCommand::Cut => return Ok(()),
                ConnectionCommand::StallMs(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                ConnectionCommand::StreamLimit(limit) => connection.set_max_streams(limit),
                ConnectionCommand::Goaway(reason) => connection.go_away(&reason, None),
            },
            stream = h2.accept() => match stream {
                None => return Ok(()),
                Some(Err(error)) => return Err(error),
                Some(Ok((request, respond))) => accept(&simulator, &connection, request, respond),
            },
        }
    }
}

fn accept(
    simulator: &ApnsSimulator,
    connection: &Arc<Connection>,
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) {
    if connection.is_over_limit() || connection.going_away.load(Ordering::Acquire) {
        if !connection.going_away.load(Ordering::Acquire) {
            simulator.0.over_limit.fetch_add(1, Ordering::Relaxed);
        }
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    }
    connection.open_streams.fetch_add(1, Ordering::AcqRel);
    connection.unanswered.fetch_add(1, Ordering::AcqRel);
    let unanswered = Unanswered(connection.clone());
    tokio::spawn(exchange::answer(simulator.clone(), unanswered, request, respond));
}

/// A stream whose answer is still to be made; a connection that is going away waits for it.
pub(crate) struct Unanswered(Arc<Connection>);

impl Unanswered {
    pub(crate) fn connection(&self) -> Arc<Connection> {
        self.0.clone()
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.unanswered.fetch_sub(1, Ordering::AcqRel);
        if self.0.going_away.load(Ordering::Acquire) {
            self.0.wake.notify_one();
        }
    }
}
