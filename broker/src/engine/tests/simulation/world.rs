//! The world of the simulation: the engine, a log that answers late and may fail, clients, and what is known to be true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rmqtt_codec::v5::{Disconnect, Packet, QoS, Subscribe, SubscriptionOptions};
use tidings_shared::clock::Clock;
use tidings_shared::events::UserUnacked;
use tidings_shared::topic::access::Principal;
use tidings_shared::topic::{self, names};

use super::super::harness::{Login, START_MS, device};
use super::client::{Client, Reaction};
use crate::engine::hash::Random;
use crate::engine::{ConnId, ConnectRequest, Engine, Input, Output, PublishRequest, Settings, read};
use crate::log::{Limits, LogError, MemoryLog, Message, MessageLog, MessageProperties, Offset};

/// What a client is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Device,
    /// A handler that reads one command, or everything.
    Handler,
    /// A member of a shared group.
    Worker,
}

const WORKERS: &str = "$share/workers/ping";
/// At QoS 2.
const EXACT: &str = "$share/exact/ping";

/// A payload that is in the log.
struct Stored {
    topic: String,
    offset: u64,
    qos: u8,
}

pub(super) struct World {
    random: Random,
    pub(super) clock: Clock,
    log: Arc<MemoryLog>,
    engine: Engine,
    settings: Settings,
    pub(super) clients: Vec<Client>,
    by_conn: BTreeMap<ConnId, usize>,
    next_conn: u64,
    next_payload: u64,
    /// What the log was asked and has not done; what it has done and not answered.
    asked: VecDeque<Output>,
    answers: VecDeque<Input>,
    /// Reads run beside the writes: they overtake them and are overtaken.
    asked_reads: VecDeque<Output>,
    read_answers: VecDeque<Input>,
    disk_full: bool,
    stored: BTreeMap<String, Stored>,
    /// When a device of the user first acknowledged a payload.
    acked_at: BTreeMap<String, i64>,
    last_crash: i64,
    /// Messages of groups that went on to another member.
    reassigned: u64,
    settling: bool,
    handled: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let clock = Clock::manual(START_MS);
        let limits = Limits { per_user: 1_000_000, ..Limits::default() };
        let log = Arc::new(MemoryLog::new(clock.clone(), limits, 7));
        let settings = Settings { max_inflight: 8, read_batch: 8, group_ack_timeout_ms: 1_500, ..Settings::default() };
        let mut clients = Vec::new();
        let window = |login: Login, window: u16| login.with(|connect| connect.receive_max = window.try_into().ok());
        for (n, user) in ["1", "2", "3"].into_iter().enumerate() {
            let filter = format!("{user}_inbox");
            let phone = window(Login::new(device(user), "phone").persistent(), 1 + 3 * n as u16);
            clients.push(Client::new(phone, Kind::Device, &filter, 1));
            let tablet = Login::new(device(user), "tablet").persistent();
            clients.push(Client::new(tablet, Kind::Device, &format!("{filter}/#"), 2));
            clients.push(Client::new(Login::new(device(user), "browser"), Kind::Device, &filter, 1));
            let drifter = window(Login::new(device(user), "drifter"), 2 + 5 * n as u16);
            clients.push(Client::new(drifter, Kind::Device, &filter, 1 + n as u8 % 2).drifting());
        }
        clients.push(Client::new(window(Login::handler("pinger").persistent(), 3), Kind::Handler, "ping", 1));
        clients.push(Client::new(Login::handler("audit").persistent(), Kind::Handler, "+", 2));
        for (name, filter, qos) in [("a", WORKERS, 1), ("b", WORKERS, 1), ("c", EXACT, 2), ("d", EXACT, 2)] {
            let worker = window(Login::handler(name).persistent(), 4);
            clients.push(Client::new(worker, Kind::Worker, filter, qos));
        }
        Self {
            random: Random::new(seed),
            engine: Engine::restore(settings.clone(), seed, &*log, START_MS).unwrap(),
            clock,
            log,
            settings,
            clients,
            by_conn: BTreeMap::new(),
            next_conn: 0,
            next_payload: 0,
            asked: VecDeque::new(),
            answers: VecDeque::new(),
            asked_reads: VecDeque::new(),
            read_answers: VecDeque::new(),
            disk_full: false,
            stored: BTreeMap::new(),
            acked_at: BTreeMap::new(),
            last_crash: 0,
            reassigned: 0,
            settling: false,
            handled: 0,
        }
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.random.next() % limit.max(1)
    }

    fn some_client(&mut self) -> usize {
        self.below(self.clients.len() as u64) as usize
    }

    fn input(&mut self, input: Input) {
        let (mut out, mut at_once) = (Vec::new(), Vec::new());
        self.handled += 1;
        self.engine.handle(self.clock.now_ms(), input, &mut out);
        for output in out {
            match output {
                Output::Send { conn, packet } => {
                    if let Some(client) = self.by_conn.get(&conn) {
                        self.clients[*client].inbox.push_back(packet);
                    }
                }
                Output::Close { conn, .. } => {
                    if let Some(client) = self.by_conn.remove(&conn) {
                        self.clients[client].conn = None;
                    }
                }
                Output::Published { result, .. } => {
                    if let Ok(published) = result
                        && let Some(cursor) = published.cursor
                    {
                        assert!(Offset(cursor.offset) <= self.log.head(), "acknowledged before it was stored");
                    }
                }
                Output::Notify { .. } | Output::Presence { .. } | Output::Stopped => {}
                Output::CloseRevoked { conn } => {
                    if let Some(client) = self.by_conn.remove(&conn) {
                        self.clients[client].conn = None;
                    }
                }
                Output::Refreshed { .. } | Output::Revocation { .. } | Output::RevocationStored { .. } => {}
                Output::Read { ticket, plan, after, limit: 0, .. } => {
                    // The index knows it.
                    at_once.push(Input::Read { ticket, result: read(&*self.log, &plan, after, 0) });
                }
                read @ Output::Read { .. } => self.asked_reads.push_back(read),
                write => self.asked.push_back(write),
            }
        }
        for input in at_once {
            self.input(input);
        }
    }

    pub(super) fn pass(&mut self, ms: i64) {
        self.clock.advance(ms);
        if self.engine.next_deadline().is_some_and(|due| due <= self.clock.now_ms()) {
            self.input(Input::Tick);
        }
    }

    fn new_payload(&mut self) -> String {
        self.next_payload += 1;
        self.next_payload.to_string()
    }

    pub(super) fn publish_to_user(&mut self) {
        let topic = format!("{}_inbox", 1 + self.below(3));
        let publish = PublishRequest {
            principal: Principal::Handler,
            client: String::new(),
            topic,
            payload: self.new_payload().into(),
            qos: if self.below(2) == 0 { 1 } else { 2 },
            retain: false,
            message_id: None,
            expiry_s: None,
            properties: MessageProperties::default(),
        };
        self.input(Input::Publish { request: 0, publish: Box::new(publish) });
    }

    pub(super) fn publish_command(&mut self) {
        let client = self.some_client();
        let payload = self.new_payload();
        let qos = if self.below(2) == 0 { 1 } else { 2 };
        let client = &mut self.clients[client];
        // A small number at once: the simulation stays within the receive maximum.
        if let (Kind::Device, Some(conn), true) = (client.kind, client.conn, client.outgoing.len() < 20) {
            let publish = client.new_publish("ping", &payload, qos);
            self.input(Input::Packet { conn, packet: Packet::Publish(Box::new(publish)) });
        }
    }

    /// A client looks at some of what lies in its socket.
    pub(super) fn client_works(&mut self) {
        let client = self.some_client();
        let count = self.below(12);
        self.work(client, count as usize);
    }

    fn work(&mut self, index: usize, count: usize) {
        for _ in 0..count {
            let Some(packet) = self.clients[index].inbox.pop_front() else { return };
            let event = match &packet {
                Packet::Publish(publish) if &*publish.topic == names::EVENT_UNACKED => {
                    serde_json::from_slice::<UserUnacked>(&publish.payload).ok()
                }
                _ => None,
            };
            assert!(event.is_none(), "`+` does not match events");
            let reaction = self.clients[index].look_at(packet);
            let client = &mut self.clients[index];
            if client.subscribed && client.promised_after.is_none() {
                client.promised_after = Some(self.log.head().0);
            }
            let conn = client.conn;
            match reaction {
                Reaction::Say(packet) => self.say(conn, packet),
                Reaction::Acked(packet, payload) => {
                    if conn.is_some() && self.clients[index].kind == Kind::Device {
                        self.acked_at.entry(payload).or_insert(self.clock.now_ms());
                    }
                    self.say(conn, packet);
                }
                Reaction::Stored(payload, answer) => {
                    assert!(self.stored.contains_key(&payload), "acknowledged before it was stored");
                    if let Some(packet) = answer {
                        self.say(conn, packet);
                    }
                }
                Reaction::Refused | Reaction::Nothing => {}
            }
        }
    }

    fn say(&mut self, conn: Option<ConnId>, packet: Packet) {
        if let Some(conn) = conn {
            self.input(Input::Packet { conn, packet });
        }
    }

    /// A client comes, goes, or comes again over its own old connection.
    pub(super) fn client_changes(&mut self) {
        let client = self.some_client();
        match (self.clients[client].conn, self.below(3)) {
            (Some(_), 0) => self.connect(client),
            (Some(conn), 1) => self.leave(client, Input::Closed { conn, graceful: false }),
            (Some(conn), _) => {
                let packet = Packet::Disconnect(Disconnect::default());
                self.leave(client, Input::Packet { conn, packet });
            }
            (None, _) => self.connect(client),
        }
    }

    fn leave(&mut self, index: usize, input: Input) {
        self.input(input);
        let client = &mut self.clients[index];
        if let Some(conn) = client.conn.take() {
            self.by_conn.remove(&conn);
        }
        client.inbox.clear();
    }

    fn connect(&mut self, index: usize) {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        if let Some(old) = self.clients[index].conn.take() {
            self.by_conn.remove(&old);
        }
        let client = &mut self.clients[index];
        client.inbox.clear();
        client.conn = Some(conn);
        self.by_conn.insert(conn, index);
        let request = ConnectRequest {
            protocol: client.login.protocol,
            principal: client.login.principal.clone(),
            token: client.login.token.clone().map(Box::new),
            connect: Box::new(client.connect()),
            server_keep_alive_s: None,
        };
        self.input(Input::Connect { conn, request });
        let client = &mut self.clients[index];
        let Some(Packet::ConnectAck(ack)) = client.inbox.pop_front() else { panic!("no CONNACK") };
        client.connected(&ack);
        if ack.session_present {
            assert!(client.persistent());
            for packet in client.again("ping") {
                self.say(Some(conn), packet);
            }
        } else {
            assert!(!(client.persistent() && client.subscribed), "a session that stays was lost");
            client.forget();
        }
        let client = &self.clients[index];
        if !client.subscribed {
            let options = SubscriptionOptions { qos: QoS::try_from(client.qos).unwrap(), ..Default::default() };
            let topic_filters = vec![(client.filter.as_str().into(), options)];
            let subscribe = |topic_filters| {
                let packet_id = 77.try_into().unwrap();
                Packet::Subscribe(Subscribe { packet_id, id: None, user_properties: Vec::new(), topic_filters })
            };
            let wider = client.drifts.then(|| vec![(format!("{}/#", client.filter).into(), options)]);
            self.say(Some(conn), subscribe(topic_filters));
            if let Some(topic_filters) = wider {
                self.say(Some(conn), subscribe(topic_filters));
            }
        }
    }

    pub(super) fn reassigned(&self) -> u64 {
        self.reassigned + self.engine.stats().reassigned
    }

    pub(super) fn disk_changes(&mut self) {
        self.disk_full = !self.disk_full && self.below(2) == 0;
    }

    /// The log does some of what it was asked, and answers some of what it has done.
    pub(super) fn log_works(&mut self) {
        for _ in 0..self.below(12) {
            self.log_does_one();
        }
        for _ in 0..self.below(12) {
            if let Some(answer) = self.answers.pop_front() {
                self.input(answer);
            }
        }
        for _ in 0..self.below(4) {
            self.log_reads_one();
        }
        for _ in 0..self.below(4) {
            if let Some(answer) = self.read_answers.pop_front() {
                self.input(answer);
            }
        }
    }

    fn log_reads_one(&mut self) {
        let Some(Output::Read { ticket, plan, after, limit, .. }) = self.asked_reads.pop_front() else { return };
        let fails = !self.settling && self.below(20) == 0;
        let result = if fails { Err(LogError::Closed) } else { read(&*self.log, &plan, after, limit) };
        self.read_answers.push_back(Input::Read { ticket, result });
    }

    fn log_does_one(&mut self) {
        let Some(request) = self.asked.pop_front() else { return };
        let full = || LogError::Full { folder: "data".into(), detail: "no space".into() };
        match request {
            Output::Append { ticket, .. } if self.disk_full => {
                self.answers.push_back(Input::Appended { ticket, result: Err(full()) });
            }
            Output::Append { ticket, messages } => {
                let (done, result) = std::sync::mpsc::channel();
                self.log.append(messages.clone(), Box::new(move |result| done.send(result).unwrap()));
                let result = result.recv().unwrap();
                let appended = result.as_ref().unwrap()[0];
                let payload = String::from_utf8(messages[0].payload.to_vec()).unwrap();
                if &*messages[0].topic == names::EVENT_UNACKED {
                    self.check_wake(&payload);
                } else if !messages[0].topic.starts_with('$') && !appended.duplicate {
                    let Message { topic, qos, .. } = &*messages[0];
                    let stored = Stored { topic: topic.to_string(), offset: appended.offset.0, qos: *qos };
                    let known = self.stored.insert(payload, stored);
                    assert!(known.is_none() || *qos == 1, "a QoS 2 publish was stored twice");
                }
                self.answers.push_back(Input::Appended { ticket, result });
            }
            Output::Put { ticket, records, durable } => {
                let result = if self.disk_full {
                    Err(full())
                } else {
                    self.log.put(records, durable, Box::new(|result| result.unwrap()));
                    Ok(())
                };
                if let Some(ticket) = ticket {
                    self.answers.push_back(Input::Put { ticket, result });
                }
            }
            other => panic!("not for the log: {other:?}"),
        }
    }

    /// A push is asked for: the message was not acknowledged in time (or a crash came after it was).
    fn check_wake(&self, event: &str) {
        let event: UserUnacked = serde_json::from_str(event).unwrap();
        let offset: u64 = event.cursor.split_once('-').unwrap().1.parse().unwrap();
        let payload = self.stored.iter().find(|(_, stored)| stored.offset == offset).map(|(payload, _)| payload);
        let acked = payload.and_then(|payload| self.acked_at.get(payload));
        let grace_over = event.stored_at_ms + self.settings.wake_grace_ms;
        if let Some(acked) = acked {
            assert!(*acked >= grace_over || *acked <= self.last_crash, "woken for a message acknowledged in time");
        }
        assert!(self.clock.now_ms() >= grace_over, "woken before the grace period was over");
    }

    pub(super) fn crash(&mut self) {
        // What the log was doing may still get done, or not.
        for _ in 0..self.below(5) {
            self.log_does_one();
        }
        self.asked.clear();
        self.answers.clear();
        self.asked_reads.clear();
        self.read_answers.clear();
        self.by_conn.clear();
        for client in &mut self.clients {
            client.conn = None;
            client.inbox.clear();
        }
        self.last_crash = self.clock.now_ms();
        self.reassigned += self.engine.stats().reassigned;
        let seed = self.random.next();
        self.engine = Engine::restore(self.settings.clone(), seed, &*self.log, self.clock.now_ms()).unwrap();
        self.input(Input::Tick);
    }

    /// Everything is well again, everybody is connected and reads, until nothing happens any more.
    pub(super) fn settle(&mut self) {
        self.disk_full = false;
        self.settling = true;
        let mut quiet = 0;
        for _ in 0..5_000 {
            let before = self.handled;
            for index in 0..self.clients.len() {
                if self.clients[index].conn.is_none() {
                    self.connect(index);
                }
                self.work(index, 200);
            }
            while !self.asked.is_empty() {
                self.log_does_one();
            }
            while let Some(answer) = self.answers.pop_front() {
                self.input(answer);
            }
            while !self.asked_reads.is_empty() {
                self.log_reads_one();
            }
            while let Some(answer) = self.read_answers.pop_front() {
                self.input(answer);
            }
            let busy = self.handled > before;
            self.pass(100);
            // Longer than the grace period and anything that is tried again.
            quiet = if busy { 0 } else { quiet + 1 };
            if quiet > 40 {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    pub(super) fn check_everything_arrived(&self) {
        let (mut group, mut group_after) = (BTreeSet::new(), u64::MAX);
        let (mut exact, mut exact_after) = (BTreeMap::<&String, usize>::new(), u64::MAX);
        for client in &self.clients {
            assert!(client.outgoing.is_empty(), "unanswered: {:?}", client.outgoing);
            let promised_after = client.promised_after.unwrap_or(u64::MAX);
            if client.filter == EXACT {
                client.got.iter().for_each(|(payload, count)| *exact.entry(payload).or_default() += count);
                exact_after = exact_after.min(promised_after);
                continue;
            }
            if client.kind == Kind::Worker {
                group.extend(client.got.keys());
                group_after = group_after.min(promised_after);
                continue;
            }
            for (payload, stored) in self.stored.iter().filter(|_| client.is_promised()) {
                let count = client.got.get(payload).copied().unwrap_or(0);
                let wanted = topic::matches(&client.filter, &stored.topic) && stored.offset > promised_after;
                let name = format!("{} ({})", client.login.connect.client_id, client.filter);
                assert!(!wanted || count > 0, "{name} never got {payload} at {}", stored.offset);
                let exactly_once = (client.qos == 2 && stored.qos == 2) || client.drifts;
                assert!(!exactly_once || count <= 1, "{name} got {payload} at {} {count} times", stored.offset);
            }
        }
        for (payload, stored) in self.stored.iter().filter(|(_, stored)| stored.topic == "ping") {
            let wanted = stored.offset > group_after;
            assert!(!wanted || group.contains(payload), "no worker ever got {payload} at {}", stored.offset);
            let count = exact.get(payload).copied().unwrap_or(0);
            assert!(
                count > 0 || stored.offset <= exact_after,
                "no exact worker ever got {payload} at {}",
                stored.offset
            );
            // How far a group has come is written once a second: after a crash it may begin a little earlier.
            let once = stored.qos < 2 || count <= 1 || self.last_crash > 0;
            assert!(once, "exact workers got {payload} at {} {count} times", stored.offset);
        }
    }
}
