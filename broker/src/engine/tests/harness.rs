//! An engine on a log in memory, in a time of its own: what it wants done is done at once, unless a test holds the log.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use rmqtt_codec::types::Publish;
use rmqtt_codec::v5::{
    Connect, ConnectAck, ConnectAckReason, Disconnect, DisconnectReasonCode, LastWill, Packet, PublishAck, PublishAck2,
    PublishAckReason, PublishProperties, QoS, RetainHandling, Subscribe, SubscribeAckReason, SubscriptionOptions,
    Unsubscribe,
};
use tidings_shared::clock::Clock;
use tidings_shared::identity::UserId;
use tidings_shared::topic::access::{Acl, Principal};

use crate::engine::{
    ConnId, ConnectRequest, Engine, Input, NotRefreshed, Output, Presence, Protocol, PublishError, PublishRequest,
    Published, Settings, TokenFacts, read,
};
use crate::log::{Limits, LogError, MemoryLog, MessageLog, MessageProperties};

pub(super) const START_MS: i64 = 1_700_000_000_000;

pub(super) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

pub(super) fn device(id: &str) -> Principal {
    Principal::Device { user: user(id), acl: Acl::default() }
}

pub(super) fn device_with(id: &str, publish: &[&str], subscribe: &[&str]) -> Principal {
    let list = |filters: &[&str]| filters.iter().map(|f| (*f).to_owned()).collect();
    Principal::Device { user: user(id), acl: Acl { publish: list(publish), subscribe: list(subscribe) } }
}

/// How a client connects.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) protocol: Protocol,
    pub(super) principal: Principal,
    pub(super) token: Option<TokenFacts>,
    pub(super) connect: Connect,
}

impl Login {
    pub(super) fn new(principal: Principal, client: &str) -> Self {
        let connect = Connect { client_id: client.into(), clean_start: true, ..Connect::default() };
        Self { protocol: Protocol::V5, principal, token: None, connect }
    }

    pub(super) fn handler(client: &str) -> Self {
        Self::new(Principal::Handler, client)
    }

    /// A session that stays, and is gone on with.
    pub(super) fn persistent(mut self) -> Self {
        self.connect.clean_start = false;
        self.connect.session_expiry_interval_secs = 3600;
        self
    }

    /// With a token of this `jti` and `iat` (ms).
    pub(super) fn token(mut self, id: Option<&str>, issued_at_ms: Option<i64>) -> Self {
        self.token = Some(TokenFacts { id: id.map(Into::into), issued_at_ms });
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Connect)) -> Self {
        change(&mut self.connect);
        self
    }

    pub(super) fn v3(mut self) -> Self {
        self.protocol = Protocol::V3;
        self
    }

    pub(super) fn will(self, topic: &str, delay_s: u32) -> Self {
        let will = LastWill {
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: topic.into(),
            message: Bytes::from_static(b"gone"),
            will_delay_interval_sec: Some(delay_s),
            correlation_data: None,
            message_expiry_interval: None,
            content_type: None,
            user_properties: Vec::new(),
            is_utf8_payload: None,
            response_topic: None,
        };
        self.with(|connect| connect.last_will = Some(will))
    }
}

pub(super) struct Bench {
    pub(super) engine: Engine,
    pub(super) log: Arc<MemoryLog>,
    pub(super) clock: Clock,
    settings: Settings,
    next_conn: u64,
    sent: HashMap<ConnId, VecDeque<Packet>>,
    pub(super) closed: HashMap<ConnId, DisconnectReasonCode>,
    pub(super) published: HashMap<u64, Result<Published, PublishError>>,
    pub(super) notified: Vec<String>,
    presence: Presence,
    pub(super) revoked: Vec<ConnId>,
    pub(super) refreshed: HashMap<u64, Result<(), NotRefreshed>>,
    pub(super) revocations: HashMap<u64, Result<usize, LogError>>,
    /// Requests to the log wait for [`Bench::release`].
    pub(super) hold: bool,
    held: VecDeque<Output>,
    /// Appends and puts fail.
    pub(super) disk_full: bool,
    /// The log stores, but its answers to appends wait for [`Bench::release_appended`].
    pub(super) hold_appended: bool,
    appended: Vec<Input>,
    /// Reads fail.
    pub(super) unreadable: bool,
    pub(super) reads: usize,
    pub(super) stopped: bool,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let clock = Clock::manual(START_MS);
        let log = Arc::new(MemoryLog::new(clock.clone(), Limits::default(), 7));
        let engine = Engine::restore(settings.clone(), 1, &*log, START_MS).unwrap();
        Self {
            engine,
            log,
            clock,
            settings,
            next_conn: 0,
            sent: HashMap::new(),
            closed: HashMap::new(),
            published: HashMap::new(),
            notified: Vec::new(),
            presence: Presence::default(),
            revoked: Vec::new(),
            refreshed: HashMap::new(),
            revocations: HashMap::new(),
            hold: false,
            held: VecDeque::new(),
            disk_full: false,
            hold_appended: false,
            appended: Vec::new(),
            unreadable: false,
            reads: 0,
            stopped: false,
        }
    }

    /// The broker dies and starts again on the same log.
    pub(super) fn crash(&mut self) {
        self.held.clear();
        self.hold = false;
        self.engine = Engine::restore(self.settings.clone(), 2, &*self.log, self.clock.now_ms()).unwrap();
        self.tick();
    }

    pub(super) fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.engine.handle(self.clock.now_ms(), input, &mut out);
            for output in out {
                inputs.extend(self.carry_out(output));
            }
        }
    }

    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Send { conn, packet } => self.sent.entry(conn).or_default().push_back(packet),
            Output::Close { conn, reason } => {
                self.closed.insert(conn, reason);
            }
            Output::Published { request, result } => {
                self.published.insert(request, result);
            }
            Output::CloseRevoked { conn } => self.revoked.push(conn),
            Output::Revocation { .. } => {}
            Output::Refreshed { request, result } => {
                self.refreshed.insert(request, result);
            }
            Output::RevocationStored { request, result } => {
                self.revocations.insert(request, result);
            }
            Output::Notify { user, .. } => self.notified.push(user.to_string()),
            Output::Presence { presence, .. } => self.presence = presence,
            Output::Stopped => self.stopped = true,
            output if self.hold => self.held.push_back(output),
            output => return self.ask_log(output),
        }
        None
    }

    fn ask_log(&mut self, output: Output) -> Option<Input> {
        let (answer, answered) = std::sync::mpsc::channel();
        let full = || LogError::Full { folder: "data".into(), detail: "no space".into() };
        match output {
            Output::Append { ticket, .. } if self.disk_full => Some(Input::Appended { ticket, result: Err(full()) }),
            Output::Append { ticket, messages } => {
                self.log.append(messages, Box::new(move |result| answer.send(result).unwrap()));
                let answer = Input::Appended { ticket, result: answered.try_recv().unwrap() };
                if self.hold_appended {
                    self.appended.push(answer);
                    return None;
                }
                Some(answer)
            }
            Output::Put { ticket, .. } if self.disk_full => Some(Input::Put { ticket: ticket?, result: Err(full()) }),
            Output::Put { ticket, records, durable } => {
                self.log.put(records, durable, Box::new(|result| result.unwrap()));
                Some(Input::Put { ticket: ticket?, result: Ok(()) })
            }
            Output::Read { ticket, plan, after, limit, .. } => {
                self.reads += 1;
                if self.unreadable {
                    return Some(Input::Read { ticket, result: Err(LogError::Closed) });
                }
                Some(Input::Read { ticket, result: read(&*self.log, &plan, after, limit) })
            }
            other => panic!("not for the log: {other:?}"),
        }
    }

    pub(super) fn presence(&mut self, id: &str) -> Presence {
        self.input(Input::Presence { request: 0, user: user(id) });
        self.presence.clone()
    }

    /// Lets the log answer everything that was held.
    pub(super) fn release(&mut self) {
        self.hold = false;
        while let Some(output) = self.held.pop_front() {
            if let Some(input) = self.ask_log(output) {
                self.input(input);
            }
        }
    }

    pub(super) fn release_appended(&mut self) {
        self.hold_appended = false;
        for answer in std::mem::take(&mut self.appended) {
            self.input(answer);
        }
    }

    pub(super) fn tick(&mut self) {
        self.input(Input::Tick);
    }

    /// Lets time pass, stopping at everything that is due.
    pub(super) fn pass(&mut self, ms: i64) {
        let end = self.clock.now_ms() + ms;
        while let Some(due) = self.engine.next_deadline().filter(|due| *due <= end) {
            self.clock.advance((due - self.clock.now_ms()).max(0));
            self.tick();
        }
        self.clock.advance(end - self.clock.now_ms());
    }

    /// Connects and returns what CONNACK said; nothing of it is left in the queue.
    pub(super) fn try_connect(&mut self, login: &Login) -> (ConnId, ConnectAck) {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let request = ConnectRequest {
            protocol: login.protocol,
            principal: login.principal.clone(),
            token: login.token.clone().map(Box::new),
            connect: Box::new(login.connect.clone()),
            server_keep_alive_s: None,
        };
        self.input(Input::Connect { conn, request });
        match self.sent.get_mut(&conn).and_then(VecDeque::pop_front) {
            Some(Packet::ConnectAck(ack)) => (conn, *ack),
            other => panic!("expected CONNACK, found {other:?}"),
        }
    }

    pub(super) fn connect(&mut self, login: &Login) -> ConnId {
        let (conn, ack) = self.try_connect(login);
        assert_eq!(ack.reason_code, ConnectAckReason::Success);
        conn
    }

    pub(super) fn packet(&mut self, conn: ConnId, packet: Packet) {
        self.input(Input::Packet { conn, packet });
    }

    /// The network connection breaks.
    pub(super) fn drop_connection(&mut self, conn: ConnId) {
        self.input(Input::Closed { conn, graceful: false });
    }

    pub(super) fn disconnect(&mut self, conn: ConnId) {
        self.packet(conn, Packet::Disconnect(Disconnect::default()));
    }

    pub(super) fn subscribe_with(&mut self, conn: ConnId, filter: &str, options: SubscriptionOptions, id: u32) {
        let packet_id = NonZeroU16::new(900).unwrap();
        let topic_filters = vec![(filter.into(), options)];
        let subscribe = Subscribe { packet_id, id: id.try_into().ok(), user_properties: Vec::new(), topic_filters };
        self.packet(conn, Packet::Subscribe(subscribe));
    }

    pub(super) fn try_subscribe(&mut self, conn: ConnId, filter: &str, qos: u8) -> SubscribeAckReason {
        let options = SubscriptionOptions { qos: QoS::try_from(qos).unwrap(), ..Default::default() };
        self.subscribe_with(conn, filter, options, 0);
        let queue = self.sent.entry(conn).or_default();
        let place = queue.iter().position(|packet| matches!(packet, Packet::SubscribeAck(_)));
        match place.and_then(|place| queue.remove(place)) {
            Some(Packet::SubscribeAck(ack)) => ack.status[0],
            _ => panic!("expected SUBACK among {queue:?}"),
        }
    }

    pub(super) fn subscribe(&mut self, conn: ConnId, filter: &str, qos: u8) {
        assert_eq!(u8::from(self.try_subscribe(conn, filter, qos)), qos, "{filter}");
    }

    pub(super) fn unsubscribe(&mut self, conn: ConnId, filter: &str) {
        let packet_id = NonZeroU16::new(901).unwrap();
        let packet = Unsubscribe { packet_id, user_properties: Vec::new(), topic_filters: vec![filter.into()] };
        self.packet(conn, Packet::Unsubscribe(packet));
    }

    pub(super) fn publish_packet(&mut self, conn: ConnId, publish: Publish) {
        self.packet(conn, Packet::Publish(Box::new(publish)));
    }

    pub(super) fn publish(&mut self, conn: ConnId, topic: &str, payload: &str, qos: u8) {
        self.publish_packet(conn, message(topic, payload, qos));
    }

    /// A handler's publish through the HTTP door: the shortest way to get a message to a user.
    pub(super) fn notify(&mut self, topic: &str, payload: &str) {
        self.http(PublishRequest {
            principal: Principal::Handler,
            client: String::new(),
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos: 1,
            retain: false,
            message_id: None,
            expiry_s: None,
            properties: MessageProperties::default(),
        });
    }

    pub(super) fn http(&mut self, publish: PublishRequest) -> u64 {
        self.next_conn += 1;
        let request = self.next_conn;
        self.input(Input::Publish { request, publish: Box::new(publish) });
        request
    }

    /// Everything that was sent to the connection since the last look.
    pub(super) fn take(&mut self, conn: ConnId) -> Vec<Packet> {
        self.sent.remove(&conn).unwrap_or_default().into()
    }

    /// The messages among it.
    pub(super) fn messages(&mut self, conn: ConnId) -> Vec<Publish> {
        let publish = |packet| match packet {
            Packet::Publish(publish) => Some(*publish),
            _ => None,
        };
        self.take(conn).into_iter().filter_map(publish).collect()
    }

    /// The payloads of the messages among it, all of them acknowledged (QoS 1), until nothing more comes.
    pub(super) fn receive(&mut self, conn: ConnId) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let messages = self.messages(conn);
            if messages.is_empty() {
                return all;
            }
            for message in messages {
                all.push(text(&message));
                if let Some(pid) = message.packet_id {
                    self.puback(conn, pid);
                }
            }
        }
    }

    pub(super) fn puback(&mut self, conn: ConnId, packet_id: NonZeroU16) {
        self.packet(conn, Packet::PublishAck(PublishAck { packet_id, ..Default::default() }));
    }

    pub(super) fn pubrec(&mut self, conn: ConnId, packet_id: NonZeroU16) {
        self.packet(conn, Packet::PublishReceived(PublishAck { packet_id, ..Default::default() }));
    }

    pub(super) fn pubrel(&mut self, conn: ConnId, packet_id: NonZeroU16) {
        self.packet(conn, Packet::PublishRelease(PublishAck2 { packet_id, ..Default::default() }));
    }

    pub(super) fn pubcomp(&mut self, conn: ConnId, packet_id: NonZeroU16) {
        self.packet(conn, Packet::PublishComplete(PublishAck2 { packet_id, ..Default::default() }));
    }
}

pub(super) fn message(topic: &str, payload: &str, qos: u8) -> Publish {
    Publish {
        dup: false,
        retain: false,
        qos: QoS::try_from(qos).unwrap(),
        topic: topic.into(),
        packet_id: if qos > 0 { NonZeroU16::new(1) } else { None },
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        properties: Some(PublishProperties::default()),
    }
}

pub(super) fn text(publish: &Publish) -> String {
    String::from_utf8(publish.payload.to_vec()).unwrap()
}

pub(super) fn texts(publishes: &[Publish]) -> Vec<String> {
    publishes.iter().map(text).collect()
}

pub(super) fn property<'a>(publish: &'a Publish, name: &str) -> Option<&'a str> {
    let properties = publish.properties.as_ref()?;
    properties.user_properties.iter().find(|(found, _)| &**found == name).map(|(_, value)| &**value)
}

pub(super) fn options(qos: u8) -> SubscriptionOptions {
    SubscriptionOptions {
        qos: QoS::try_from(qos).unwrap(),
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::AtSubscribe,
    }
}

pub(super) fn acks(packets: &[Packet]) -> Vec<PublishAckReason> {
    let reason = |packet: &Packet| match packet {
        Packet::PublishAck(ack) | Packet::PublishReceived(ack) => Some(ack.reason_code),
        _ => None,
    };
    packets.iter().filter_map(reason).collect()
}

impl Bench {
    /// Lets the log answer the oldest request that is held.
    pub(super) fn release_one(&mut self) {
        if let Some(output) = self.held.pop_front()
            && let Some(input) = self.ask_log(output)
        {
            self.input(input);
        }
    }

    pub(super) fn http_qos(&mut self, topic: &str, payload: &str, qos: u8) {
        self.http(PublishRequest {
            principal: Principal::Handler,
            client: String::new(),
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos,
            retain: false,
            message_id: None,
            expiry_s: None,
            properties: MessageProperties::default(),
        });
    }
}
