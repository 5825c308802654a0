//! The engine's vocabulary: everything that goes in and everything that comes out. Packets are MQTT 5's; the gate
//! translates MQTT 3.1.1 to them and back.

use std::sync::Arc;

use bytes::Bytes;
use rmqtt_codec::v5::{Connect, DisconnectReasonCode, Packet};
use tidings_shared::cursor::Cursor;
use tidings_shared::identity::UserId;
use tidings_shared::message_id::MessageId;
use tidings_shared::topic::access::Principal;

use super::refresh::{Fresh, NotRefreshed, RefreshBy};
use super::revocations::{Change, TokenFacts};
use crate::log::{Appended, Key, LogError, Message, MessageProperties, Offset, RecordKey, Stored};

/// One network connection, for its whole life; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// The protocol that a connection speaks on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 3.1.1: no reason codes, so a refused publish closes the connection; no properties are sent.
    V3,
    /// MQTT 5.
    V5,
}

/// Names one request of the engine to the log, so that the answer finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// An authenticated client's CONNECT. For MQTT 3.1.1 the gate sets `session_expiry_interval_secs` to
/// `u32::MAX` when clean session is 0, and to 0 when it is 1.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// The protocol on the wire.
    pub protocol: Protocol,
    /// Who it is.
    pub principal: Principal,
    /// What revocations look at; `None` for handlers, and for tokens that have neither `jti` nor `iat`.
    pub token: Option<Box<TokenFacts>>,
    /// What it asks for.
    pub connect: Box<Connect>,
    /// The keep-alive that the gate enforces when it is another than the client asked for (told in CONNACK).
    pub server_keep_alive_s: Option<u16>,
}

/// A publish through the HTTP door.
#[derive(Clone, Debug)]
pub struct PublishRequest {
    /// Who publishes.
    pub principal: Principal,
    /// What the device calls itself there; may be empty. Ignored for a handler.
    pub client: String,
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// 0, 1 or 2; 0 is delivered live only and never stored.
    pub qos: u8,
    /// Whether it is to be retained.
    pub retain: bool,
    /// The publisher's own id for it: a repeated publish is stored once. For a device, the caller has made it one that
    /// no other user can choose.
    pub message_id: Option<MessageId>,
    /// Message expiry interval, seconds.
    pub expiry_s: Option<u32>,
    /// What travels along.
    pub properties: MessageProperties,
}

/// A publish was taken (and is durable, unless its QoS is 0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The message's name.
    pub message_id: MessageId,
    /// Its place in the log; `None` for QoS 0.
    pub cursor: Option<Cursor>,
    /// It had been published before under this id: nothing was stored or delivered this time.
    pub duplicate: bool,
}

/// Why a publish was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The topic rules forbid it (MQTT 0x87, HTTP 403).
    #[error("publishing on this topic is not allowed: {0}")]
    NotAuthorized(tidings_shared::topic::access::Rule),
    /// The topic is no topic name (MQTT 0x90, HTTP 400).
    #[error("this is not a valid topic name")]
    TopicInvalid,
    /// There is no room for it now (MQTT 0x97, HTTP 507 or 503).
    #[error("the broker cannot store more messages at the moment")]
    QuotaExceeded,
    /// It could not be stored (MQTT 0x80, HTTP 503).
    #[error("the message could not be stored")]
    NotStored,
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopped,
}

/// Whether a user is there, as far as connections tell. A connection whose phone has lost its network counts until its
/// keep-alive is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Whether a device of the user is connected over MQTT.
    pub online: bool,
    /// When a device of the user was seen last, ms since 1970: when its connection ended, or (to the minute) when it
    /// asked over HTTP. `None`: one is connected now, or none was seen for as long as messages are kept.
    pub last_seen_ms: Option<i64>,
    /// The user's sessions, in the order of their client ids.
    pub sessions: Vec<ClientPresence>,
}

/// One session of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPresence {
    /// The MQTT client id.
    pub client: String,
    /// Since when it is connected, ms since 1970; `None` when it is not.
    pub connected_since_ms: Option<i64>,
    /// When it was connected last, ms since 1970; `None` while it is (or when its session never expires).
    pub last_seen_ms: Option<i64>,
}

/// What happens to the engine.
#[derive(Debug)]
pub enum Input {
    /// A client has authenticated; the engine answers with CONNACK (and `Close` when it refuses).
    Connect {
        /// The new connection.
        conn: ConnId,
        /// What it asks for.
        request: ConnectRequest,
    },
    /// A packet of an accepted connection, other than CONNECT and AUTH.
    Packet {
        /// Whose.
        conn: ConnId,
        /// Which.
        packet: Packet,
    },
    /// The network connection is gone. `graceful` says that the client had said DISCONNECT (0x00), so no will is due;
    /// the engine knows by itself when it has seen that packet.
    Closed {
        /// Which.
        conn: ConnId,
        /// Whether no will is due.
        graceful: bool,
    },
    /// End this connection from the broker's side (token expired, revoked, administrative action).
    Kick {
        /// Which.
        conn: ConnId,
        /// Told to an MQTT 5 client.
        reason: DisconnectReasonCode,
    },
    /// A client has brought a fresh token, or something that the gate did not take for one; answered by
    /// [`Output::Refreshed`].
    Refresh {
        /// Chosen by the caller.
        request: u64,
        /// Which.
        conn: ConnId,
        /// How.
        by: RefreshBy,
        /// What the token says, or why it was refused.
        fresh: Result<Fresh, NotRefreshed>,
    },
    /// Tokens are revoked, or a revocation is taken back; answered by [`Output::RevocationStored`].
    Revoke {
        /// Chosen by the caller.
        request: u64,
        /// What.
        change: Change,
    },
    /// Answers [`Output::Append`].
    Appended {
        /// Of which.
        ticket: Ticket,
        /// One entry for each message, or why none was stored.
        result: Result<Vec<Appended>, LogError>,
    },
    /// Answers [`Output::Put`] where it had a ticket.
    Put {
        /// Of which.
        ticket: Ticket,
        /// Whether the records are stored.
        result: Result<(), LogError>,
    },
    /// Answers [`Output::Read`].
    Read {
        /// Of which.
        ticket: Ticket,
        /// What was found.
        result: Result<ReadBatch, LogError>,
    },
    /// A publish through the HTTP door, answered by [`Output::Published`].
    Publish {
        /// Chosen by the caller.
        request: u64,
        /// What.
        publish: Box<PublishRequest>,
    },
    /// A device polls over HTTP; everything up to `cursor` has reached it.
    Polled {
        /// Whose device.
        user: UserId,
        /// What it calls itself; may be empty.
        client: String,
        /// The last message that it has.
        cursor: Option<Offset>,
    },
    /// Somebody asks whether a user is there, answered by [`Output::Presence`].
    Presence {
        /// Chosen by the caller.
        request: u64,
        /// Whom.
        user: UserId,
    },
    /// Time has passed; due at [`Engine::next_deadline`](super::Engine::next_deadline).
    Tick,
    /// The broker stops: tell clients, store cursors. Nothing but `Appended` and `Put` comes after it.
    Stop,
}

/// What to read from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadPlan {
    /// These keys, merged in the order of the log.
    Keys(Vec<Key>),
    /// Everything.
    All,
    /// The messages at exactly these offsets (ascending), where they are still kept.
    Exact(Vec<Offset>),
}

/// What a read found: every message of the plan after the start and up to `upto`.
#[derive(Debug, Clone)]
pub struct ReadBatch {
    /// Ascending by offset.
    pub messages: Vec<Stored>,
    /// How far the batch is complete.
    pub upto: Offset,
    /// Whether the end of the log was reached (as it stood when the read began).
    pub at_end: bool,
    /// At and after this place nothing of the plan is missing; of what lies before, retention may have dropped some.
    pub floor: Offset,
}

/// What the engine wants done, in this order.
#[derive(Debug)]
pub enum Output {
    /// Send this packet.
    Send {
        /// To whom.
        conn: ConnId,
        /// What.
        packet: Packet,
    },
    /// After what was sent, close the connection. The engine has forgotten it; an MQTT 5 client has been sent a
    /// DISCONNECT (or a CONNACK that refuses) where the protocol wants one.
    Close {
        /// Which.
        conn: ConnId,
        /// Why; `NormalDisconnection` after the client's own DISCONNECT.
        reason: DisconnectReasonCode,
    },
    /// As `Close`, because the token was revoked: the client has been told (MQTT 5).
    CloseRevoked {
        /// Which.
        conn: ConnId,
    },
    /// Answers [`Input::Refresh`].
    Refreshed {
        /// Which.
        request: u64,
        /// Whether the connection goes on with the fresh token. Who published it has been told.
        result: Result<(), NotRefreshed>,
    },
    /// The list of revocations has changed; for the doors that check tokens by themselves.
    Revocation {
        /// How.
        change: Change,
    },
    /// Answers [`Input::Revoke`].
    RevocationStored {
        /// Which.
        request: u64,
        /// How many connections were closed; or why it will be forgotten at a restart (it is in force all the same).
        result: Result<usize, LogError>,
    },
    /// Append to the log. Answers may come in any order; the engine handles them in the order of the tickets.
    Append {
        /// To be named in the answer.
        ticket: Ticket,
        /// One message today.
        messages: Vec<Arc<Message>>,
    },
    /// Write records.
    Put {
        /// To be named in the answer; without one, nobody waits.
        ticket: Option<Ticket>,
        /// Set or removed, all or none.
        records: Vec<(RecordKey, Option<Bytes>)>,
        /// Whether they must survive a loss of power before the answer.
        durable: bool,
    },
    /// Read from the log.
    Read {
        /// To be named in the answer.
        ticket: Ticket,
        /// What.
        plan: ReadPlan,
        /// Start after this place (ignored by [`ReadPlan::Exact`]).
        after: Offset,
        /// At most so many messages; 0 asks for [`ReadBatch::floor`] alone.
        limit: usize,
        /// Begin when this connection has taken what was sent to it: the messages that are read are not counted
        /// against its window.
        when_drained: Option<ConnId>,
    },
    /// Answers [`Input::Publish`].
    Published {
        /// Which.
        request: u64,
        /// What became of it.
        result: Result<Published, PublishError>,
    },
    /// Answers [`Input::Presence`].
    Presence {
        /// Which.
        request: u64,
        /// What is known.
        presence: Presence,
    },
    /// A message of this user was stored: wakes who waits at the HTTP door.
    Notify {
        /// Whose.
        user: UserId,
        /// Where.
        offset: Offset,
    },
    /// Everything is stored; the answer to [`Input::Stop`].
    Stopped,
}
