//! One logged-in connection: bytes to the engine, the engine's packets to the peer, and the clocks that may end it.
//!
//! The task of an idle connection holds this struct, a timer and nothing else: no read buffer, no write buffer, no queue.

mod clocks;
mod end;
mod output;
mod refresh;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use rmqtt_codec::v5::{Connect, Packet};
use tidings_shared::topic::access::Principal;
use tokio::time::{Instant, Sleep, sleep_until};

use self::clocks::keep_alive_limit;
use self::end::End;
use super::Inner;
use super::aliases::Aliases;
use super::metrics::{By, Transport};
use super::outbox::{Closing, Outbox};
use super::stream::{Stream, farewell, poll_receive};
use super::throttle::{Throttle, Used};
use super::wire::{self, Dialect, Version};
use crate::engine::{ConnId, ConnectRequest, Protocol, TokenFacts};

/// What the greeting knows about a connection.
pub(super) struct Setup {
    pub(super) version: Version,
    pub(super) transport: Transport,
    pub(super) peer: SocketAddr,
    pub(super) principal: Principal,
    pub(super) token: Option<Box<TokenFacts>>,
    pub(super) connect: Box<Connect>,
    /// The client id that we made because the client had none.
    pub(super) assigned: Option<String>,
    /// What the client has sent behind its CONNECT.
    pub(super) rest: BytesMut,
}

/// One logged-in connection.
pub(super) struct Connection<S> {
    gate: Arc<Inner>,
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
    close: Option<Closing>,
    /// Something was written that is not flushed yet.
    writing: bool,
    /// CONNACK is on its way. Before it nothing may be sent (MQTT-3.2.0-1), so nothing is read either.
    answered: bool,
    /// False after DISCONNECT: what follows it is not read (MQTT-3.14.4-1).
    reading: bool,
    dialect: Dialect,
    peer: SocketAddr,
    transport: Transport,
    assigned: Option<Box<str>>,
    /// Topic aliases, when the client allows them.
    aliases: Option<Box<Aliases>>,
    /// The keep-alive in seconds; 0 for none.
    keep_alive_s: u16,
    ends_at_ms: Option<i64>,
    /// CONNECT had an authentication method, so AUTH may follow.
    by_method: bool,
    /// The alias that stands for the topic of fresh tokens; 0: none.
    token_alias: u16,
    /// What it may send, and whether it is held back.
    throttle: Throttle,
    last_packet: Instant,
    stuck_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

/// Something that a connection waits for seldom.
type Waits<'a> = Pin<Box<dyn Future<Output = Result<(), End>> + Send + 'a>>;

/// What the connection's task is woken for.
enum Event {
    Received(usize),
    /// CONNACK is on its way: what came behind CONNECT may be handed over.
    Answered,
    Timer,
    End(End),
}

impl<S: Stream> Connection<S> {
    /// Registers the connection with the engine; gives the stream back when the engine has stopped.
    pub(super) async fn open(
        gate: Arc<Inner>,
        stream: S,
        setup: Setup,
        ends_at_ms: Option<i64>,
    ) -> Result<Box<Self>, S> {
        let Setup { version, transport, peer, principal, token, connect, assigned, rest } = setup;
        let dialect = Dialect {
            version,
            maximum_packet: connect.max_packet_size.map_or(0, std::num::NonZeroU32::get),
            problem_information: connect.request_problem_info,
        };
        let by_method = connect.auth_method.is_some();
        let aliases = Aliases::new(connect.topic_alias_max);
        let ours = keep_alive_limit(gate.limits.keep_alive, connect.keep_alive, version);
        let keep_alive_s = ours.unwrap_or(connect.keep_alive);
        let request = ConnectRequest {
            protocol: if version == Version::V5 { Protocol::V5 } else { Protocol::V3 },
            principal,
            token,
            connect,
            server_keep_alive_s: ours,
        };
        let throttle = Throttle::new(&request.principal, &gate.limits);
        let outbox = Arc::new(Outbox::new(gate.limits.outbox));
        let Ok(conn) = gate.engine.connect(request, outbox.clone()).await else {
            return Err(stream);
        };
        let now = Instant::now();
        Ok(Box::new(Self {
            gate,
            stream,
            conn,
            outbox,
            inbound: rest,
            outbound: BytesMut::new(),
            pending: VecDeque::new(),
            close: None,
            writing: false,
            answered: false,
            reading: true,
            dialect,
            peer,
            transport,
            assigned: assigned.map(String::into_boxed_str),
            aliases,
            keep_alive_s,
            ends_at_ms,
            by_method,
            token_alias: 0,
            throttle,
            last_packet: now,
            stuck_since: None,
            timer: Box::pin(sleep_until(now)),
        }))
    }

    /// Serves the connection to its end.
    pub(super) async fn run(mut self: Box<Self>) {
        let by = By { transport: self.transport };
        self.gate.metrics.connections.get_or_create(&by).inc();
        let end = self.serve().await;
        self.gate.metrics.connections.get_or_create(&by).dec();
        // In memory of its own: the task of an idle connection should not be as large as its goodbye.
        Box::pin(self.finish(end)).await;
    }

    async fn serve(&mut self) -> End {
        loop {
            if self.answered
                && let Err(end) = self.hand_over().await
            {
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
                Event::Answered => {}
                Event::Timer => {
                    if self.throttle.release() {
                        // Its silence was our doing.
                        self.last_packet = Instant::now();
                    }
                    match self.overdue() {
                        // The engine may have kept us from reading what has long arrived.
                        Some(End::KeepAlive) if self.received_meanwhile().await => continue,
                        Some(end) => return end,
                        None => {}
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
        while self.reading && !self.inbound.is_empty() && self.throttle.held_until().is_none() {
            let version = self.dialect.version;
            let frame = wire::next_frame(&mut self.inbound, self.gate.limits.packet, Some(version));
            let Some(frame) = frame.map_err(End::Fault)? else { break };
            self.last_packet = Instant::now();
            self.gate.metrics.packets_received.inc();
            let ping = wire::is_ping(&frame);
            let bytes = frame.size();
            let packet = wire::decode(frame, version).map_err(End::Fault)?;
            // Without a borrow, which would keep room for a packet in the task.
            let counts = matches!(packet, Packet::Publish(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_));
            self.count(counts, bytes);
            if ping {
                self.pending.push_back(Packet::PingResponse);
                continue;
            }
            if let Some(waits) = self.pass_on(packet) {
                waits.await?;
            }
        }
        Ok(())
    }

    /// Counts a packet; when it was one too many, the next waits.
    fn count(&mut self, counts: bool, bytes: usize) {
        let used = Used { messages: counts.into(), bytes: bytes as u64 };
        if let Some(limit) = self.throttle.count(used, &self.gate.limits, &self.gate.throttles) {
            self.gate.metrics.hold(limit);
            let next = self.next_deadline();
            self.timer.as_mut().reset(next);
        }
    }

    /// Gives a packet to whom it is for; with a future when that takes a while, in memory of its own, because most connections
    /// wait for other things.
    fn pass_on(&mut self, packet: Packet) -> Option<Waits<'_>> {
        match packet {
            Packet::Auth(auth) => Some(Box::pin(self.reauthenticate(auth))),
            Packet::Publish(publish) if self.brings_token(&publish) => Some(Box::pin(self.token_published(publish))),
            packet => {
                self.reading = !matches!(packet, Packet::Disconnect(_));
                let packet = self.gate.engine.try_send(self.conn, packet).err()?;
                let busy = self.gate.engine.send(self.conn, packet);
                Some(Box::pin(async move { busy.await.map_err(|_| End::Stopped) }))
            }
        }
    }

    /// Reads without waiting; whether there was anything.
    async fn received_meanwhile(&mut self) -> bool {
        let read = poll_fn(|cx| Poll::Ready(poll_receive(&mut self.stream, &mut self.inbound, cx))).await;
        matches!(read, Poll::Ready(Ok(1..)))
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        // First, so that a peer that keeps us busy does not outlive its token.
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Event::Timer);
        }
        let waits = !self.answered;
        if let Poll::Ready(end) = self.poll_output(cx) {
            return Poll::Ready(Event::End(end));
        }
        if waits {
            return if self.answered { Poll::Ready(Event::Answered) } else { Poll::Pending };
        }
        if self.listening() {
            match poll_receive(&mut self.stream, &mut self.inbound, cx) {
                Poll::Ready(Ok(bytes)) => return Poll::Ready(Event::Received(bytes)),
                Poll::Ready(Err(_)) => return Poll::Ready(Event::End(End::Gone)),
                Poll::Pending => self.throttle.pause(),
            }
        }
        Poll::Pending
    }

    async fn finish(self: Box<Self>, end: End) {
        let this = *self;
        let code = end.code();
        this.gate.metrics.close(code);
        tracing::debug!(peer = %this.peer, conn = this.conn.0, code, "connection ended");
        this.outbox.abandon();
        // A DISCONNECT went through the engine, which knows by itself whether a will is due.
        this.gate.engine.closed(this.conn, false).await;
        let mut words = this.outbound;
        if let Some(disconnect) = end.disconnect()
            && this.dialect.version == Version::V5
        {
            wire::encode(Packet::Disconnect(disconnect), this.dialect, &mut words);
        }
        if !matches!(end, End::Gone | End::Stuck) {
            farewell(this.stream, words).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    fn size_of_task<T, F>(_: fn(T) -> F) -> usize {
        size_of::<F>()
    }

    /// The promise is about memory per idle connection: the task is the connection and little else.
    #[test]
    fn the_task_of_a_connection_is_small() {
        let connection = size_of::<Connection<TcpStream>>();
        let task = size_of_task(Connection::<TcpStream>::run);
        assert!(connection <= 320, "{connection}");
        assert!(task <= 256, "{task}");
    }
}
