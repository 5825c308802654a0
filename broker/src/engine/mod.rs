//! The MQTT engine: sessions, subscriptions, delivery, wake-up. One state machine, driven from outside.
//!
//! # Architecture invariants
//! - No sockets, no wall clock, no threads, no `async`, no randomness of its own: what it does is a function of its
//!   seed, its log and its inputs, so a simulated run replays.
//! - Nothing is acknowledged before the log has said that it is stored.
//! - A message reaches a subscription only through `Options::permits`, on every path: live, from the log, retained.
//! - Reading from the log is an output like everything else: the engine never touches the disk after its start.
//!
//! A message comes in through `publish`, is stored through the log, comes back in `appended`, and goes out in
//! `deliver`. Who does not keep up is served from the log in `catch_up`.

mod access;
mod acks;
mod appended;
mod catch_up;
mod connect;
mod deliver;
mod group;
mod group_health;
mod hash;
mod inbound;
mod inflight;
mod inspect;
mod io;
mod packet;
mod presence;
mod publish;
mod reasons;
mod records;
mod recovery;
mod refresh;
mod restore;
mod retained;
mod revocations;
mod session;
mod sessions;
mod settings;
mod shared_group;
mod stored;
mod subscribe;
mod subscriptions;
mod timers;
mod wake;
mod will;

#[cfg(test)]
mod tests;

use rmqtt_codec::v5::{DisconnectReasonCode, Packet};
use tidings_shared::cursor::Cursor;

pub use inspect::{ConnectionInfo, SessionInfo, SubscriptionInfo, Whose};
pub use io::{
    ClientPresence, ConnId, ConnectRequest, Input, Output, Presence, Protocol, PublishError, PublishRequest, Published,
    ReadBatch, ReadPlan, Ticket,
};
pub use refresh::{Fresh, METHOD, NotRefreshed, RefreshBy, UNSUBSCRIBED};
pub use restore::read;
pub use revocations::{Change, Revocation, RevocationList, Target, TokenFacts};
pub use settings::{Settings, Stats};

use crate::log::Offset;
use access::World;
use appended::Appends;
use catch_up::Reader;
use group::{GroupId, Groups};
use hash::{Map, Random, Seeded};
use presence::Seen;
use records::AfterPut;
use retained::Retained;
use session::{Online, SessionId};
use sessions::Sessions;
use subscriptions::{Entry, Index};
use timers::Timers;
use wake::Wake;
use will::Fate;

/// The engine. See the module.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    random: Random,
    epoch: u64,
    /// The last message that was delivered from memory.
    head: Offset,
    now: i64,
    out: Vec<Output>,
    sessions: Sessions,
    conns: Map<ConnId, SessionId>,
    /// Clients whose CONNECT waits for what the log knows about their cursor.
    arriving: Map<ConnId, Box<ConnectRequest>>,
    index: Index,
    groups: Groups,
    retained: Retained,
    revocations: RevocationList,
    world: World,
    wake: Wake,
    seen: Seen,
    timers: Timers,
    appends: Appends,
    puts: Map<Ticket, AfterPut>,
    reads: Map<Ticket, Reader>,
    next_ticket: u64,
    /// SUBSCRIBE packets so far.
    subscribes: u32,
    /// Sessions with packets that wait for their cursor to be stored.
    deferred: Vec<SessionId>,
    dirty: Vec<SessionId>,
    dirty_groups: Vec<GroupId>,
    flush_at: Option<i64>,
    horizon_written: Offset,
    stopping: bool,
    stopped: bool,
    unreadable: usize,
    stats: Stats,
    /// Kept between publishes so that its memory is used again.
    hits: Vec<Entry>,
}

impl Engine {
    /// An engine without a past. [`Engine::restore`] is for the start of a broker.
    #[must_use]
    pub fn new(settings: Settings, seed: u64, epoch: u64, head: Offset, now_ms: i64) -> Self {
        let mut random = Random::new(seed);
        let seeded = Seeded(random.next());
        Self {
            world: World::new(seeded, &settings.commands),
            settings,
            random,
            epoch,
            head,
            now: now_ms,
            out: Vec::new(),
            sessions: Sessions::new(seeded),
            conns: Map::with_hasher(seeded),
            arriving: Map::with_hasher(seeded),
            index: Index::new(seeded),
            groups: Groups::new(seeded),
            retained: Retained::default(),
            revocations: RevocationList::default(),
            wake: Wake::new(seeded),
            seen: Seen::new(seeded),
            timers: Timers::default(),
            appends: Appends::default(),
            puts: Map::with_hasher(seeded),
            reads: Map::with_hasher(seeded),
            next_ticket: 0,
            subscribes: 0,
            deferred: Vec::new(),
            dirty: Vec::new(),
            dirty_groups: Vec::new(),
            flush_at: None,
            horizon_written: Offset::START,
            stopping: false,
            stopped: false,
            unreadable: 0,
            stats: Stats::default(),
            hits: Vec::new(),
        }
    }

    /// Handles one input at a time (ms since 1970; a step back is taken for no step). What is to be done is added
    /// to `out`.
    pub fn handle(&mut self, now_ms: i64, input: Input, out: &mut Vec<Output>) {
        self.now = self.now.max(now_ms);
        match input {
            Input::Connect { conn, request } => self.arrive(conn, request),
            Input::Packet { conn, packet } => self.packet(conn, packet),
            Input::Closed { conn, graceful } => {
                self.arriving.remove(&conn);
                if let Some(&id) = self.conns.get(&conn) {
                    let fate = if graceful { Fate::Discarded } else { Fate::Due };
                    self.detach(id, fate, DisconnectReasonCode::NormalDisconnection);
                }
            }
            Input::Kick { conn, reason } => self.close(conn, reason),
            Input::Refresh { request, conn, by, fresh } => self.refresh(request, conn, by, fresh),
            Input::Revoke { request, change } => self.revoke(request, change),
            Input::Appended { ticket, result } => self.appended(ticket, result),
            Input::Put { ticket, result } => self.put_done(ticket, &result),
            Input::Read { ticket, result } => self.read_done(ticket, result),
            Input::Publish { request, publish } => self.publish_http(request, *publish),
            Input::Polled { user, client, cursor } => self.polled(&user, &client, cursor),
            Input::Presence { request, user } => {
                let presence = self.presence(&user);
                self.out.push(Output::Presence { request, presence });
            }
            Input::Tick => {}
            Input::Stop => self.stop(),
        }
        self.run_timers();
        self.store_deferred();
        if self.stopping && !self.stopped && self.appends.is_empty() && self.puts.is_empty() {
            self.stopped = true;
            self.out.push(Output::Stopped);
        }
        out.append(&mut self.out);
    }

    /// Whether this connection is there (it has its CONNACK and was not closed).
    #[must_use]
    pub fn is_connected(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    /// What has been counted, and what is held now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            connections: self.conns.len() as u64,
            sessions: self.sessions.len() as u64,
            retained: self.retained.len() as u64,
            ..self.stats
        }
    }

    fn packet(&mut self, conn: ConnId, packet: Packet) {
        // Packets that were under way when the engine closed the connection.
        let Some(&id) = self.conns.get(&conn) else { return };
        match packet {
            Packet::Publish(publish) => self.publish(id, conn, *publish),
            Packet::PublishAck(ack) => self.acked(id, ack.packet_id),
            Packet::PublishReceived(ack) => self.pubrec_received(id, &ack),
            Packet::PublishRelease(ack) => self.release(id, ack.packet_id.get()),
            Packet::PublishComplete(ack) => self.completed(id, ack.packet_id),
            Packet::Subscribe(subscribe) => self.subscribe(id, conn, &subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(id, conn, &unsubscribe),
            Packet::PingRequest => self.send(conn, Packet::PingResponse),
            Packet::Disconnect(disconnect) => self.disconnect(id, conn, &disconnect),
            // A second CONNECT, and packets that only servers send (MQTT 5, 3.1.0-2). AUTH is the gate's.
            Packet::Connect(_)
            | Packet::ConnectAck(_)
            | Packet::SubscribeAck(_)
            | Packet::UnsubscribeAck(_)
            | Packet::PingResponse
            | Packet::Auth(_) => self.close(conn, DisconnectReasonCode::ProtocolError),
        }
    }

    fn stop(&mut self) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        for id in self.sessions.ids() {
            if let Some(conn) = self.sessions.get(id).and_then(session::Session::conn) {
                self.close_with(id, conn, DisconnectReasonCode::ServerShuttingDown, Fate::Kept);
            }
        }
        for id in self.groups.ids() {
            self.mark_group_dirty(id);
        }
        self.flush(Some(AfterPut::Stop));
    }

    fn send(&mut self, conn: ConnId, packet: Packet) {
        self.out.push(Output::Send { conn, packet });
    }

    fn online(&mut self, conn: ConnId) -> Option<&mut Online> {
        let id = *self.conns.get(&conn)?;
        self.sessions.get_mut(id)?.online.as_deref_mut()
    }

    fn cursor(&self, offset: Offset) -> Cursor {
        Cursor { epoch: self.epoch, offset: offset.0 }
    }

    fn new_ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }
}
