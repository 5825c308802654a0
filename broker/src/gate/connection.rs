//! One logged-in connection: bytes to the engine, the engine's packets to the peer, and the clocks that may end it.
//!
//! The task of an idle connection holds this struct, a timer and nothing else: no read buffer, no write buffer, no queue.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use rmqtt_codec::v5::{Connect, ConnectAckReason, Disconnect, DisconnectReasonCode, Packet};
use tidings_shared::topic::access::Principal;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Gate;
use super::metrics::{By, Transport};
use super::outbox::Outbox;
use super::stream::{Stream, farewell, poll_receive, poll_send, recycle, take_buffer};
use super::wire::{self, Dialect, Encoded, Fault, Version};
use crate::engine::{ConnId, ConnectRequest, Protocol};

/// Packets are encoded into one write up to about this many bytes.
const BATCH: usize = 64 * 1024;
/// How long a timer sleeps at most: the wall clock may step under a token's expiry.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What the greeting knows about a connection.
pub(super) struct Setup {
    pub(super) version: Version,
    pub(super) transport: Transport,
    pub(super) peer: SocketAddr,
    pub(super) principal: Principal,
    pub(super) connect: Box<Connect>,
    /// The client id that we made because the client had none.
    pub(super) assigned: Option<String>,
    /// What the client has sent behind its CONNECT.
    pub(super) rest: BytesMut,
}

/// One logged-in connection.
pub(super) struct Connection<S> {
    gate: Gate,
    stream: S,
    conn: ConnId,
    outbox: Arc<Outbox>,
    /// Bytes of a packet that has not arrived in full.
    inbound: BytesMut,
    /// Bytes that the socket has not taken yet.
    outbound: BytesMut,
    /// Packets that are not encoded yet.
    pending: VecDeque<Packet>,
    /// The engine ends the connection after `pending`.
    close: Option<DisconnectReasonCode>,
    /// Something was written that is not flushed yet.
    writing: bool,
    /// False after DISCONNECT: what follows it is not read (MQTT-3.14.4-1).
    reading: bool,
    dialect: Dialect,
    peer: SocketAddr,
    transport: Transport,
    assigned: Option<Box<str>>,
    /// One and a half times the keep-alive; `None` for none.
    patience: Option<Duration>,
    expires_at_ms: Option<i64>,
    last_packet: Instant,
    stuck_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

/// Why a connection ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The peer closed, or the stream failed.
    Gone,
    /// The engine said so, and has told the client.
    Engine(DisconnectReasonCode),
    /// The client broke the protocol.
    Fault(Fault),
    /// Nothing came for one and a half times the keep-alive.
    KeepAlive,
    /// The token has expired.
    Expired,
    /// The client does not take what we send.
    Stuck,
    /// The engine has stopped.
    Stopped,
}

/// What the connection's task is woken for.
enum Event {
    Received(usize),
    Timer,
    End(End),
}

impl<S: Stream> Connection<S> {
    /// Registers the connection with the engine; `None` when the engine has stopped.
    pub(super) async fn open(gate: Gate, stream: S, setup: Setup, expires_at_ms: Option<i64>) -> Option<Self> {
        let Setup { version, transport, peer, principal, connect, assigned, rest } = setup;
        let dialect = Dialect {
            version,
            maximum_packet: connect.max_packet_size.map_or(0, std::num::NonZeroU32::get),
            problem_information: connect.request_problem_info,
        };
        let ours = keep_alive_limit(gate.limits.keep_alive, connect.keep_alive, version);
        let keep_alive = Duration::from_secs(ours.unwrap_or(connect.keep_alive).into());
        let request = ConnectRequest {
            protocol: if version == Version::V5 { Protocol::V5 } else { Protocol::V3 },
            principal,
            connect,
            server_keep_alive_s: ours,
        };
        let outbox = Arc::new(Outbox::new(gate.limits.outbox));
        let conn = gate.engine.connect(request, outbox.clone()).await.ok()?;
        let now = Instant::now();
        Some(Self {
            gate,
            stream,
            conn,
            outbox,
            inbound: rest,
            outbound: BytesMut::new(),
            pending: VecDeque::new(),
            close: None,
            writing: false,
            reading: true,
            dialect,
            peer,
            transport,
            assigned: assigned.map(String::into_boxed_str),
            patience: (!keep_alive.is_zero()).then(|| keep_alive * 3 / 2),
            expires_at_ms,
            last_packet: now,
            stuck_since: None,
            timer: Box::pin(sleep_until(now)),
        })
    }

    /// Serves the connection to its end.
    pub(super) async fn run(mut self) {
        let by = By { transport: self.transport };
        self.gate.metrics.connections.get_or_create(&by).inc();
        let end = self.serve().await;
        self.gate.metrics.connections.get_or_create(&by).dec();
        self.finish(end).await;
    }

    async fn serve(&mut self) -> End {
        loop {
            if let Err(end) = self.hand_over().await {
                return end;
            }
            match poll_fn(|cx| self.poll_event(cx)).await {
                Event::Received(0) => return End::Gone,
                Event::Received(bytes) => {
                    self.gate.metrics.bytes_received.inc_by(bytes as u64);
                    // A large packet on a slow link is a sign of life before it is whole.
                    if bytes >= 1024 {
                        self.last_packet = Instant::now();
                    }
                }
                Event::Timer => {
                    if let Some(end) = self.overdue() {
                        return end;
                    }
                    let next = self.next_deadline();
                    self.timer.as_mut().reset(next);
                }
                Event::End(end) => return end,
            }
        }
    }

    /// Gives every whole packet to the engine. Waits while the engine has more than it can do: nothing is read
    /// meanwhile, which slows the peer down.
    async fn hand_over(&mut self) -> Result<(), End> {
        while self.reading && !self.inbound.is_empty() {
            let version = self.dialect.version;
            let frame = wire::next_frame(&mut self.inbound, self.gate.limits.packet, Some(version));
            let Some(frame) = frame.map_err(End::Fault)? else { break };
            self.last_packet = Instant::now();
            self.gate.metrics.packets_received.inc();
            let ping = wire::is_ping(&frame);
            let packet = wire::decode(frame, version).map_err(End::Fault)?;
            if ping {
                self.pending.push_back(Packet::PingResponse);
                continue;
            }
            if matches!(packet, Packet::Auth(_)) {
                return Err(End::Fault(Fault::protocol("AUTH without an authentication method in CONNECT")));
            }
            self.reading = !matches!(packet, Packet::Disconnect(_));
            self.gate.engine.packet(self.conn, packet).await.map_err(|_| End::Stopped)?;
        }
        Ok(())
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(end) = self.poll_output(cx) {
            return Poll::Ready(Event::End(end));
        }
        // A peer that does not read is not read from either: what it asks for would only pile up.
        if self.reading && !self.writing {
            match poll_receive(&mut self.stream, &mut self.inbound, cx) {
                Poll::Ready(Ok(bytes)) => return Poll::Ready(Event::Received(bytes)),
                Poll::Ready(Err(_)) => return Poll::Ready(Event::End(End::Gone)),
                Poll::Pending => {}
            }
        }
        self.timer.as_mut().poll(cx).map(|()| Event::Timer)
    }

    /// Writes until the socket is full or there is nothing left; ready only when the connection is over.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if self.writing {
                let before = self.outbound.len();
                let sent = poll_send(&mut self.stream, &mut self.outbound, cx);
                self.gate.metrics.bytes_sent.inc_by((before - self.outbound.len()) as u64);
                match sent {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(End::Gone),
                    Poll::Pending => {
                        if self.outbound.len() < before || self.stuck_since.is_none() {
                            self.note_stuck();
                        }
                        return Poll::Pending;
                    }
                }
                self.writing = false;
                self.stuck_since = None;
                recycle(std::mem::take(&mut self.outbound));
            }
            if self.pending.is_empty() {
                if let Some(reason) = self.close {
                    return Poll::Ready(End::Engine(reason));
                }
                match self.outbox.poll_take(cx) {
                    Poll::Ready(taken) => {
                        self.pending = taken.packets;
                        self.close = taken.close;
                    }
                    Poll::Pending => {
                        // An emptied queue keeps its memory; an idle connection should not.
                        self.pending = VecDeque::new();
                        return Poll::Pending;
                    }
                }
            }
            self.encode_pending();
        }
    }

    /// Encodes waiting packets into one write.
    fn encode_pending(&mut self) {
        let mut out = take_buffer();
        while out.len() < BATCH {
            let Some(mut packet) = self.pending.pop_front() else { break };
            if let Packet::ConnectAck(ack) = &mut packet
                && ack.reason_code == ConnectAckReason::Success
            {
                ack.assigned_client_id = self.assigned.take().map(|id| String::from(id).into());
            }
            if wire::encode(packet, self.dialect, &mut out) == Encoded::Close {
                self.pending.clear();
                self.close.get_or_insert(DisconnectReasonCode::NotAuthorized);
                break;
            }
        }
        self.outbound = out;
        self.writing = !self.outbound.is_empty();
    }

    /// The socket is full: from now on the peer has the write deadline to take something.
    fn note_stuck(&mut self) {
        let now = Instant::now();
        self.stuck_since = Some(now);
        let deadline = now + self.gate.limits.write_deadline;
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
    }

    /// What has run out of time, if anything.
    fn overdue(&self) -> Option<End> {
        let now = Instant::now();
        if self.expires_at_ms.is_some_and(|at| at <= self.gate.clock.now_ms()) {
            return Some(End::Expired);
        }
        if self.stuck_since.is_some_and(|since| since + self.gate.limits.write_deadline <= now) {
            return Some(End::Stuck);
        }
        // While a stuck peer is not read from, its silence says nothing.
        let listening = self.reading && !self.writing;
        if listening && self.patience.is_some_and(|patience| self.last_packet + patience <= now) {
            return Some(End::KeepAlive);
        }
        None
    }

    fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        let longest = if self.expires_at_ms.is_some() { LONGEST_SLEEP } else { 60 * LONGEST_SLEEP };
        let expiry = self.expires_at_ms.map(|at| {
            let left = at.saturating_sub(self.gate.clock.now_ms());
            now + Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(longest)
        });
        let stuck = self.stuck_since.map(|since| since + self.gate.limits.write_deadline);
        let keep_alive = self.patience.map(|patience| (self.last_packet + patience).max(now + RECHECK));
        [expiry, stuck, keep_alive].into_iter().flatten().min().unwrap_or(now + longest)
    }

    async fn finish(self, end: End) {
        let code = end.code();
        self.gate.metrics.close(code);
        tracing::debug!(peer = %self.peer, conn = self.conn.0, code, "connection ended");
        if !matches!(end, End::Engine(_)) {
            self.gate.engine.closed(self.conn, false);
        }
        self.outbox.abandon();
        let mut words = self.outbound;
        if let Some(disconnect) = end.disconnect()
            && self.dialect.version == Version::V5
        {
            wire::encode(Packet::Disconnect(disconnect), self.dialect, &mut words);
        }
        if !matches!(end, End::Gone | End::Stuck) {
            farewell(self.stream, words).await;
        }
    }
}

/// How soon a keep-alive that is overdue, but cannot be judged yet, is looked at again.
const RECHECK: Duration = Duration::from_millis(100);

/// The keep-alive in seconds that we impose, when it differs from what the client asked for (MQTT 5 §3.2.2.3.14).
fn keep_alive_limit(limit: Option<Duration>, asked: u16, version: Version) -> Option<u16> {
    let limit = u16::try_from(limit?.as_secs()).unwrap_or(u16::MAX);
    (version == Version::V5 && (asked == 0 || asked > limit)).then_some(limit)
}

impl End {
    /// The documented code for logs and metrics.
    fn code(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Engine(DisconnectReasonCode::NormalDisconnection) => "disconnect",
            Self::Engine(DisconnectReasonCode::DisconnectWithWillMessage) => "disconnect_with_will",
            Self::Engine(DisconnectReasonCode::SessionTakenOver) => "session_taken_over",
            Self::Engine(DisconnectReasonCode::ServerShuttingDown) => "server_shutting_down",
            Self::Engine(DisconnectReasonCode::NotAuthorized) => "not_authorized",
            Self::Engine(DisconnectReasonCode::ProtocolError) => "protocol_error",
            Self::Engine(DisconnectReasonCode::ReceiveMaximumExceeded) => "receive_maximum_exceeded",
            Self::Engine(DisconnectReasonCode::QuotaExceeded) => "quota_exceeded",
            Self::Engine(_) => "ended_by_server",
            Self::Fault(fault) => fault.name(),
            Self::KeepAlive => "keep_alive_timeout",
            Self::Expired => "token_expired",
            Self::Stuck => "write_deadline",
            Self::Stopped => "server_shutting_down",
        }
    }

    /// What an MQTT 5 client is told.
    fn disconnect(&self) -> Option<Disconnect> {
        let (reason, why) = match self {
            Self::Gone | Self::Stuck | Self::Engine(_) => return None,
            Self::Fault(fault) => (fault.disconnect_reason(), fault.what),
            Self::KeepAlive => {
                (DisconnectReasonCode::KeepAliveTimeout, "nothing came for one and a half times the keep alive")
            }
            Self::Expired => (DisconnectReasonCode::NotAuthorized, "the token has expired"),
            Self::Stopped => (DisconnectReasonCode::ServerShuttingDown, "the server is stopping"),
        };
        Some(Disconnect { reason_string: Some(why.into()), ..Disconnect::new(reason) })
    }
}
